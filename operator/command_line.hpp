// operator/command_line.hpp - argv (and the --config file below it) becomes an OperatorConfig.
#pragma once

#include <string>
#include <variant>

#include "config/operator_config.hpp"
#include "operator/exit_code.hpp"

namespace signet::app {

struct CommandLine {
  config::OperatorConfig config;
  std::string health;  ///< HOST:PORT of /healthz and /readyz; empty: with the metrics
  bool check = false;  ///< the check command
  bool login = false;  ///< check --login
  bool probe = false;  ///< the probe command
  bool live = false;   ///< probe --live
};

/// An Ending for --help, --version and everything that cannot be run.
std::variant<CommandLine, Ending> ParseCommandLine(int argc, char** argv);

}  // namespace signet::app
