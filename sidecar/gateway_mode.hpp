// sidecar/gateway_mode.hpp - the sidecar that forwards: no key, no PIN, no PKCS#11 module, one process.
#pragma once

#include "config/sidecar_config.hpp"
#include "sidecar/exit_code.hpp"

namespace signet::app {

/// Blocks until SIGTERM or SIGINT has been obeyed, or the pod has done its work: no new requests, those in work
/// answered. A gateway or a token that is not there leaves the process up.
Ending RunGatewayMode(const config::SidecarConfig& config);

}  // namespace signet::app
