// token/confinement.hpp - a service's first step: the launcher of its HSM workers is started, then everything is given
// up that the process that parses requests does not need.
//
// Thread-safety: before any other thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "process/hardening.hpp"
#include "token/launcher.hpp"

namespace signet::token {

struct ConfinementOptions {
  process::Switches switches;
  std::optional<process::Identity> user;         ///< nothing: as started
  std::optional<process::Identity> worker_user;  ///< nothing: workers run as the process was started
  process::Files files;
  bool uses_hsm = false;
  std::string state_dir;               ///< of the workers, made where it is missing; empty: none
  std::vector<std::string> pin_files;  ///< of which the report says whether this process can open them
};

/// What the kernel lacks is reported, and no error.
/// With an HSM, Launcher::OfProcess() is set afterwards.
/// @return kFailedPrecondition, reason "UserUnusable"
base::Status Confine(const ConfinementOptions& options);

}  // namespace signet::token
