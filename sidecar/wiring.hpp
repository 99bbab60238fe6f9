// sidecar/wiring.hpp - the running sidecar, from configuration to exit code.
#pragma once

#include "config/sidecar_config.hpp"
#include "sidecar/exit_code.hpp"

namespace signet::app {

/// In the mode that the configuration names: sidecar/direct_mode.hpp, sidecar/gateway_mode.hpp.
Ending Run(const config::SidecarConfig& config);

}  // namespace signet::app
