#include "base/printable.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>

namespace signet::base {
namespace {

struct Range {
  std::uint32_t first, last;
};
constexpr std::array<Range, 25> kHarmful = {{
    {0x00, 0x1F},       {0x7F, 0x9F},       {0xAD, 0xAD},       {0x34F, 0x34F},     {0x61C, 0x61C},
    {0x115F, 0x1160},   {0x17B4, 0x17B5},   {0x180B, 0x180F},   {0x200B, 0x200F},   {0x2028, 0x202E},
    {0x2060, 0x206F},   {0x3164, 0x3164},   {0xFDD0, 0xFDEF},   {0xFE00, 0xFE0F},   {0xFEFF, 0xFEFF},
    {0xFFA0, 0xFFA0},   {0xFFF0, 0xFFFB},   {0xFFFE, 0xFFFF},   {0x13430, 0x1343F}, {0x1BCA0, 0x1BCA3},
    {0x1D173, 0x1D17A}, {0x1FFFE, 0x1FFFF}, {0xE0000, 0xE0FFF}, {0xFFFFE, 0xFFFFF}, {0x10FFFE, 0x10FFFF},
}};

template <class Replace>
std::string Filter(std::string_view text, Replace replace) {
  std::string out;
  out.reserve(text.size());
  std::size_t plain = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte >= 0x20 && byte < 0x7F) {
      ++at;
      continue;
    }
    const Character next = FirstCharacter(text.substr(at));
    if (next.valid && !IsHarmful(next.point)) {
      at += next.size;
      continue;
    }
    out += text.substr(plain, at - plain);
    replace(out, next, text.substr(at));
    at += next.size;
    plain = at;
  }
  out += text.substr(plain);
  return out;
}

/// Whether a text of several lines may have `next`, with which `rest` begins.
bool IsOfLines(const Character& next, std::string_view rest) {
  return next.valid && (next.point == '\n' || next.point == '\t' || (next.point == '\r' && rest.starts_with("\r\n")));
}

}  // namespace

Character FirstCharacter(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  const std::size_t size = lead >= 0xF0 && lead <= 0xF4 ? 4 : lead >= 0xE0 && lead < 0xF0 ? 3 : lead >= 0xC2 ? 2 : 0;
  if (size == 0 || lead > 0xF4 || text.size() < size) return {};
  std::uint32_t point = lead & (0xFFU >> (size + 1));
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0U) != 0x80U) return {};
    point = (point << 6U) | (byte(i) & 0x3FU);
  }
  const bool overlong = (size == 3 && point < 0x800) || (size == 4 && point < 0x10000);
  const bool surrogate = point >= 0xD800 && point <= 0xDFFF;
  if (overlong || surrogate || point > 0x10FFFF) return {};
  return {point, size, true};
}

bool IsHarmful(std::uint32_t point) {
  const auto* range = std::lower_bound(kHarmful.begin(), kHarmful.end(), point,
                                       [](const Range& one, std::uint32_t value) { return one.last < value; });
  return range != kHarmful.end() && range->first <= point;
}

std::optional<HarmfulCharacter> FirstHarmful(std::string_view text, Lines lines) {
  for (std::size_t number = 1; !text.empty(); ++number) {
    const Character next = FirstCharacter(text);
    const bool fine = next.valid && (!IsHarmful(next.point) || (lines == Lines::kText && IsOfLines(next, text)));
    if (!fine) return HarmfulCharacter{number, next.point, next.valid};
    text.remove_prefix(next.size);
  }
  return std::nullopt;
}

std::string PrintableLine(std::string_view text) {
  return Filter(text, [](std::string& out, const Character& next, std::string_view /*rest*/) {
    out += next.valid && (next.point == '\n' || next.point == '\t') ? ' ' : '?';
  });
}

std::string PrintableText(std::string_view text) {
  return Filter(text, [](std::string& out, const Character& next, std::string_view rest) {
    out += IsOfLines(next, rest) ? rest.front() : '?';
  });
}

std::string PrintableJson(std::string_view json) {
  return Filter(json, [](std::string& out, const Character& next, std::string_view rest) {
    if (!next.valid) {
      out += "\\ufffd";
    } else if (next.point < 0x20) {
      out += rest.front();  // between tokens: inside strings they are escaped already
    } else if (next.point < 0x10000) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", next.point);
    } else {
      const std::uint32_t beyond = next.point - 0x10000;
      fmt::format_to(std::back_inserter(out), "\\u{:04x}\\u{:04x}", 0xD800 + (beyond >> 10U),
                     0xDC00 + (beyond & 0x3FFU));
    }
  });
}

}  // namespace signet::base
