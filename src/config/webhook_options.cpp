#include "config/webhook_options.hpp"

#include <fmt/format.h>

#include <fstream>

#include "config/endpoint.hpp"
#include "config/options.hpp"
#include "config/reader.hpp"
#include "crypto/tls_trust.hpp"

namespace signet::config {
namespace {

using std::chrono::milliseconds;

constexpr auto kShortestWebhookCertificate = std::chrono::seconds(5);
constexpr auto kLongestWebhookCertificate = std::chrono::hours(24 * 365 * 5);

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
  section.Timespan("certificateLifetime", out.certificate_lifetime, kShortestWebhookCertificate,
                   kLongestWebhookCertificate);
  section.Timespan("rotationPause", out.rotation_pause, milliseconds(100), milliseconds(3'600'000));
  section.Timespan("pathLifetime", out.path_lifetime, milliseconds(1'000), milliseconds(86'400'000));
  section.Text("clientCA", out.client_ca);
  section.Timespan("checkInterval", out.check_interval, milliseconds(50), milliseconds(60'000));
}

base::Status Validate(const WebhookOptions& options) {
  const bool off = options.listen == WebhookOptions::kOff;
  if (!options.listen.empty() && !off) {
    const auto parts = SplitHostPort(options.listen);
    if (!parts || !parts->port || !AddressOf(parts->host)) {
      return ConfigError(
          fmt::format("--webhook \"{}\": must be ADDRESS:PORT with a numeric address, or off", options.listen));
    }
  }
  if (!options.url.empty()) {
    TRY(const auto url, ParseUrl("--webhook-url", options.url));
  }
  if (!options.service.empty()) {
    TRY(const auto service, ParseService("--webhook-service", options.service));
  }
  if (!options.url.empty() && !options.service.empty()) {
    return ConfigError("--webhook-url and --webhook-service name two ways to the webhook: leave one out");
  }
  if (off && (!options.url.empty() || !options.service.empty())) {
    return ConfigError("--webhook off leaves nothing for --webhook-url and --webhook-service to name");
  }
  return {};
}

base::Result<std::string> ReadClientAuthorities(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  std::string text(crypto::TlsTrust::kMaxPem + 1, '\0');
  if (!in || !(in.read(text.data(), static_cast<std::streamsize>(text.size())) || in.eof())) {
    return ConfigError(fmt::format("--webhook-client-ca {}: cannot be read", file));
  }
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (const auto trust = crypto::TlsTrust::Create(text); !trust) {
    return ConfigError(fmt::format("--webhook-client-ca {}: {}", file, trust.error().message));
  }
  return text;
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
  const auto listen = *SplitHostPort(plan.listen);
  if (!options.url.empty()) {
    TRY(const auto url, ParseUrl("--webhook-url", options.url));
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
    TRY(service, ParseService("--webhook-service", options.service));
  }
  plan.port = service.port;
  plan.service_ns = service.ns;
  plan.service_name = service.name;
  plan.dns_names = {fmt::format("{}.{}.svc", service.name, service.ns),
                    fmt::format("{}.{}.svc.cluster.local", service.name, service.ns)};
  return std::optional(std::move(plan));
}

}  // namespace signet::config
