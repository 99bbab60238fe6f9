#include "encoding/text.hpp"

#include <array>

#include "base/printable.hpp"

namespace signet::encoding {
namespace {

using base::Code;
using base::MakeError;

constexpr std::string_view kHexDigits = "0123456789abcdef";
constexpr std::string_view kBase64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<std::int8_t, 256> MakeDecodeTable(std::string_view alphabet) {
  std::array<std::int8_t, 256> table{};
  table.fill(-1);
  for (std::size_t i = 0; i < alphabet.size(); ++i) {
    table[static_cast<std::uint8_t>(alphabet[i])] = static_cast<std::int8_t>(i);
  }
  return table;
}
constexpr auto kBase64Decode = MakeDecodeTable(kBase64Alphabet);

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// RFC 8259 section 7: a pair of surrogates above U+FFFF.
void AppendUnicodeEscape(std::string& out, std::uint32_t point) {
  const auto unit = [&out](std::uint32_t value) {
    out += "\\u";
    for (const unsigned shift : {12U, 8U, 4U, 0U}) out += kHexDigits[(value >> shift) & 0xFU];
  };
  if (point < 0x10000) return unit(point);
  unit(0xD800 + ((point - 0x10000) >> 10U));
  unit(0xDC00 + ((point - 0x10000) & 0x3FFU));
}

void AppendEscape(std::string& out, char c) {
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      out += "\\u00";
      out += kHexDigits[static_cast<std::uint8_t>(c) >> 4U];
      out += kHexDigits[static_cast<std::uint8_t>(c) & 0xFU];
  }
}

}  // namespace

std::string ToHex(base::ByteView bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::uint8_t byte : bytes) {
    text += kHexDigits[byte >> 4U];
    text += kHexDigits[byte & 0xFU];
  }
  return text;
}

base::Result<base::Bytes> FromHex(std::string_view text) {
  if (text.size() % 2 != 0) return MakeError(Code::kInvalidArgument, "hex text has an odd length");
  base::Bytes bytes;
  bytes.reserve(text.size() / 2);
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = HexValue(text[i]);
    const int low = HexValue(text[i + 1]);
    if (high < 0 || low < 0) return MakeError(Code::kInvalidArgument, "not hex text");
    bytes.push_back(static_cast<std::uint8_t>(high * 16 + low));
  }
  return bytes;
}

bool IsLowerHex(std::string_view text, std::size_t size) {
  return text.size() == size && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string ToBase64(base::ByteView bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  std::size_t i = 0;
  for (; i + 3 <= bytes.size(); i += 3) {
    const std::uint32_t group = (std::uint32_t{bytes[i]} << 16U) | (std::uint32_t{bytes[i + 1]} << 8U) | bytes[i + 2];
    for (const unsigned shift : {18U, 12U, 6U, 0U}) text += kBase64Alphabet[(group >> shift) & 63U];
  }
  if (const std::size_t rest = bytes.size() - i; rest > 0) {
    const std::uint32_t group = (std::uint32_t{bytes[i]} << 16U) | (rest == 2 ? std::uint32_t{bytes[i + 1]} << 8U : 0U);
    text += kBase64Alphabet[(group >> 18U) & 63U];
    text += kBase64Alphabet[(group >> 12U) & 63U];
    text += rest == 2 ? kBase64Alphabet[(group >> 6U) & 63U] : '=';
    text += '=';
  }
  return text;
}

base::Result<base::Bytes> FromBase64(std::string_view text) {
  const auto bad = [] { return MakeError(Code::kInvalidArgument, "not canonical base64 (RFC 4648, with padding)"); };
  if (text.size() % 4 != 0) return bad();
  std::size_t padding = 0;
  if (text.ends_with("==")) {
    padding = 2;
  } else if (text.ends_with("=")) {
    padding = 1;
  }
  base::Bytes bytes;
  bytes.reserve(text.size() / 4 * 3);
  for (std::size_t i = 0; i < text.size(); i += 4) {
    const std::size_t digits = i + 4 == text.size() ? 4 - padding : 4;
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 4; ++j) {
      const int value = j < digits ? kBase64Decode[static_cast<std::uint8_t>(text[i + j])] : 0;
      if (value < 0) return bad();
      group = (group << 6U) | static_cast<std::uint32_t>(value);
    }
    const std::size_t octets = digits - 1;
    if ((octets == 1 && (group & 0xFFFFU) != 0) || (octets == 2 && (group & 0xFFU) != 0)) return bad();
    for (std::size_t j = 0; j < octets; ++j) bytes.push_back(static_cast<std::uint8_t>(group >> (16U - 8U * j)));
  }
  return bytes;
}

void AppendJsonString(std::string& out, std::string_view text) {
  out += '"';
  std::size_t plain = 0;
  for (std::size_t i = 0; i < text.size();) {
    const auto c = static_cast<std::uint8_t>(text[i]);
    if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\' && c != 0x7F) {
      ++i;
      continue;
    }
    out.append(text, plain, i - plain);
    if (c < 0x80) {
      AppendEscape(out, text[i]);
      ++i;
    } else {
      const base::Character next = base::FirstCharacter(text.substr(i));
      if (!next.valid) {
        out += "\xEF\xBF\xBD";
      } else if (base::IsHarmful(next.point)) {
        AppendUnicodeEscape(out, next.point);
      } else {
        out.append(text, i, next.size);
      }
      i += next.size;
    }
    plain = i;
  }
  out.append(text, plain, text.size() - plain);
  out += '"';
}

}  // namespace signet::encoding
