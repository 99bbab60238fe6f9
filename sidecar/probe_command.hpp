// sidecar/probe_command.hpp - `signet-sidecar probe`: is the sidecar behind the socket ready? For kubelet's exec
// probes.
#pragma once

#include <string>

#include "sidecar/exit_code.hpp"

namespace signet::app {

/// One line on stdout when it is not; then kOther.
Ending RunProbe(const std::string& socket_path);

}  // namespace signet::app
