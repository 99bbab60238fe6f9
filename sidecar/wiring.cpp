#include "sidecar/wiring.hpp"

#include <utility>

#include "config/hardening_options.hpp"
#include "process/signals.hpp"
#include "sidecar/direct_mode.hpp"
#include "sidecar/gateway_mode.hpp"

namespace signet::app {

namespace {

base::Result<token::ConfinementOptions> Confinement(const config::SidecarConfig& config) {
  process::Files files;
  config::AddFolders(config.socket_path, files.write);
  if (config.gateway_mode()) {
    config::AddFolders(config.gateway.ca_file, files.read);
    config::AddFolders(config.gateway.token_file, files.read);
    return ToConfinement(config.hardening, std::move(files));
  }
  files.read.push_back(config.policies);
  config::AddFolders(config.audit.file, files.write);
  return ToConfinement(config.hardening, std::move(files), config.hsm);
}

}  // namespace

Ending Run(const config::SidecarConfig& config) {
  config::Apply(config.log);
  process::PrepareFileLimit();
  const auto confinement = Confinement(config);
  if (!confinement) return Fail(ExitCode::kConfiguration, confinement.error());
  if (auto confined = token::Confine(*confinement); !confined) return Fail(ExitCode::kConfiguration, confined.error());
  return config.gateway_mode() ? RunGatewayMode(config) : RunDirectMode(config);
}

}  // namespace signet::app
