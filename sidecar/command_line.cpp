#include "sidecar/command_line.hpp"

#include <CLI/CLI.hpp>
#include <iostream>
#include <optional>

#include "config/empty_values.hpp"
#include "config/reader.hpp"

namespace signet::app {
namespace {

constexpr const char* kExample = R"(
Example:
  signet-sidecar --socket /run/signet/signet.sock --policies /etc/signet/policies \
    --pkcs11-module /usr/lib/softhsm/libsofthsm2.so --pin-file /run/secrets/pin \
    --audit /var/lib/signet/audit.jsonl --subject system:serviceaccount:payments-ci:ci-main

  curl --unix-socket /run/signet/signet.sock http://localhost/v1/sign -H 'Content-Type: application/json' \
    -d '{"policy":"release","digest":"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}'

  signet-sidecar --socket /run/signet/signet.sock --gateway https://signet-gateway.signet-system.svc \
    --gateway-ca /var/run/secrets/signet/ca.crt --token-file /var/run/secrets/signet/token

Exit codes: 0 done, 2 usage, 3 configuration, 4 HSM unavailable, 1 anything else.
examples/sidecar.yaml and examples/sidecar-gateway.yaml explain every setting.)";

/// Flags as given; what is not given leaves the configuration file's value.
struct Flags {
  std::string config_file;
  std::optional<std::string> socket, socket_mode, listen, metrics, policies, module, pin_file, token, state_dir, audit,
      durability, subject, log_level, log_format, drain_timeout, gateway_ca, gateway_ca_pem, server_name, token_file,
      attempt_timeout, max_wait, readiness, end_with_pod, user, worker_user;
  bool no_seccomp = false, no_landlock = false;
  std::optional<std::uint32_t> workers;
  std::vector<std::uint32_t> allow_uids;
  std::vector<std::string> gateways;
};

template <class T>
void Take(const std::optional<T>& flag, T& target) {
  if (flag) target = *flag;
}

void DeclareGateway(CLI::App& app, Flags& flags) {
  const auto add = [&app](const char* name, auto& target, const char* help) {
    return app.add_option(name, target, help)->group("Gateway mode");
  };
  add("--gateway", flags.gateways,
      "https://HOST[:PORT] of the gateway, repeatable; every address of a name counts as a replica. Keys, policies and "
      "record are the gateway's then");
  add("--gateway-ca", flags.gateway_ca, "file with the CA of its certificate (default /var/run/secrets/signet/ca.crt)");
  add("--gateway-ca-pem", flags.gateway_ca_pem,
      "its CA itself, as PEM, in place of a file: from then on only the gateway can name another one")
      ->excludes("--gateway-ca");
  add("--gateway-server-name", flags.server_name, "name in its certificate (default: HOST)");
  add("--token-file", flags.token_file,
      "projected service-account token, read again as it rotates (default /var/run/secrets/signet/token)");
  add("--attempt-timeout", flags.attempt_timeout, "when another replica is asked (default 2s)");
  add("--max-wait", flags.max_wait, "how long a client waits at most, then 503 (default 10s)");
  add("--readiness", flags.readiness, "sticky (ready from the first contact on, default) or strict")
      ->check(CLI::IsMember({"sticky", "strict"}));
  add("--end-with-pod", flags.end_with_pod, "name of this container: end when all others of the pod have ended");
}

void DeclareHardening(CLI::App& app, Flags& flags) {
  const auto* group = "Hardening";
  app.add_option("--user", flags.user, "UID[:GID] to become for parsing requests; start as root")->group(group);
  app.add_option("--worker-user", flags.worker_user, "UID[:GID] of the HSM workers; together with --user")
      ->group(group);
  app.add_flag("--no-seccomp", flags.no_seccomp, "deny no system calls")->group(group);
  app.add_flag("--no-landlock", flags.no_landlock, "do not confine the process to its own files")->group(group);
}

void Declare(CLI::App& app, Flags& flags, CommandLine& out) {
  app.footer(kExample);
  app.set_version_flag("--version", std::string("signet-sidecar ") + SIGNET_VERSION);
  app.add_option("--config", flags.config_file, "YAML file with the same settings; flags override it");
  app.add_option("--socket", flags.socket, "the Unix socket to serve (default /run/signet/signet.sock)");
  app.add_option("--socket-mode", flags.socket_mode, "its file mode in octal (default 0660)");
  app.add_option("--allow-uid", flags.allow_uids, "uids that may use the socket; not together with --listen");
  app.add_option("--listen", flags.listen,
                 "127.0.0.1:PORT, for every container of the pod: no caller is identified there");
  app.add_option("--metrics", flags.metrics, "HOST:PORT of /metrics, /healthz and /readyz");
  app.add_option("--policies", flags.policies, "folder of SigningPolicy manifests");
  app.add_option("--pkcs11-module", flags.module, "the HSM's PKCS#11 library");
  app.add_option("--pin-file", flags.pin_file, "file with the user PIN");
  app.add_option("--token", flags.token, "label of the token, where the module shows several");
  app.add_option("--workers", flags.workers, "processes that hold a session of the HSM each (default 2)")
      ->check(CLI::Range(1, 16));
  app.add_option("--state-dir", flags.state_dir,
                 "folder that remembers refused PINs (default: beside the record) and pinned keys");
  app.add_option("--audit", flags.audit, "file of the audit record");
  app.add_option("--durability", flags.durability, "process (survives a kill, default) or fsync (survives the node)")
      ->check(CLI::IsMember({"process", "fsync"}));
  app.add_option("--subject", flags.subject, "who the callers are: system:serviceaccount:NAMESPACE:NAME");
  app.add_option("--drain-timeout", flags.drain_timeout, "how long SIGTERM waits for requests in work (default 30s)");
  app.add_option("--log-level", flags.log_level, "debug, info, warn or error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}));
  app.add_option("--log-format", flags.log_format, "json or text")->check(CLI::IsMember({"json", "text"}));
  DeclareGateway(app, flags);
  DeclareHardening(app, flags);
  auto* probe = app.add_subcommand("probe", "ask the socket's /readyz: exit 0 or 1, and a line that says why not");
  probe->fallthrough();
  probe->callback([&out] { out.probe = true; });
  auto* check =
      app.add_subcommand("check", "test module, token, keys and mechanisms, or token, CA and gateway, a line each");
  check->fallthrough();
  check->add_flag("--login", out.login, "try the PIN, once");
  check->callback([&out] { out.check = true; });
}

/// Durations of flags are checked like those of the file.
base::Status TakeTime(const char* name, const std::optional<std::string>& flag, std::chrono::milliseconds& target) {
  if (!flag) return {};
  const auto time = config::ParseTimespan(*flag);
  if (!time) return config::ConfigError(std::string(name) + ": " + time.error().message);
  target = *time;
  return {};
}

base::Status MergeGateway(const Flags& flags, config::UpstreamOptions& gateway) {
  if (!flags.gateways.empty()) gateway.urls = flags.gateways;
  Take(flags.gateway_ca, gateway.ca_file);
  Take(flags.gateway_ca_pem, gateway.ca_pem);
  Take(flags.server_name, gateway.server_name);
  Take(flags.token_file, gateway.token_file);
  Take(flags.end_with_pod, gateway.end_with_pod);
  if (flags.readiness) gateway.strict = *config::ParseReadiness(*flags.readiness);
  TRY_VOID(TakeTime("--attempt-timeout", flags.attempt_timeout, gateway.attempt_timeout));
  TRY_VOID(TakeTime("--max-wait", flags.max_wait, gateway.max_wait));
  return {};
}

/// Flags of the other mode are refused by name: whoever gives a PIN to a forwarder has mistaken what it is.
base::Status CheckMode(const Flags& flags, const config::SidecarConfig& config) {
  const std::pair<bool, const char*> direct[] = {
      {flags.module.has_value(), "--pkcs11-module"}, {flags.pin_file.has_value(), "--pin-file"},
      {flags.token.has_value(), "--token"},          {flags.policies.has_value(), "--policies"},
      {flags.subject.has_value(), "--subject"},      {flags.audit.has_value(), "--audit"},
      {flags.state_dir.has_value(), "--state-dir"},  {flags.workers.has_value(), "--workers"},
      {flags.durability.has_value(), "--durability"}};
  const std::pair<bool, const char*> gateway[] = {{flags.gateway_ca.has_value(), "--gateway-ca"},
                                                  {flags.gateway_ca_pem.has_value(), "--gateway-ca-pem"},
                                                  {flags.server_name.has_value(), "--gateway-server-name"},
                                                  {flags.token_file.has_value(), "--token-file"},
                                                  {flags.attempt_timeout.has_value(), "--attempt-timeout"},
                                                  {flags.max_wait.has_value(), "--max-wait"},
                                                  {flags.readiness.has_value(), "--readiness"},
                                                  {flags.end_with_pod.has_value(), "--end-with-pod"}};
  for (const auto& [given, name] : direct) {
    if (given && config.gateway_mode()) {
      return config::ConfigError(std::string(name) +
                                 " cannot be used with --gateway: keys, policies and the record are the gateway's");
    }
  }
  for (const auto& [given, name] : gateway) {
    if (given && !config.gateway_mode()) return config::ConfigError(std::string(name) + " needs --gateway");
  }
  return {};
}

base::Status Merge(const Flags& flags, config::SidecarConfig& config) {
  TRY_VOID(MergeGateway(flags, config.gateway));
  TRY_VOID(CheckMode(flags, config));
  Take(flags.socket, config.socket_path);
  Take(flags.listen, config.listen);
  Take(flags.metrics, config.metrics);
  Take(flags.policies, config.policies);
  Take(flags.module, config.hsm.module);
  Take(flags.pin_file, config.hsm.pin_file);
  Take(flags.token, config.hsm.token_label);
  Take(flags.workers, config.hsm.workers);
  Take(flags.state_dir, config.hsm.state_dir);
  Take(flags.audit, config.audit.file);
  Take(flags.subject, config.subject);
  Take(flags.user, config.hardening.user);
  Take(flags.worker_user, config.hardening.worker_user);
  if (flags.no_seccomp) config.hardening.seccomp = false;
  if (flags.no_landlock) config.hardening.landlock = false;
  if (!flags.allow_uids.empty()) config.allowed_uids = flags.allow_uids;
  if (flags.durability) config.audit.durability = *config::ParseDurability(*flags.durability);
  if (flags.log_level) obs::ParseLevel(*flags.log_level, config.log.level);
  if (flags.log_format) config.log.text = *flags.log_format == "text";
  if (flags.socket_mode) {
    auto mode = config::ParseFileMode(*flags.socket_mode);
    if (!mode) return config::ConfigError("--socket-mode: " + mode.error().message);
    config.socket_mode = *mode;
  }
  TRY_VOID(TakeTime("--drain-timeout", flags.drain_timeout, config.drain_timeout));
  return {};
}

}  // namespace

std::variant<CommandLine, Ending> ParseCommandLine(int argc, char** argv) {
  CommandLine out;
  Flags flags;
  CLI::App app("Signs for the containers of a pod, on a Unix socket: by the gateway, or with an HSM of its own.",
               "signet-sidecar");
  Declare(app, flags, out);
  config::RefuseEmptyValues(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {  // --help and --version
      app.exit(error, std::cout, std::cerr);
      return Ending{};
    }
    return Ending{ExitCode::kUsage, std::string(error.what()) + "; try --help"};
  }
  if (!flags.config_file.empty()) {
    auto loaded = config::LoadSidecarConfig(flags.config_file);
    if (!loaded) return Fail(ExitCode::kConfiguration, loaded.error());
    out.config = std::move(*loaded);
  }
  if (auto merged = Merge(flags, out.config); !merged) return Fail(ExitCode::kUsage, merged.error());
  if (!out.check && !out.probe) {
    const auto wrong = flags.config_file.empty() ? ExitCode::kUsage : ExitCode::kConfiguration;
    if (auto valid = config::Validate(out.config); !valid) return Fail(wrong, valid.error());
  }
  return out;
}

}  // namespace signet::app
