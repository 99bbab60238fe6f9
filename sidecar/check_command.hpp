// sidecar/check_command.hpp - `signet-sidecar check`: can this configuration sign?
#pragma once

#include "sidecar/command_line.hpp"
#include "sidecar/exit_code.hpp"

namespace signet::app {

/// Prints a line each for module, tokens, login (with --login), and the keys of the policies.
Ending RunCheck(const CommandLine& command);

}  // namespace signet::app
