// cli/table.hpp - aligned columns for people; a pipe gets every cell whole.
//
// Thread-safety: none. Blocking: never.
#pragma once

#include <string>
#include <vector>

namespace signet::cli {

class Table {
 public:
  explicit Table(std::vector<std::string> headers) : rows_{std::move(headers)} {}
  /// Cells are cleaned (context.hpp); an empty one shows as "-".
  void Add(std::vector<std::string> cells);
  [[nodiscard]] bool empty() const { return rows_.size() == 1; }
  /// @param columns  of the terminal: the widest columns are cut with "…" until a line fits; 0: nothing is cut
  [[nodiscard]] std::string Render(int columns) const;

 private:
  std::vector<std::vector<std::string>> rows_;  ///< the headers first
};

/// "label:      value" lines, values in one column. Lines of a value of several lines stand below each other.
class Sheet {
 public:
  void Add(std::string label, std::string value);
  [[nodiscard]] std::string Render() const;

 private:
  std::vector<std::pair<std::string, std::string>> lines_;
};

}  // namespace signet::cli
