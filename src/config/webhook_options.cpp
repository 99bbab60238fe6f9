#include "config/webhook_options.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <array>
#include <charconv>

#include "api/scalars.hpp"
#include "config/options.hpp"
#include "config/reader.hpp"

namespace signet::config {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view kScheme = "https://";
constexpr std::uint16_t kHttpsPort = 443;
constexpr auto kShortestLifetime = std::chrono::seconds(5);
constexpr auto kLongestLifetime = std::chrono::hours(24 * 365 * 5);

std::optional<std::uint16_t> PortOf(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return port;
}

/// The address as inet_ntop writes it; nothing: not an address.
std::optional<std::string> AddressOf(const std::string& text) {
  std::array<unsigned char, sizeof(in6_addr)> octets{};
  std::array<char, INET6_ADDRSTRLEN> out{};
  for (const int family : {AF_INET, AF_INET6}) {
    if (::inet_pton(family, text.c_str(), octets.data()) != 1) continue;
    if (::inet_ntop(family, octets.data(), out.data(), out.size()) != nullptr) return std::string(out.data());
  }
  return std::nullopt;
}

struct HostPort {
  std::string host;  ///< without brackets
  std::optional<std::uint16_t> port;
};

/// "host", "host:port", "[v6]:port". Nothing: none of these.
std::optional<HostPort> Split(std::string_view text) {
  HostPort out;
  std::string_view rest;
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    out.host = text.substr(1, end - 1);
    rest = text.substr(end + 1);
  } else {
    const auto colon = text.find(':');
    out.host = text.substr(0, colon);
    rest = colon == std::string_view::npos ? std::string_view() : text.substr(colon);
  }
  if (out.host.empty()) return std::nullopt;
  if (rest.empty()) return out;
  out.port = rest.front() == ':' ? PortOf(rest.substr(1)) : std::nullopt;
  if (!out.port) return std::nullopt;
  return out;
}

base::Result<HostPort> ParseUrl(const std::string& url) {
  const auto refuse = [&] {
    return ConfigError(fmt::format("--webhook-url \"{}\": must be https://HOST[:PORT], without a path", url));
  };
  if (!url.starts_with(kScheme)) return refuse();
  const auto parts = Split(std::string_view(url).substr(kScheme.size()));
  if (!parts || parts->port == 0) return refuse();
  if (!AddressOf(parts->host) && !api::IsDnsSubdomain(parts->host)) return refuse();
  return *parts;
}

struct ServiceName {
  std::string ns, name;
  std::uint16_t port = kHttpsPort;
};

base::Result<ServiceName> ParseService(const std::string& text) {
  const auto slash = text.find('/');
  const auto parts = slash == std::string::npos ? std::nullopt : Split(std::string_view(text).substr(slash + 1));
  ServiceName out;
  if (parts) out = {text.substr(0, slash), parts->host, parts->port.value_or(kHttpsPort)};
  if (!parts || out.port == 0 || !api::IsDnsLabel(out.ns) || !api::IsDnsLabel(out.name)) {
    return ConfigError(fmt::format("--webhook-service \"{}\": must be NAMESPACE/NAME or NAMESPACE/NAME:PORT", text));
  }
  return out;
}

bool IsLoopback(const std::string& host) { return host.starts_with("127.") || host == "::1"; }

void NameHost(const std::string& host, WebhookPlan& plan) {
  plan.host = host;
  if (auto address = AddressOf(host)) {
    plan.ip_addresses = {*address};
  } else {
    plan.dns_names = {host};
  }
}

}  // namespace

void ReadWebhook(Reader section, WebhookOptions& out) {
  section.Text("listen", out.listen);
  section.Text("url", out.url);
  section.Text("service", out.service);
  section.Timespan("certificateLifetime", out.certificate_lifetime, kShortestLifetime, kLongestLifetime);
  section.Timespan("rotationPause", out.rotation_pause, milliseconds(100), milliseconds(3'600'000));
  section.Timespan("checkInterval", out.check_interval, milliseconds(50), milliseconds(60'000));
}

base::Status Validate(const WebhookOptions& options) {
  const bool off = options.listen == WebhookOptions::kOff;
  if (!options.listen.empty() && !off) {
    const auto parts = Split(options.listen);
    if (!parts || !parts->port || !AddressOf(parts->host)) {
      return ConfigError(
          fmt::format("--webhook \"{}\": must be ADDRESS:PORT with a numeric address, or off", options.listen));
    }
  }
  if (!options.url.empty()) {
    TRY(const auto url, ParseUrl(options.url));
  }
  if (!options.service.empty()) {
    TRY(const auto service, ParseService(options.service));
  }
  if (!options.url.empty() && !options.service.empty()) {
    return ConfigError("--webhook-url and --webhook-service name two ways to the webhook: leave one out");
  }
  if (off && (!options.url.empty() || !options.service.empty())) {
    return ConfigError("--webhook off leaves nothing for --webhook-url and --webhook-service to name");
  }
  return {};
}

base::Result<std::optional<WebhookPlan>> PlanWebhook(const WebhookOptions& options, bool in_cluster,
                                                     std::string_view ns) {
  TRY_VOID(Validate(options));
  const bool named = !options.url.empty() || !options.service.empty();
  if (options.listen == WebhookOptions::kOff) return std::optional<WebhookPlan>();
  if (options.listen.empty() && !in_cluster) {
    if (named) return ConfigError("--webhook-url and --webhook-service need --webhook ADDRESS:PORT to listen on");
    return std::optional<WebhookPlan>();
  }
  WebhookPlan plan;
  plan.listen = options.listen.empty() ? std::string(kDefaultListen) : options.listen;
  const auto listen = *Split(plan.listen);
  if (!options.url.empty()) {
    TRY(const auto url, ParseUrl(options.url));
    plan.port = url.port.value_or(kHttpsPort);
    NameHost(url.host, plan);
    return std::optional(std::move(plan));
  }
  if (options.service.empty() && IsLoopback(listen.host)) {
    NameHost(listen.host, plan);
    return std::optional(std::move(plan));
  }
  if (options.service.empty() && !in_cluster) {
    return ConfigError(
        fmt::format("--webhook {}: say how API servers reach it: --webhook-url or --webhook-service", plan.listen));
  }
  ServiceName service{std::string(ns), std::string(kDefaultService), kHttpsPort};
  if (!options.service.empty()) {
    TRY(service, ParseService(options.service));
  }
  plan.port = service.port;
  plan.service_ns = service.ns;
  plan.service_name = service.name;
  plan.dns_names = {fmt::format("{}.{}.svc", service.name, service.ns),
                    fmt::format("{}.{}.svc.cluster.local", service.name, service.ns)};
  return std::optional(std::move(plan));
}

}  // namespace signet::config
