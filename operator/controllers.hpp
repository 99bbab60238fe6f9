// operator/controllers.hpp - informers, controllers, leadership, probes: the operator that stays.
#pragma once

#include "operator/command_line.hpp"
#include "operator/exit_code.hpp"
#include "operator/run.hpp"

namespace signet::app {

/// Blocks until SIGTERM, SIGINT, or a configuration that the HSM has shown to be wrong.
Ending RunControllers(const CommandLine& command, const Environment& environment);

}  // namespace signet::app
