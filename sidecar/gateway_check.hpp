// sidecar/gateway_check.hpp - `signet-sidecar check --gateway URL`: would the gateway sign for this pod?
#pragma once

#include "config/sidecar_config.hpp"
#include "sidecar/exit_code.hpp"

namespace signet::app {

/// Prints a line each for token, CA and gateway, and one for each policy that lists us.
Ending RunGatewayCheck(const config::SidecarConfig& config);

}  // namespace signet::app
