// crypto/hmac.hpp - HMAC-SHA-256 with a key that is wiped, and comparison in constant time.
//
// Ownership:     an HmacKey owns its Secret; move-only, so that there is one copy to wipe.
// Thread-safety: const calls from any thread.
// Blocking:      never, except for the system's random source at its first use.
// Sources:       RFC 2104; FIPS 198-1; RFC 8018. Vectors: RFC 4231, RFC 7914 section 11.
#pragma once

#include <array>
#include <cstddef>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"

namespace signet::crypto {

using Mac = std::array<std::uint8_t, 32>;

/// One MAC; `key` of any length (RFC 2104 section 2).
Mac HmacSha256(base::ByteView key, base::ByteView message);

/// PBKDF2 with HMAC-SHA-256 (RFC 8018 section 5.2): a MAC that takes `rounds` times as long to guess.
Mac Pbkdf2Sha256(base::ByteView secret, base::ByteView salt, int rounds);

/// True for equal octet strings. Takes the same time for all contents of one length; lengths are no secret.
bool EqualConstantTime(base::ByteView a, base::ByteView b);

class HmacKey {
 public:
  static constexpr std::size_t kMinSize = 32;    ///< octets: the hash's own strength (RFC 2104 section 3)
  static constexpr std::size_t kMaxSize = 1024;  ///< octets; more is a wrong file

  /// @return kInvalidArgument fewer than kMinSize or more than kMaxSize octets
  static base::Result<HmacKey> Create(base::Secret key);
  /// 32 octets of the operating system's random source.
  static HmacKey Generate();

  [[nodiscard]] Mac Sign(base::ByteView message) const;
  /// In constant time; false for a MAC of another length.
  [[nodiscard]] bool Verify(base::ByteView message, base::ByteView mac) const;
  [[nodiscard]] const base::Secret& secret() const { return key_; }  ///< to store it

 private:
  explicit HmacKey(base::Secret key) : key_(std::move(key)) {}
  base::Secret key_;
};

}  // namespace signet::crypto
