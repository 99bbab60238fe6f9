// sidecar/command_line.hpp - flags and configuration file become one SidecarConfig.
//
// Flags go before the file. What is wrong in flags alone is a usage error (exit 2), what a file has a
// part in a configuration error (exit 3).
#pragma once

#include <variant>

#include "config/sidecar_config.hpp"
#include "sidecar/exit_code.hpp"

namespace signet::app {

struct CommandLine {
  config::SidecarConfig config;
  bool check = false;  ///< the subcommand
  bool probe = false;  ///< the subcommand
  bool login = false;  ///< check --login
};

/// An Ending for --help, --version and everything that is wrong.
std::variant<CommandLine, Ending> ParseCommandLine(int argc, char** argv);

}  // namespace signet::app
