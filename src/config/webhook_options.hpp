// config/webhook_options.hpp - where the admission webhook listens, and where API servers find it.
//
// Thread-safety: values.
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

struct WebhookOptions {
  static constexpr std::string_view kOff = "off";
  std::string listen;   ///< HOST:PORT, or kOff; empty: kDefaultListen in a cluster, none with a kubeconfig
  std::string url;      ///< https://HOST[:PORT], as API servers reach it
  std::string service;  ///< NAMESPACE/NAME[:PORT]; at most one of url and service
  std::chrono::milliseconds certificate_lifetime{std::chrono::hours(24 * 90)};
  std::chrono::milliseconds rotation_pause{10'000};
  std::chrono::milliseconds path_lifetime{300'000};  ///< of the token in the paths
  std::string
      client_ca;  ///< PEM file: API servers show a certificate that one of these authorities issued; empty: none
  std::chrono::milliseconds check_interval{2'000};  ///< of Secret and webhook configurations
};

void ReadWebhook(Reader section, WebhookOptions& out);
/// Forms and combinations, as far as they do not depend on where the process runs.
base::Status Validate(const WebhookOptions& options);

/// The PEM file of --webhook-client-ca. @return kInvalidArgument: it cannot be read, or holds no certificate
base::Result<std::string> ReadClientAuthorities(const std::string& file);

/// What the options come to.
struct WebhookPlan {
  std::string listen;      ///< numeric HOST:PORT
  std::string host;        ///< of the URL; empty: the service
  std::uint16_t port = 0;  ///< of the URL or the service; 0: the one that is listened on
  std::string service_ns, service_name;
  std::vector<std::string> dns_names, ip_addresses;  ///< of the certificate
};
inline constexpr std::string_view kDefaultListen = "0.0.0.0:9443";
inline constexpr std::string_view kDefaultService = "signet-webhook";  ///< in the operator's namespace

/// Nothing: no webhook. `ns`: the operator's namespace.
base::Result<std::optional<WebhookPlan>> PlanWebhook(const WebhookOptions& options, bool in_cluster,
                                                     std::string_view ns);

}  // namespace signet::config
