// encoding/text.hpp - base64 and hex, strict.
//
// Sources: RFC 4648 sections 4 (base64, with padding) and 8 (hex, lower case out).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace signet::encoding {

std::string ToHex(base::ByteView bytes);
/// Lower or upper case, even length. kInvalidArgument otherwise.
base::Result<base::Bytes> FromHex(std::string_view text);

/// True if `text` has `size` characters, each of them 0-9 or a-f.
bool IsLowerHex(std::string_view text, std::size_t size);

std::string ToBase64(base::ByteView bytes);
/// Canonical base64 only: padded, no whitespace, unused bits zero. kInvalidArgument otherwise.
base::Result<base::Bytes> FromBase64(std::string_view text);

/// Appends `text` as a JSON string with quotes (RFC 8259 section 7). Whatever a caller sends: bytes that are not UTF-8
/// become U+FFFD, and characters that a terminal must not get (base/printable.hpp) become \u escapes.
void AppendJsonString(std::string& out, std::string_view text);

}  // namespace signet::encoding
