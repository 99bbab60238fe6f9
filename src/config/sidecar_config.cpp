#include "config/sidecar_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "config/reader.hpp"
#include "identity/principal.hpp"

namespace signet::config {
namespace {

using std::chrono::milliseconds;

void ReadLimits(Reader section, http::Limits& out) {
  std::uint64_t header = out.header_bytes;
  std::uint64_t body = out.body_bytes;
  std::uint32_t connections = static_cast<std::uint32_t>(out.connections);
  section.Size("headerBytes", header, 1024, 1ULL << 20);
  section.Size("bodyBytes", body, 1024, 64ULL << 20);
  section.Number("connections", connections, 1, 65536);
  section.Timespan("requestTime", out.header_time, milliseconds(100), milliseconds(600'000));
  section.Timespan("idleTime", out.idle_time, milliseconds(100), milliseconds(86'400'000));
  section.Timespan("writeTime", out.write_time, milliseconds(100), milliseconds(600'000));
  out.header_bytes = header;
  out.body_bytes = body;
  out.connections = connections;
}

/// DNS labels, as the API server lets service accounts and namespaces be called.
bool IsAccountPart(std::string_view text) {
  return !text.empty() && text.size() <= 253 &&
         text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-.") == std::string_view::npos;
}

base::Status ValidateDirectMode(const SidecarConfig& config) {
  if (config.policies.empty()) {
    return ConfigError("no policies: give --policies DIR or policies.folder, or --gateway URL for gateway mode");
  }
  if (config.audit.file.empty()) return ConfigError("no audit record: give --audit FILE or audit.file");
  if (config.subject.empty()) {
    return ConfigError("no subject: give --subject system:serviceaccount:NAMESPACE:NAME or subject");
  }
  const auto account = identity::ParseServiceAccount(config.subject);
  if (!account || !IsAccountPart(account->ns) || !IsAccountPart(account->name)) {
    return ConfigError(fmt::format("subject \"{}\": must be system:serviceaccount:NAMESPACE:NAME", config.subject));
  }
  return {};
}

/// A sidecar that forwards holds no key and decides nothing: whoever tells it to has something else in mind.
base::Status ValidateGatewayMode(const SidecarConfig& config) {
  const HsmOptions& hsm = config.hsm;
  for (const auto& [given, what] : {std::pair{!hsm.module.empty(), "hsm.module (--pkcs11-module)"},
                                    {!hsm.pin_file.empty(), "hsm.pinFile (--pin-file)"},
                                    {!hsm.token_label.empty(), "hsm.tokenLabel (--token)"},
                                    {!hsm.tokens.empty(), "hsm.tokens"},
                                    {!hsm.state_dir.empty(), "hsm.stateDir (--state-dir)"},
                                    {!config.policies.empty(), "policies.folder (--policies)"},
                                    {!config.subject.empty(), "subject (--subject)"},
                                    {!config.audit.file.empty(), "audit.file (--audit)"}}) {
    if (given) {
      return ConfigError(fmt::format(
          "{} is not for gateway mode: keys, policies and the record are the gateway's; leave it or --gateway out",
          what));
    }
  }
  return Validate(config.gateway);
}

}  // namespace

std::string SidecarConfig::RememberedCa() const {
  const std::filesystem::path socket(socket_path);
  return socket.parent_path() / ("." + socket.filename().string() + ".ca");
}

base::Result<SidecarConfig> LoadSidecarConfig(const std::string& file) {
  SidecarConfig out;
  TRY(const nlohmann::json document, LoadConfigFile(file));
  Reader reader(document, "");
  Reader socket = reader.Section("socket");
  socket.Text("path", out.socket_path);
  socket.FileMode("mode", out.socket_mode);
  socket.Numbers("allowUIDs", out.allowed_uids);
  reader.Text("listen", out.listen);
  reader.Text("metrics", out.metrics);
  ReadUpstream(reader.Section("gateway"), out.gateway);
  reader.Text("subject", out.subject);
  Reader policies = reader.Section("policies");
  policies.Text("folder", out.policies);
  policies.Timespan("poll", out.policy_poll, milliseconds(100), milliseconds(5'000));
  policies.Timespan("maxAge", out.policy_max_age, milliseconds(5'000), milliseconds(3'600'000));
  ReadHsm(reader.Section("hsm"), out.hsm);
  ReadAudit(reader.Section("audit"), out.audit);
  ReadLimits(reader.Section("limits"), out.limits);
  reader.Number("maxInFlight", out.max_in_flight, 1, 65536);
  reader.Timespan("drainTimeout", out.drain_timeout, milliseconds(0), milliseconds(600'000));
  ReadHardening(reader.Section("hardening"), out.hardening);
  ReadLog(reader.Section("log"), out.log);
  if (const auto finished = reader.Finish(); !finished) {
    return ConfigError(fmt::format("{}: {}", file, finished.error().message));
  }
  return out;
}

base::Status Validate(const SidecarConfig& config) {
  if (config.socket_path.empty()) return ConfigError("no socket: give --socket PATH or socket.path");
  TRY_VOID(config.gateway_mode() ? ValidateGatewayMode(config) : ValidateDirectMode(config));
  TRY_VOID(Validate(config.hardening, !config.gateway_mode()));
  if (!config.listen.empty()) {
    TRY_VOID(ValidateLoopback("--listen", config.listen));
    if (!config.allowed_uids.empty()) {
      return ConfigError(
          "--listen cannot be used with --allow-uid: a TCP port does not show who connects; leave one out");
    }
  }
  if (!config.metrics.empty()) TRY_VOID(ValidateAddress("--metrics", config.metrics));
  return {};
}

}  // namespace signet::config
