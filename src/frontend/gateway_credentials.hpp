// frontend/gateway_credentials.hpp - the sidecar's token and the gateway's CA, from files that kubelet rotates.
//
// A file is looked at (stat, symbolic links followed: kubelet swaps a folder) at most once a second and read when it is
// another one, or when the gateway has refused the token. What cannot be read or is no token leaves the last good one
// in force. A token is never logged.
//
// A CA that was pinned does not come from a file: it changes only by what a gateway announces on a connection that the
// present one vouches for.
//
// Ownership:     borrows the clock.
// Thread-safety: reactor thread.
// Blocking:      small local files.
// Sources:       RFC 6750 section 2.1 (syntax of a bearer token); Kubernetes projected volumes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "crypto/tls_trust.hpp"

namespace signet::frontend {

/// One file that is replaced now and then.
class RotatingFile {
 public:
  RotatingFile(std::string path, std::size_t most, const base::Clock& clock)
      : path_(std::move(path)), most_(most), clock_(clock) {}

  /// @param at_once even if it was looked at a moment ago, and read even if it seems to be the same
  /// @return the new content, once; nothing when it has not changed; kUnavailable when it cannot be read
  base::Result<std::optional<std::string>> Look(bool at_once);
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  struct Identity {
    std::uint64_t device = 0, inode = 0, size = 0;
    std::int64_t mtime_ns = 0;
    bool operator==(const Identity&) const = default;
  };
  std::string path_;
  std::size_t most_;
  const base::Clock& clock_;
  std::optional<Identity> identity_;
  std::optional<base::SteadyPoint> looked_at_;
};

class GatewayCredentials {
 public:
  static constexpr std::size_t kMaxToken = 16 * 1024;

  GatewayCredentials(std::string token_file, std::string ca_file, const base::Clock& clock)
      : clock_(clock),
        token_file_(std::move(token_file), kMaxToken + 1, clock),
        ca_file_(std::move(ca_file), crypto::TlsTrust::kMaxPem + 1, clock) {}
  ~GatewayCredentials();
  GatewayCredentials(const GatewayCredentials&) = delete;
  GatewayCredentials& operator=(const GatewayCredentials&) = delete;

  using Line = std::shared_ptr<const std::string>;
  /// "Authorization: Bearer ...\r\n". kUnavailable, reason "TokenMissing": there never was a good one.
  base::Result<Line> Authorization();
  /// The gateway has refused the token: read it again whatever the file looks like.
  void ReadAgain();
  /// kUnavailable, reason "TrustUnreadable": there never was a good one.
  base::Result<std::shared_ptr<const crypto::TlsTrust>> Trust();

  /// From now on the CA is `pem`, or what was announced since, which `remembered` keeps over a restart of the process:
  /// a file where this process alone may write.
  /// @return kInvalidArgument `pem` holds no certificates
  base::Status Pin(std::string_view pem, std::string remembered);
  /// A gateway that Trust() vouches for names the CAs to believe from now on. What is no certificate changes nothing.
  base::Status Announce(std::string_view pem);

 private:
  void LookAtToken(bool at_once);

  const base::Clock& clock_;
  RotatingFile token_file_;
  RotatingFile ca_file_;
  std::shared_ptr<std::string> line_;
  std::shared_ptr<const crypto::TlsTrust> trust_;
  base::Error token_problem_;
  base::Error trust_problem_;
  std::optional<std::string> remembered_;  ///< set: the CA is pinned
  std::string pinned_;                     ///< the PEM in force
};

}  // namespace signet::frontend
