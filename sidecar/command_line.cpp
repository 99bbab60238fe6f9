#include "sidecar/command_line.hpp"

#include <CLI/CLI.hpp>
#include <iostream>
#include <optional>

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

Exit codes: 0 done, 2 usage, 3 configuration, 4 HSM unavailable, 1 anything else.
examples/sidecar.yaml explains every setting.)";

/// Flags as given; what is not given leaves the configuration file's value.
struct Flags {
  std::string config_file;
  std::optional<std::string> socket, socket_mode, listen, metrics, policies, module, pin_file, token, state_dir, audit,
      durability, subject, log_level, log_format, drain_timeout;
  std::optional<std::uint32_t> workers;
  std::vector<std::uint32_t> allow_uids;
};

template <class T>
void Take(const std::optional<T>& flag, T& target) {
  if (flag) target = *flag;
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
  app.add_option("--metrics", flags.metrics, "HOST:PORT of /metrics alone");
  app.add_option("--policies", flags.policies, "folder of SigningPolicy manifests");
  app.add_option("--pkcs11-module", flags.module, "the HSM's PKCS#11 library");
  app.add_option("--pin-file", flags.pin_file, "file with the user PIN");
  app.add_option("--token", flags.token, "label of the token, where the module shows several");
  app.add_option("--workers", flags.workers, "processes that hold a session of the HSM each (default 2)")
      ->check(CLI::Range(1, 16));
  app.add_option("--state-dir", flags.state_dir, "folder that remembers a refused PIN and pinned keys across restarts");
  app.add_option("--audit", flags.audit, "file of the audit record");
  app.add_option("--durability", flags.durability, "process (survives a kill, default) or fsync (survives the node)")
      ->check(CLI::IsMember({"process", "fsync"}));
  app.add_option("--subject", flags.subject, "who the callers are: system:serviceaccount:NAMESPACE:NAME");
  app.add_option("--drain-timeout", flags.drain_timeout, "how long SIGTERM waits for requests in work (default 30s)");
  app.add_option("--log-level", flags.log_level, "debug, info, warn or error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}));
  app.add_option("--log-format", flags.log_format, "json or text")->check(CLI::IsMember({"json", "text"}));
  auto* check = app.add_subcommand("check", "test module, token, keys and mechanisms, a line each");
  check->fallthrough();
  check->add_flag("--login", out.login, "try the PIN, once");
  check->callback([&out] { out.check = true; });
}

base::Status Merge(const Flags& flags, config::SidecarConfig& config) {
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
  if (!flags.allow_uids.empty()) config.allowed_uids = flags.allow_uids;
  if (flags.durability) config.audit.durability = *config::ParseDurability(*flags.durability);
  if (flags.log_level) obs::ParseLevel(*flags.log_level, config.log.level);
  if (flags.log_format) config.log.text = *flags.log_format == "text";
  if (flags.socket_mode) {
    auto mode = config::ParseFileMode(*flags.socket_mode);
    if (!mode) return config::ConfigError("--socket-mode: " + mode.error().message);
    config.socket_mode = *mode;
  }
  if (flags.drain_timeout) {
    auto time = config::ParseTimespan(*flags.drain_timeout);
    if (!time) return config::ConfigError("--drain-timeout: " + time.error().message);
    config.drain_timeout = *time;
  }
  return {};
}

}  // namespace

std::variant<CommandLine, Ending> ParseCommandLine(int argc, char** argv) {
  CommandLine out;
  Flags flags;
  CLI::App app("Signs for the containers of a pod, on a Unix socket, under policies from a folder.", "signet-sidecar");
  Declare(app, flags, out);
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
  if (!out.check) {
    const auto wrong = flags.config_file.empty() ? ExitCode::kUsage : ExitCode::kConfiguration;
    if (auto valid = config::Validate(out.config); !valid) return Fail(wrong, valid.error());
  }
  return out;
}

}  // namespace signet::app
