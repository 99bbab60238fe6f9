// config/sidecar_config.hpp - what signet-sidecar can be told: examples/sidecar.yaml and sidecar-gateway.yaml explain
// each key.
//
// Thread-safety: values.
// Errors:        kInvalidArgument, reason "ConfigInvalid", message names key and flag.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "config/hardening_options.hpp"
#include "config/options.hpp"
#include "config/upstream_options.hpp"
#include "http/server.hpp"

namespace signet::config {

struct SidecarConfig {
  std::string socket_path = "/run/signet/signet.sock";
  std::uint32_t socket_mode = 0660;
  std::vector<std::uint32_t> allowed_uids;  ///< empty: all that the mode lets in
  std::string listen;                       ///< 127.0.0.1:PORT; empty: no port
  std::string metrics;                      ///< 127.0.0.1:PORT; empty: no metrics
  UpstreamOptions gateway;                  ///< with a URL in it: gateway mode, without policies, HSM and record
  std::string subject;                      ///< system:serviceaccount:NAMESPACE:NAME
  std::string policies;                     ///< folder
  std::chrono::milliseconds policy_poll{1'000};
  std::chrono::milliseconds policy_max_age{120'000};
  HsmOptions hsm;
  AuditOptions audit;
  http::Limits limits;
  std::uint32_t max_in_flight = 4096;
  std::chrono::milliseconds drain_timeout{30'000};
  HardeningOptions hardening;
  LogOptions log;

  /// Beside the socket: in a pod, the sidecar alone may write there.
  [[nodiscard]] std::string RememberedCa() const;
  [[nodiscard]] bool gateway_mode() const { return !gateway.urls.empty(); }
};

/// Members that the file does not name keep their defaults; unknown ones are refused.
base::Result<SidecarConfig> LoadSidecarConfig(const std::string& file);

/// Checks what needs no file system: required members, addresses, members that exclude each other.
base::Status Validate(const SidecarConfig& config);

}  // namespace signet::config
