// kube/relay.hpp - a way to API servers that the HTTP library cannot take: through proxies, and to IPv6 addresses.
//
// The library connects to a port on 127.0.0.1, and the relay passes bytes on to the one server that it was made for,
// through the proxy if there is one. TLS runs from the library to the server: the relay sees ciphertext, and the
// certificate is checked against the server's own name (kube/tls_settings.hpp), never against 127.0.0.1.
// Any local user can connect to that port and so reach that server, through the proxy with our proxy password. They get
// a TCP connection and no credential of ours.
//
// Ownership:     one thread, until destruction, which closes all connections.
// Thread-safety: every method from any thread.
// Sources:       RFC 9110 section 9.3.6 (CONNECT), RFC 1928 and 1929 (SOCKS5).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "kube/cluster_config.hpp"
#include "kube/server_address.hpp"

namespace signet::kube {

/// Where the system's roots are: SSL_CERT_FILE and SSL_CERT_DIR as this process found them, else OpenSSL's own places.
struct SystemRoots {
  std::string file;
  std::vector<std::string> folders;
};

class Relay {
 public:
  /// What a confined process must still be able to read: nullopt but for an https proxy.
  static std::optional<SystemRoots> RootsOf(const ClusterConfig& config);
  static bool IsNeeded(const ServerAddress& server, const ClusterConfig& config);
  /// An https proxy must have a certificate of the system's roots or of the cluster's CA; client-go has the latter
  /// only.
  /// The system's roots are read when a connection needs them: see RootsOf.
  static base::Result<std::unique_ptr<Relay>> Start(const ServerAddress& server, const ClusterConfig& config);
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  /// "127.0.0.1:PORT"
  [[nodiscard]] std::string authority() const;
  /// Why the latest attempt to reach the server failed, or that it still waits; empty if it succeeded.
  [[nodiscard]] std::string LastProblem() const;

 private:
  class Impl;
  explicit Relay(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace signet::kube
