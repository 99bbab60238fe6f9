#include "operator/command_line.hpp"

#include <CLI/CLI.hpp>
#include <iostream>
#include <optional>

#include "config/empty_values.hpp"

namespace signet::app {
namespace {

using std::chrono::milliseconds;

constexpr const char* kDefaultProbe = "127.0.0.1:8080";

/// Flags as given; what is not given leaves the configuration file's value.
struct Flags {
  std::string config_file;
  std::optional<std::string> kubeconfig, context, store, module, pin_file, token, state_dir, audit, durability, metrics,
      metrics_token_file, approval_roots, lease_name, lease_namespace, log_level, log_format, username, webhook,
      webhook_url, webhook_service, webhook_client_ca, gateway, gateway_service, gateway_audience, gateway_url,
      sidecar_image, sidecar_form, user, worker_user;
  bool no_seccomp = false, no_landlock = false;
  std::vector<std::string> gateway_names;
  std::optional<std::uint32_t> workers, parallelism, gateway_rate;
  std::optional<double> lease_duration, drain_timeout, webhook_certificate_lifetime, webhook_rotation_pause,
      webhook_path_lifetime, gateway_drain_delay;
  std::optional<bool> leader_elect;
  bool once = false, audit_stdout = false;
};

template <class T>
void Take(const std::optional<T>& flag, T& target) {
  if (flag) target = *flag;
}

void DeclareWebhook(CLI::App& app, Flags& flags) {
  app.add_option("--webhook", flags.webhook,
                 "ADDRESS:PORT of the admission webhook, or off (default: 0.0.0.0:9443 in a cluster, off elsewhere)");
  app.add_option("--webhook-url", flags.webhook_url, "https://HOST[:PORT] by which API servers reach the webhook");
  app.add_option("--webhook-service", flags.webhook_service,
                 "NAMESPACE/NAME[:PORT] of the Service in front of the webhook");
  app.add_option("--webhook-certificate-lifetime", flags.webhook_certificate_lifetime,
                 "seconds; renewed after two thirds of it (default: 90 days)")
      ->check(CLI::Range(5.0, 157'680'000.0));
  app.add_option("--webhook-rotation-pause", flags.webhook_rotation_pause,
                 "seconds that API servers have to learn of a new certificate (default: 10)")
      ->check(CLI::Range(0.1, 3600.0));
  app.add_option("--webhook-path-lifetime", flags.webhook_path_lifetime,
                 "seconds until the webhook's paths change (default: 300)")
      ->check(CLI::Range(1.0, 86'400.0));
  app.add_option("--webhook-client-ca", flags.webhook_client_ca,
                 "PEM file: API servers must show a certificate of these authorities (default: none)");
  app.add_option("--username", flags.username, "our own name at the API server, where the credentials do not tell it");
}

void DeclareGateway(CLI::App& app, Flags& flags) {
  app.add_option(
      "--gateway", flags.gateway,
      "ADDRESS:PORT of the signing API for pods, or off (default: 0.0.0.0:8443 in a cluster, off elsewhere)");
  app.add_option("--gateway-service", flags.gateway_service,
                 "NAMESPACE/NAME[:PORT] of the Service in front of the gateway (default: signet-gateway, port 443)");
  app.add_option("--gateway-name", flags.gateway_names,
                 "a further DNS name or IP address of the gateway's certificate");
  app.add_option("--gateway-audience", flags.gateway_audience, "audience of the callers' tokens (default: signet.dev)");
  app.add_option("--gateway-url", flags.gateway_url, "https://HOST[:PORT] by which sidecars reach the gateway");
  app.add_option("--gateway-rate", flags.gateway_rate,
                 "requests a second and pod, bursts of twice that; 0: no limit (default: 1000)")
      ->check(CLI::Range(0, 1'000'000));
  app.add_option("--gateway-drain-delay", flags.gateway_drain_delay,
                 "seconds from SIGTERM to the end of accepting connections (default: 5)")
      ->check(CLI::Range(0.0, 300.0));
}

void DeclareInjection(CLI::App& app, Flags& flags) {
  app.add_option("--sidecar-image", flags.sidecar_image, "image of the sidecar that labelled pods get; none: none");
  app.add_option("--sidecar-form", flags.sidecar_form,
                 "auto (default: native where the API server is 1.29 or later), native or container")
      ->check(CLI::IsMember({"auto", "native", "container"}));
}

void DeclareHardening(CLI::App& app, Flags& flags) {
  app.add_option("--user", flags.user, "UID[:GID] to become for parsing requests; start as root");
  app.add_option("--worker-user", flags.worker_user, "UID[:GID] of the HSM workers; together with --user");
  app.add_flag("--no-seccomp", flags.no_seccomp, "deny no system calls");
  app.add_flag("--no-landlock", flags.no_landlock, "do not confine the process to its own files");
}

void DeclareCommands(CLI::App& app, CommandLine& out) {
  auto* check = app.add_subcommand("check", "test module, token, keys and mechanisms, a line each");
  check->fallthrough();
  check->add_flag("--login", out.login, "try the PIN, once");
  check->callback([&out] { out.check = true; });
  auto* probe = app.add_subcommand("probe", "ask /readyz of a running operator (--health, default 127.0.0.1:8080)");
  probe->fallthrough();
  probe->add_flag("--live", out.live, "ask /healthz: is the process alive, whether or not it can sign");
  probe->callback([&out] { out.probe = true; });
  // Run before this is parsed (setup_commands.cpp): here for --help alone.
  app.add_subcommand("dev-hsm", "make a SoftHSM token in a folder, for a first try");
  app.add_subcommand("remove-webhooks", "delete the webhook configurations signet.dev, after an uninstall");
}

void Declare(CLI::App& app, Flags& flags, CommandLine& out) {
  app.set_version_flag("--version", std::string("signet-operator ") + SIGNET_VERSION);
  app.add_option("--config", flags.config_file, "YAML file with the same settings; flags go before it");
  app.add_option("--kubeconfig", flags.kubeconfig, "the API server; without it and --store: the cluster we run in");
  app.add_option("--context", flags.context, "context of the kubeconfig");
  app.add_option("--store", flags.store, "dir:PATH, a folder of manifests in place of an API server");
  app.add_flag("--once", flags.once, "with --store: bring everything there to an end, then exit");
  app.add_option("--pkcs11-module", flags.module, "the HSM's PKCS#11 library");
  app.add_option("--pin-file", flags.pin_file, "file with the user PIN");
  app.add_option("--token", flags.token, "label of the token, where the module shows several");
  app.add_option("--workers", flags.workers, "processes that hold a session of the HSM each")->check(CLI::Range(1, 16));
  app.add_option("--state-dir", flags.state_dir,
                 "folder that remembers refused PINs without an API server (beside the record)");
  app.add_option("--audit", flags.audit, "file of the audit record");
  app.add_option("--durability", flags.durability, "process (survives a kill) or fsync (survives the node)")
      ->check(CLI::IsMember({"process", "fsync"}));
  app.add_flag("--audit-stdout", flags.audit_stdout, "every line of the record also on stdout (logs go to stderr)");
  app.add_option("--parallelism", flags.parallelism, "requests in work at a time")->check(CLI::Range(1, 64));
  app.add_option("--approval-roots", flags.approval_roots,
                 "file with the people whose own signatures must stand behind approvals");
  app.add_option("--metrics", flags.metrics, "HOST:PORT of /metrics, /healthz and /readyz");
  app.add_option("--metrics-token-file", flags.metrics_token_file,
                 "file with the bearer token that a scrape of /metrics has to show");
  app.add_option("--health", out.health, "HOST:PORT of /healthz and /readyz alone");
  // By a function: CLI11 would set an optional bool to false when the flag is not given.
  app.add_flag_function(
      "--leader-elect,!--no-leader-elect", [&flags](std::int64_t count) { flags.leader_elect = count > 0; },
      "work only while holding the lease (default)");
  app.add_option("--lease-name", flags.lease_name, "name of the lease");
  app.add_option("--lease-namespace", flags.lease_namespace, "namespace of the lease");
  app.add_option("--lease-duration", flags.lease_duration, "seconds until a dead leader is replaced")
      ->check(CLI::Range(1.0, 600.0));
  app.add_option("--drain-timeout", flags.drain_timeout, "seconds that SIGTERM waits for work in hand")
      ->check(CLI::Range(0.0, 600.0));
  app.add_option("--log-level", flags.log_level, "debug, info, warn or error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}));
  app.add_option("--log-format", flags.log_format, "json or text")->check(CLI::IsMember({"json", "text"}));
  DeclareWebhook(app, flags);
  DeclareGateway(app, flags);
  DeclareInjection(app, flags);
  DeclareHardening(app, flags);
  DeclareCommands(app, out);
}

milliseconds Seconds(double count) { return milliseconds(static_cast<std::int64_t>(count * 1000)); }

void MergeWebhook(const Flags& flags, config::OperatorConfig& config) {
  auto& webhook = config.webhook;
  Take(flags.username, config.username);
  Take(flags.webhook, webhook.listen);
  Take(flags.webhook_url, webhook.url);
  Take(flags.webhook_service, webhook.service);
  if (flags.webhook_certificate_lifetime) webhook.certificate_lifetime = Seconds(*flags.webhook_certificate_lifetime);
  Take(flags.webhook_client_ca, webhook.client_ca);
  if (flags.webhook_path_lifetime) webhook.path_lifetime = Seconds(*flags.webhook_path_lifetime);
  if (flags.webhook_rotation_pause) webhook.rotation_pause = Seconds(*flags.webhook_rotation_pause);
}

void MergeGateway(const Flags& flags, config::GatewayOptions& gateway) {
  Take(flags.gateway, gateway.listen);
  Take(flags.gateway_service, gateway.service);
  Take(flags.gateway_audience, gateway.audience);
  Take(flags.gateway_url, gateway.url);
  Take(flags.gateway_rate, gateway.rate);
  if (!flags.gateway_names.empty()) gateway.names = flags.gateway_names;
  if (flags.gateway_drain_delay) gateway.drain_delay = Seconds(*flags.gateway_drain_delay);
}

void MergeInjection(const Flags& flags, config::OperatorConfig& config) {
  Take(flags.sidecar_image, config.injection.sidecar_image);
  if (flags.sidecar_form) config.injection.form = *config::ParseSidecarForm(*flags.sidecar_form);
}

void MergeHardening(const Flags& flags, config::HardeningOptions& hardening) {
  Take(flags.user, hardening.user);
  Take(flags.worker_user, hardening.worker_user);
  if (flags.no_seccomp) hardening.seccomp = false;
  if (flags.no_landlock) hardening.landlock = false;
}

void Merge(const Flags& flags, config::OperatorConfig& config) {
  Take(flags.kubeconfig, config.kubeconfig);
  Take(flags.context, config.context);
  Take(flags.store, config.store);
  Take(flags.module, config.hsm.module);
  Take(flags.pin_file, config.hsm.pin_file);
  Take(flags.token, config.hsm.token_label);
  Take(flags.workers, config.hsm.workers);
  Take(flags.state_dir, config.hsm.state_dir);
  Take(flags.audit, config.audit.file);
  Take(flags.parallelism, config.request_workers);
  Take(flags.approval_roots, config.approval_roots);
  Take(flags.metrics, config.metrics);
  Take(flags.metrics_token_file, config.metrics_token_file);
  Take(flags.leader_elect, config.leader_election.enabled);
  Take(flags.lease_name, config.leader_election.name);
  Take(flags.lease_namespace, config.leader_election.ns);
  if (flags.once) config.once = true;
  if (flags.audit_stdout) config.audit.to_stdout = true;
  if (flags.durability) config.audit.durability = *config::ParseDurability(*flags.durability);
  if (flags.log_level) obs::ParseLevel(*flags.log_level, config.log.level);
  if (flags.log_format) config.log.text = *flags.log_format == "text";
  if (flags.drain_timeout) {
    config.drain_timeout = milliseconds(static_cast<std::int64_t>(*flags.drain_timeout * 1000));
  }
  if (flags.lease_duration) {
    // In the proportions of client-go's defaults: 15, 10 and 2 seconds.
    auto& lease = config.leader_election;
    lease.lease_duration = milliseconds(static_cast<std::int64_t>(*flags.lease_duration * 1000));
    lease.renew_deadline = lease.lease_duration * 2 / 3;
    lease.retry_period = lease.lease_duration * 2 / 15;
  }
}

}  // namespace

std::variant<CommandLine, Ending> ParseCommandLine(int argc, char** argv) {
  CommandLine out;
  Flags flags;
  CLI::App app("Controllers of SigningPolicy and SigningRequest, on an API server or on a folder of manifests.",
               "signet-operator");
  Declare(app, flags, out);
  config::RefuseEmptyValues(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool asked = error.get_exit_code() == 0;  // --help and --version
    if (asked) {
      app.exit(error, std::cout, std::cerr);
      return Ending{};
    }
    return Ending{ExitCode::kUsage, std::string(error.what()) + "; try --help"};
  }
  if (!flags.config_file.empty()) {
    auto loaded = config::LoadOperatorConfig(flags.config_file);
    if (!loaded) return Fail(ExitCode::kConfiguration, loaded.error());
    out.config = std::move(*loaded);
  }
  Merge(flags, out.config);
  MergeWebhook(flags, out.config);
  MergeGateway(flags, out.config.gateway);
  MergeInjection(flags, out.config);
  MergeHardening(flags, out.config.hardening);
  if (out.probe) {
    if (out.health.empty()) out.health = kDefaultProbe;
    if (auto valid = config::ValidateAddress("--health", out.health); !valid) {
      return Fail(ExitCode::kUsage, valid.error());
    }
    return out;
  }
  if (!out.check) {
    const auto wrong = flags.config_file.empty() ? ExitCode::kUsage : ExitCode::kConfiguration;
    if (auto valid = config::Validate(out.config); !valid) return Fail(wrong, valid.error());
    if (!out.health.empty()) {
      if (auto valid = config::ValidateAddress("--health", out.health); !valid) return Fail(wrong, valid.error());
    }
  }
  return out;
}

}  // namespace signet::app
