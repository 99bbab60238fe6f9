// sidecar/direct_mode.hpp - the sidecar that signs itself: policies from a folder, an HSM, a record.
#pragma once

#include "config/sidecar_config.hpp"
#include "sidecar/exit_code.hpp"

namespace signet::app {

/// Blocks until SIGTERM or SIGINT has been obeyed: no new requests, those in work answered, the record
/// written. An HSM that is away at start or later leaves the process up and NotReady.
Ending RunDirectMode(const config::SidecarConfig& config);

}  // namespace signet::app
