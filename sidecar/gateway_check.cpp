#include "sidecar/gateway_check.hpp"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "base/clock.hpp"
#include "base/printable.hpp"
#include "encoding/json.hpp"
#include "frontend/gateway_client.hpp"
#include "frontend/gateway_credentials.hpp"
#include "http/asio_reactor.hpp"
#include "http/resolver.hpp"
#include "http/upstream.hpp"

namespace signet::app {
namespace {

bool Print(bool ok, const char* what, const std::string& detail) {
  std::printf("%-5s %-9s %s\n", ok ? "ok" : "FAIL", what, base::PrintableLine(detail).c_str());
  return ok;
}

/// Each policy and its key, as GET /v1/keys lists them.
void PrintPolicies(const std::string& body) {
  const auto listed = encoding::ParseJson(body);
  if (!listed || !listed->is_object() || !listed->contains("keys") || !listed->at("keys").is_array()) return;
  const auto& keys = listed->at("keys");
  if (keys.empty()) Print(true, "policies", "none lists this pod's service account");
  for (const auto& key : keys) {
    if (!key.is_object()) continue;
    const bool ready = key.value("ready", false) && !key.value("suspended", false);
    Print(ready, "policy", key.value("policy", std::string()) + (ready ? "" : " cannot be used now"));
  }
}

std::string Why(const frontend::GatewayClient::Outcome& outcome) {
  return outcome.response ? "status " + std::to_string(outcome.response->status) + ": " + outcome.response->body
                          : base::Describe(outcome.error);
}

}  // namespace

Ending RunGatewayCheck(const config::SidecarConfig& config) {
  const config::UpstreamOptions& gateway = config.gateway;
  if (const auto valid = config::Validate(gateway); !valid) return Fail(ExitCode::kConfiguration, valid.error());
  const base::Clock& clock = base::SystemClock();
  const auto reactor = http::AsioReactor::Create();
  frontend::GatewayCredentials credentials(gateway.token_file, gateway.ca_file, clock);
  const auto token = credentials.Authorization();
  if (!gateway.ca_pem.empty()) {
    const auto pinned = credentials.Pin(gateway.ca_pem, config.RememberedCa());
    if (!pinned) return Fail(ExitCode::kConfiguration, pinned.error());
  }
  const auto trust = credentials.Trust();
  Print(token.has_value(), "token", token ? gateway.token_file : base::Describe(token.error()));
  Print(trust.has_value(), "ca",
        trust ? (gateway.ca_pem.empty() ? gateway.ca_file : "as given") : base::Describe(trust.error()));
  if (!token || !trust) return {ExitCode::kConfiguration, "the configuration cannot be used: see above"};

  const auto resolver = http::Resolver::System(*reactor);
  http::Upstream::Options options;
  for (const std::string& url : gateway.urls) options.targets.push_back(*config::ParseGatewayUrl(url));
  options.server_name = gateway.server_name;
  options.trust = [&credentials] { return credentials.Trust(); };
  const auto upstream = http::Upstream::Create(*reactor, clock, *resolver, std::move(options));
  frontend::GatewayClient client({gateway.attempt_timeout, gateway.max_wait},
                                 {reactor.get(), &clock, upstream.get(), &credentials});
  frontend::GatewayClient::Call call;
  call.request.target = "/v1/keys";
  bool good = false;
  client.Send(std::move(call), [&](const frontend::GatewayClient::Outcome& outcome) {
    good = outcome.response && outcome.response->status == 200;
    Print(good, "gateway", good ? "answers and accepts the token" : Why(outcome));
    if (good) PrintPolicies(outcome.response->body);
    reactor->Stop();
  });
  reactor->Run();
  if (!good) return {ExitCode::kOther, "the gateway cannot be used as configured: see above"};
  return {};
}

}  // namespace signet::app
