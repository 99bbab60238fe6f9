// cli/exit_code.hpp - what the `signet` command ends with; docs/cli.md lists the same numbers.
#pragma once

#include <cstdint>

namespace signet::cli {

enum class ExitCode : std::uint8_t {
  kDone = 0,           ///< signed, verified, allowed, listed
  kFailed = 1,         ///< something is wrong: does not verify, cannot be reached, cannot be written
  kUsage = 2,          ///< the command line
  kConfiguration = 3,  ///< no kubeconfig, no socket, a file that cannot be read or is not what it should be
  kDenied = 5,         ///< the policy, the request's end or the admission webhook says no
  kTimedOut = 6,       ///< undecided after --timeout
};

}  // namespace signet::cli
