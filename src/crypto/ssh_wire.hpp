// crypto/ssh_wire.hpp - for this module's own .cpp files: SSH's data types over bounded memory.
//
// Ownership:     a reader looks at memory of its caller.
// Errors:        kInvalidArgument "ends too early".
// Sources:       RFC 4251 section 5.
#pragma once

#include <cstdint>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace signet::crypto {

class SshReader {
 public:
  explicit SshReader(base::ByteView data) : rest_(data) {}

  base::Result<std::uint32_t> U32() {
    TRY(const base::ByteView octets, Raw(4));
    return (std::uint32_t{octets[0]} << 24U) | (std::uint32_t{octets[1]} << 16U) | (std::uint32_t{octets[2]} << 8U) |
           std::uint32_t{octets[3]};
  }
  base::Result<base::ByteView> Raw(std::size_t size) {
    if (size > rest_.size()) return base::MakeError(base::Code::kInvalidArgument, "the data ends too early");
    const base::ByteView octets = rest_.first(size);
    rest_ = rest_.subspan(size);
    return octets;
  }
  base::Result<base::ByteView> String() {
    TRY(const std::uint32_t size, U32());
    return Raw(size);
  }
  /// A positive mpint in its only form (no superfluous zero octets), big endian without the sign octet.
  base::Result<base::ByteView> PositiveMpint() {
    TRY(base::ByteView octets, String());
    const bool zero_first = !octets.empty() && octets[0] == 0;
    const bool needs_zero = octets.size() > 1 && (octets[1] & 0x80U) != 0;
    if (octets.empty() || (octets[0] & 0x80U) != 0 || (zero_first && !needs_zero)) {
      return base::MakeError(base::Code::kInvalidArgument, "a number that is not positive or not in its shortest form");
    }
    return zero_first ? octets.subspan(1) : octets;
  }
  [[nodiscard]] bool AtEnd() const { return rest_.empty(); }

 private:
  base::ByteView rest_;
};

inline void AppendSshString(base::Bytes& out, base::ByteView octets) {
  const auto size = static_cast<std::uint32_t>(octets.size());
  for (const unsigned shift : {24U, 16U, 8U, 0U}) out.push_back(static_cast<std::uint8_t>(size >> shift));
  out.insert(out.end(), octets.begin(), octets.end());
}

}  // namespace signet::crypto
