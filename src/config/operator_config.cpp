#include "config/operator_config.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "config/reader.hpp"

namespace signet::config {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view kFolderScheme = "dir:";

void ReadLeaderElection(Reader section, LeaderElectionOptions& out) {
  section.Flag("enabled", out.enabled);
  section.Text("namespace", out.ns);
  section.Text("name", out.name);
  section.Text("identity", out.identity);
  section.Timespan("leaseDuration", out.lease_duration, milliseconds(1'000), milliseconds(600'000));
  section.Timespan("renewDeadline", out.renew_deadline, milliseconds(500), milliseconds(600'000));
  section.Timespan("retryPeriod", out.retry_period, milliseconds(100), milliseconds(600'000));
}

}  // namespace

std::string OperatorConfig::StoreFolder() const {
  return store.starts_with(kFolderScheme) ? store.substr(kFolderScheme.size()) : std::string();
}

base::Result<OperatorConfig> LoadOperatorConfig(const std::string& file) {
  OperatorConfig out;
  TRY(const nlohmann::json document, LoadConfigFile(file));
  Reader reader(document, "");
  reader.Text("kubeconfig", out.kubeconfig);
  reader.Text("context", out.context);
  reader.Text("store", out.store);
  reader.Flag("once", out.once);
  reader.Text("username", out.username);
  ReadWebhook(reader.Section("webhook"), out.webhook);
  ReadGateway(reader.Section("gateway"), out.gateway);
  ReadInjection(reader.Section("injection"), out.injection);
  ReadHsm(reader.Section("hsm"), out.hsm);
  ReadAudit(reader.Section("audit"), out.audit);
  reader.Text("approvalRoots", out.approval_roots);
  reader.Text("metrics", out.metrics);
  reader.Text("metricsTokenFile", out.metrics_token_file);
  ReadLeaderElection(reader.Section("leaderElection"), out.leader_election);
  reader.Number("policyWorkers", out.policy_workers, 1, 64);
  reader.Number("requestWorkers", out.request_workers, 1, 256);
  Reader policies = reader.Section("policies");
  policies.Timespan("maxAge", out.policy_max_age, milliseconds(5'000), milliseconds(3'600'000));
  policies.Timespan("refresh", out.policy_refresh, milliseconds(500), milliseconds(60'000));
  reader.Timespan("drainTimeout", out.drain_timeout, milliseconds(0), milliseconds(600'000));
  ReadHardening(reader.Section("hardening"), out.hardening);
  ReadLog(reader.Section("log"), out.log);
  if (const auto finished = reader.Finish(); !finished) {
    return ConfigError(fmt::format("{}: {}", file, finished.error().message));
  }
  return out;
}

base::Status Validate(const OperatorConfig& config) {
  if (config.audit.file.empty()) return ConfigError("no audit record: give --audit FILE or audit.file");
  if (!config.store.empty()) {
    if (config.StoreFolder().empty()) {
      return ConfigError(fmt::format("store \"{}\": must be dir:PATH; leave it out for an API server", config.store));
    }
    if (!config.kubeconfig.empty() || !config.context.empty()) {
      return ConfigError("--store and --kubeconfig name two stores: leave one out");
    }
    const auto& hook = config.webhook;
    if (!hook.url.empty() || !hook.service.empty() || (!hook.listen.empty() && hook.listen != WebhookOptions::kOff)) {
      return ConfigError("--webhook needs an API server: leave it or --store out");
    }
    const auto& door = config.gateway;
    if (!door.url.empty() || !door.service.empty() || (!door.listen.empty() && door.listen != GatewayOptions::kOff)) {
      return ConfigError("--gateway needs an API server, which knows the callers: leave it or --store out");
    }
    if (!config.injection.sidecar_image.empty()) {
      return ConfigError("--sidecar-image needs an API server: leave it or --store out");
    }
  } else if (config.once) {
    return ConfigError("--once is for the directory store: give --store dir:PATH");
  }
  if (!config.context.empty() && config.kubeconfig.empty()) {
    return ConfigError("--context chooses within a kubeconfig: give --kubeconfig FILE");
  }
  TRY_VOID(Validate(config.webhook));
  TRY_VOID(Validate(config.gateway));
  TRY_VOID(Validate(config.injection));
  TRY_VOID(Validate(config.hardening, true));
  const LeaderElectionOptions& lease = config.leader_election;
  if (lease.enabled && (lease.renew_deadline >= lease.lease_duration || lease.retry_period >= lease.renew_deadline)) {
    return ConfigError("leaderElection: retryPeriod < renewDeadline < leaseDuration must hold");
  }
  if (lease.enabled && lease.name.empty()) return ConfigError("leaderElection.name: must not be empty");
  if (config.policy_refresh >= config.policy_max_age) {
    return ConfigError("policies: refresh must be shorter than maxAge");
  }
  if (!config.metrics.empty()) TRY_VOID(ValidateAddress("--metrics", config.metrics));
  return {};
}

}  // namespace signet::config
