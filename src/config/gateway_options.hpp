// config/gateway_options.hpp - where the gateway listens, by which names callers reach it, and how often they may ask.
//
// Thread-safety: values.
// Units:         requests a second.
// Errors:        kInvalidArgument, reason "ConfigInvalid", message names the flag.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace signet::config {

class Reader;

struct GatewayOptions {
  static constexpr std::string_view kOff = "off";
  std::string listen;   ///< ADDRESS:PORT, or kOff; empty: kDefaultGatewayListen in a cluster, none with a kubeconfig
  std::string service;  ///< NAMESPACE/NAME[:PORT]; empty: kDefaultGatewayService in the operator's namespace
  std::vector<std::string> names;  ///< further DNS names and addresses of the certificate
  std::string audience = "signet.dev";
  std::string url;            ///< https://HOST[:PORT], as sidecars reach it; empty: from service or listen
  std::uint32_t rate = 1000;  ///< requests a second and pod, bursts of twice that; 0: no limit
  std::chrono::milliseconds certificate_lifetime{std::chrono::hours(24)};
  std::chrono::milliseconds check_interval{10'000};  ///< of Secret and ConfigMap
  /// From SIGTERM to the end of accepting connections: others learn meanwhile that this replica goes.
  std::chrono::milliseconds drain_delay{5'000};
};

void ReadGateway(Reader section, GatewayOptions& out);
/// Forms and combinations, as far as they do not depend on where the process runs.
base::Status Validate(const GatewayOptions& options);

/// What the options come to.
struct GatewayPlan {
  std::string listen;  ///< numeric HOST:PORT
  std::string url;     ///< https://HOST:PORT for sidecars; with port 0, the one that is listened on has to be put in
  std::vector<std::string> dns_names, ip_addresses;  ///< of the certificate
};
inline constexpr std::string_view kDefaultGatewayListen = "0.0.0.0:8443";
inline constexpr std::string_view kDefaultGatewayService = "signet-gateway";  ///< in the operator's namespace

/// Nothing: no gateway. `ns`: the operator's namespace.
base::Result<std::optional<GatewayPlan>> PlanGateway(const GatewayOptions& options, bool in_cluster,
                                                     std::string_view ns);

}  // namespace signet::config
