// operator/check_command.hpp - `signet-operator check`: module, token, keys and mechanisms, a line each.
#pragma once

#include "operator/command_line.hpp"
#include "operator/run.hpp"

namespace signet::app {

/// Exit 0 when all is well, 3 when the configuration names no token, 4 otherwise.
Ending RunCheck(const CommandLine& command, const Environment& environment);

}  // namespace signet::app
