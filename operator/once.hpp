// operator/once.hpp - `--store dir:PATH --once`: every manifest to its end, then exit.
#pragma once

#include "config/operator_config.hpp"
#include "operator/exit_code.hpp"

namespace signet::app {

/// 0: every request is decided or waits for something that its status names. 1: a file could not be
/// read, or a status not written. 4: the HSM is not available.
Ending RunOnce(const config::OperatorConfig& config);

}  // namespace signet::app
