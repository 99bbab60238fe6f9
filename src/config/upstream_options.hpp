// config/upstream_options.hpp - how a sidecar in gateway mode reaches the gateway: examples/sidecar-gateway.yaml.
//
// Thread-safety: values.
// Errors:        kInvalidArgument, reason "ConfigInvalid", message names key and flag.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "http/upstream.hpp"

namespace signet::config {

class Reader;

struct UpstreamOptions {
  std::vector<std::string> urls;  ///< https://HOST[:PORT]; empty: direct mode
  std::string ca_file = "/var/run/secrets/signet/ca.crt";
  std::string ca_pem;       ///< not empty: instead of the file, and changed by the gateway alone
  std::string server_name;  ///< empty: the host of each URL
  std::string token_file = "/var/run/secrets/signet/token";
  std::chrono::milliseconds attempt_timeout{2'000};
  std::chrono::milliseconds max_wait{10'000};
  bool strict = false;       ///< readiness
  std::string end_with_pod;  ///< our container's name; empty: SIGTERM alone ends us
};

void ReadUpstream(Reader section, UpstreamOptions& out);
base::Status Validate(const UpstreamOptions& options);
/// @param url https://HOST[:PORT], an IPv6 address in brackets; no path
base::Result<http::UpstreamTarget> ParseGatewayUrl(std::string_view url);
base::Result<bool> ParseReadiness(std::string_view text);  ///< true: strict

}  // namespace signet::config
