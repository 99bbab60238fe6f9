#include "config/gateway_options.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "api/scalars.hpp"
#include "config/endpoint.hpp"
#include "config/reader.hpp"

namespace signet::config {
namespace {

using std::chrono::milliseconds;

constexpr std::uint32_t kMostRate = 1'000'000;
constexpr std::size_t kMostNames = 32;
constexpr std::size_t kMostAudience = 255;
constexpr auto kShortestGatewayCertificate = std::chrono::seconds(5);
constexpr auto kLongestGatewayCertificate = std::chrono::hours(24 * 365);

bool IsAudience(const std::string& text) {
  return !text.empty() && text.size() <= kMostAudience &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7F; });
}

void AddName(const std::string& name, GatewayPlan& plan) {
  auto address = AddressOf(name);
  auto& list = address ? plan.ip_addresses : plan.dns_names;
  std::string entry = address ? std::move(*address) : name;
  if (std::find(list.begin(), list.end(), entry) == list.end()) list.push_back(std::move(entry));
}

}  // namespace

void ReadGateway(Reader section, GatewayOptions& out) {
  section.Text("listen", out.listen);
  section.Text("service", out.service);
  section.Texts("names", out.names);
  section.Text("audience", out.audience);
  section.Text("url", out.url);
  section.Number("rate", out.rate, 0, kMostRate);
  section.Timespan("certificateLifetime", out.certificate_lifetime, kShortestGatewayCertificate,
                   kLongestGatewayCertificate);
  section.Timespan("checkInterval", out.check_interval, milliseconds(50), milliseconds(60'000));
  section.Timespan("drainDelay", out.drain_delay, milliseconds(0), milliseconds(300'000));
}

base::Status Validate(const GatewayOptions& options) {
  if (!options.listen.empty() && options.listen != GatewayOptions::kOff) {
    const auto parts = SplitHostPort(options.listen);
    if (!parts || !parts->port || !AddressOf(parts->host)) {
      return ConfigError(
          fmt::format("--gateway \"{}\": must be ADDRESS:PORT with a numeric address, or off", options.listen));
    }
  }
  if (!options.service.empty()) {
    TRY(const auto service, ParseService("--gateway-service", options.service));
  }
  if (!options.url.empty()) {
    TRY(const auto url, ParseUrl("--gateway-url", options.url));
  }
  if (options.names.size() > kMostNames) return ConfigError(fmt::format("--gateway-name: at most {}", kMostNames));
  for (const auto& name : options.names) {
    if (AddressOf(name) || api::IsDnsSubdomain(name)) continue;
    return ConfigError(fmt::format("--gateway-name \"{}\": must be a DNS name or an IP address", name));
  }
  if (!IsAudience(options.audience)) {
    return ConfigError("--gateway-audience: must have 1 to 255 printable ASCII characters without spaces");
  }
  return {};
}

base::Result<std::optional<GatewayPlan>> PlanGateway(const GatewayOptions& options, bool in_cluster,
                                                     std::string_view ns) {
  TRY_VOID(Validate(options));
  if (options.listen == GatewayOptions::kOff) return std::optional<GatewayPlan>();
  if (options.listen.empty() && !in_cluster) {
    if (options.service.empty() && options.url.empty() && options.names.empty()) return std::optional<GatewayPlan>();
    return ConfigError("--gateway-service, --gateway-url and --gateway-name need --gateway ADDRESS:PORT to listen on");
  }
  GatewayPlan plan;
  plan.listen = options.listen.empty() ? std::string(kDefaultGatewayListen) : options.listen;
  const auto listen = *SplitHostPort(plan.listen);
  const std::string address = *AddressOf(listen.host);
  ServiceName service{std::string(ns), std::string(kDefaultGatewayService), kHttpsPort};
  if (!options.service.empty()) {
    TRY(service, ParseService("--gateway-service", options.service));
  }
  for (const auto& name : {fmt::format("{}.{}.svc", service.name, service.ns),
                           fmt::format("{}.{}.svc.cluster.local", service.name, service.ns),
                           fmt::format("{}.{}", service.name, service.ns), service.name}) {
    AddName(name, plan);
  }
  const bool concrete = !IsWildcard(address);
  if (concrete) AddName(address, plan);
  for (const auto& name : options.names) AddName(name, plan);
  if (!options.url.empty()) {
    TRY(const auto url, ParseUrl("--gateway-url", options.url));
    AddName(url.host, plan);
    plan.url = options.url;
  } else if (!in_cluster && concrete && options.service.empty()) {
    plan.url = "https://" + JoinHostPort(address, *listen.port);
  } else {
    plan.url = "https://" + JoinHostPort(fmt::format("{}.{}.svc", service.name, service.ns), service.port);
  }
  return std::optional(std::move(plan));
}

}  // namespace signet::config
