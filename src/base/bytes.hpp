// base/bytes.hpp - octet strings: Bytes owns, ByteView looks.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace signet::base {

using Bytes = std::vector<std::uint8_t>;
using ByteView = std::span<const std::uint8_t>;

/// The octets of `text`; valid as long as `text` is.
inline ByteView AsBytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
/// The characters of `bytes`; valid as long as `bytes` is.
inline std::string_view AsText(ByteView bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
inline Bytes ToBytes(ByteView view) { return {view.begin(), view.end()}; }

}  // namespace signet::base
