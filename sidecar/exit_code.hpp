// sidecar/exit_code.hpp - how the process ends: 0 done, 2 usage, 3 configuration, 4 HSM, 1 the rest.
#pragma once

#include <string>

#include "base/result.hpp"

namespace signet::app {

enum class ExitCode : int { kDone = 0, kOther = 1, kUsage = 2, kConfiguration = 3, kHsm = 4 };

/// An ending with the one line for stderr (empty: none).
struct Ending {
  ExitCode code = ExitCode::kDone;
  std::string line;
};

inline Ending Fail(ExitCode code, const base::Error& error) { return {code, base::Describe(error)}; }

}  // namespace signet::app
