// base/printable.hpp - the one rule for text that others chose and a terminal may show.
//
// Control characters (C0, DEL, C1), characters that turn the direction of text or are invisible (Unicode's
// Default_Ignorable_Code_Point, line and paragraph separators, annotations, tags) and bytes that are not UTF-8 do not
// reach a terminal: a reader could be shown other text than there is. Plain text gets '?' in their place; JSON and YAML
// keep the value and get escapes (encoding and store call IsHarmful).
//
// Sources: RFC 3629; ECMA-48; Unicode 15 DerivedCoreProperties.txt; UAX #9; RFC 8259 section 7.
// Thread-safety: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace signet::base {

struct Character {
  std::uint32_t point = 0;
  std::size_t size = 1;  ///< bytes
  bool valid = false;    ///< false: the byte begins no character of UTF-8
};
/// The first character of `text`, which is not empty.
Character FirstCharacter(std::string_view text);
bool IsHarmful(std::uint32_t point);

/// Which characters below U+0020 a text may have. kLine: none; kText: "\n", "\r\n" and tabs.
enum class Lines : std::uint8_t { kLine, kText };
struct HarmfulCharacter {
  std::size_t number = 0;   ///< of the character in its text, from 1
  std::uint32_t point = 0;  ///< 0 and not `valid`: a byte that is not UTF-8
  bool valid = false;
};
/// The first character of `text` that PrintableLine or PrintableText would replace; nullopt if there is none.
std::optional<HarmfulCharacter> FirstHarmful(std::string_view text, Lines lines);

/// One line: line ends and tabs become spaces.
std::string PrintableLine(std::string_view text);
/// Several lines: "\n", "\r\n" and tabs stay.
std::string PrintableText(std::string_view text);
/// The same JSON value, with \u escapes where a character is harmful. `json` is JSON.
std::string PrintableJson(std::string_view json);

}  // namespace signet::base
