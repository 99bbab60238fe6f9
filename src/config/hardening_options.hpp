// config/hardening_options.hpp - what a service gives up before it serves: examples/operator.yaml and sidecar.yaml.
//
// Thread-safety: values.
// Errors:        kInvalidArgument, reason "ConfigInvalid", message names key and flag.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"
#include "config/options.hpp"
#include "token/confinement.hpp"

namespace signet::config {

struct HardeningOptions {
  std::string user;         ///< UID or UID:GID of the process that parses requests; empty: as started
  std::string worker_user;  ///< likewise, of the HSM workers
  bool seccomp = true;
  bool landlock = true;
};

void ReadHardening(Reader section, HardeningOptions& out);
base::Status Validate(const HardeningOptions& options, bool uses_hsm);

/// @param files what the process reads and writes beside the PIN files, which it does not
base::Result<token::ConfinementOptions> ToConfinement(const HardeningOptions& options, process::Files files);
/// The same for a process with an HSM: its workers' state, and the PIN files that are to be out of reach.
base::Result<token::ConfinementOptions> ToConfinement(const HardeningOptions& options, process::Files files,
                                                      const HsmOptions& hsm);

/// The folder of a file, which may be replaced there, and that of the file that it is a link to. "": none.
void AddFolders(const std::string& file, std::vector<std::string>& folders);

}  // namespace signet::config
