// operator/probe_command.hpp - `signet-operator probe`: /readyz or /healthz of the operator beside it, for exec probes.
//
// The kubelet shows what a failing probe prints in `kubectl describe pod`; of an HTTP probe it shows the status alone.
#pragma once

#include <string>
#include <vector>

#include "http/client.hpp"
#include "operator/exit_code.hpp"

namespace signet::app {

/// A line for each failing check: "hsm: TokenAbsent: no token ..."; empty: ready.
std::vector<std::string> FailingChecks(const http::ClientResponse& readyz);

/// Prints the lines on stdout; exit 0 ready, 1 not. Blocks for a few seconds at most.
/// @param address  HOST:PORT of --health or --metrics; 0.0.0.0 and :: are asked on loopback
/// @param live     /healthz in place of /readyz
Ending RunProbe(const std::string& address, bool live = false);

}  // namespace signet::app
