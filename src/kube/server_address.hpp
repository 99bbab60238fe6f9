// kube/server_address.hpp - an API server's URL in its parts, with the rules of Go's net/url where they matter.
//
// Thread-safety: no shared state.
// Errors:        kInvalidArgument, reason "ConfigInvalid"; the message never repeats the URL.
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"

namespace signet::kube {

struct ServerAddress {
  std::string host;  ///< a name, or an address without brackets: "api.example.com", "fd00::1", "fe80::1%eth0"
  std::string port;  ///< "443" if the URL names none
  std::string path;  ///< "" or "/prefix"
  /// What the Host header says: as in the URL, without a zone.
  std::string authority;

  [[nodiscard]] bool IsIpv6() const { return host.find(':') != std::string::npos; }
  /// The name that the server's certificate must be for: without a zone and without a final dot.
  [[nodiscard]] std::string CertificateName() const;
};

/// "https://host:port/prefix"
base::Result<ServerAddress> ParseServer(std::string_view url);

/// Splits "host", "host:port", "[::1]:port" or "[::1]"; the port may be missing ("").
/// @return false if it is none of them
bool SplitHostPort(std::string_view text, std::string& host, std::string& port);

/// True for "10.0.0.1", "fd00::1".
bool IsIpAddress(const std::string& host);

}  // namespace signet::kube
