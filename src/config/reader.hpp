// config/reader.hpp - reads one JSON object member by member: types, bounds, and no member left over.
//
//   Reader reader(document, "");
//   reader.Text("subject", config.subject);
//   Reader socket = reader.Section("socket");
//   ...
//   return reader.Finish();
//
// The first problem wins and names the path ("hsm.tokens[1].uri"). Absent members leave their target
// as it is, so that defaults stand in one place: the options' structs.
//
// Thread-safety: none.
// Errors:        kInvalidArgument, reason "ConfigInvalid".
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace signet::config {

/// "10s", "500ms", "2m", "1h30m". kInvalidArgument otherwise.
base::Result<std::chrono::milliseconds> ParseTimespan(std::string_view text);
/// "65536", "64Ki", "64Mi", "1Gi". kInvalidArgument otherwise.
base::Result<std::uint64_t> ParseSize(std::string_view text);
/// "0660". kInvalidArgument otherwise; at most 0777.
base::Result<std::uint32_t> ParseFileMode(std::string_view text);

base::Error ConfigError(std::string message);

class Reader {
 public:
  /// Of a whole document: null stands for an empty object.
  Reader(const nlohmann::json& object, std::string path);
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  Reader(Reader&&) = default;

  void Text(const char* key, std::string& out);
  void Texts(const char* key, std::vector<std::string>& out);
  void Flag(const char* key, bool& out);
  void Number(const char* key, std::uint32_t& out, std::uint32_t least, std::uint32_t most);
  void Numbers(const char* key, std::vector<std::uint32_t>& out);
  void Timespan(const char* key, std::chrono::milliseconds& out, std::chrono::milliseconds least,
                std::chrono::milliseconds most);
  void Size(const char* key, std::uint64_t& out, std::uint64_t least, std::uint64_t most);
  void FileMode(const char* key, std::uint32_t& out);
  /// One of `names`; `out` becomes its index.
  void Choice(const char* key, std::size_t& out, const std::vector<std::string_view>& names);
  Reader Section(const char* key);
  /// The objects of a list.
  std::vector<Reader> Sections(const char* key);

  void Refuse(std::string_view key, std::string_view what);
  /// The first problem of this reader and of all its sections, members nobody asked for included.
  [[nodiscard]] base::Status Finish();

 private:
  struct Visited {
    const nlohmann::json* object;
    std::string path;
    std::shared_ptr<std::vector<std::string>> taken;  ///< the members that were asked for
  };
  struct Shared {
    base::Status first;  ///< the first problem
    std::vector<Visited> sections;
  };
  Reader(const nlohmann::json& object, std::string path, std::shared_ptr<Shared> shared);
  const nlohmann::json* Take(const char* key);
  [[nodiscard]] std::string Path(std::string_view key) const;

  const nlohmann::json* object_;
  std::string path_;
  std::shared_ptr<Shared> shared_;
  std::shared_ptr<std::vector<std::string>> taken_;
};

}  // namespace signet::config
