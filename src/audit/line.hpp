// audit/line.hpp - one line of the record, taken apart without building a document.
//
// A scanner for what the record is made of: one JSON object a line, read at the speed of the disk.
// It checks the whole grammar of RFC 8259; lines with octets beyond ASCII or \u escapes are also
// given to encoding::ParseJson, so that text that is not UTF-8 is refused.
//
// Ownership:     a Line looks into the text it was parsed from.
// Thread-safety: values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace signet::audit {

class Line {
 public:
  enum class Kind : std::uint8_t { kString, kNumber, kTrue, kFalse, kNull, kObject, kArray };
  struct Member {
    std::string_view key;
    std::string_view raw;  ///< with quotes, for strings
    Kind kind = Kind::kNull;
  };

  /// Replaces what this Line held. kInvalidArgument saying why: not one JSON object, a key twice,
  /// an escape in a key, nested too deep.
  base::Status Parse(std::string_view text);

  [[nodiscard]] const Member* Find(std::string_view key) const;
  [[nodiscard]] const std::vector<Member>& members() const { return members_; }
  /// The text of a string member without escapes, or nothing; valid as long as the parsed text.
  [[nodiscard]] std::optional<std::string_view> Plain(std::string_view key) const;
  /// A string member, escapes resolved; empty when absent or of another kind.
  [[nodiscard]] std::string Text(std::string_view key) const;
  [[nodiscard]] std::optional<std::uint64_t> Number(std::string_view key) const;

 private:
  std::vector<Member> members_;
};

}  // namespace signet::audit
