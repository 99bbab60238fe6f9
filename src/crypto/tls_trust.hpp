// crypto/tls_trust.hpp - whom a TLS client believes: certificates of authorities, and nothing else of this machine.
//
// Thread-safety: immutable; any thread.
// Blocking:      never.
// Sources:       RFC 5280 section 6; RFC 9525 (names); RFC 8446 section 4.6.1 (tickets).
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "base/result.hpp"

namespace signet::crypto {

class TlsTrust {
 public:
  static constexpr std::size_t kMaxPem = 256 * 1024;  ///< octets

  /// @param authorities one PEM certificate or more. A self-signed server certificate stands for itself.
  /// @return kInvalidArgument none, or one that is not PEM; too long
  static base::Result<std::shared_ptr<const TlsTrust>> Create(std::string_view authorities);
  ~TlsTrust();
  TlsTrust(const TlsTrust&) = delete;
  TlsTrust& operator=(const TlsTrust&) = delete;

 private:
  friend class TlsSession;
  struct Impl;
  explicit TlsTrust(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// What a server gave to come back with: a shorter handshake. It skips the server's certificate, so it is good only
/// for the trust and the server name of the session that it came from.
class TlsTicket;

}  // namespace signet::crypto
