// cli/wait.hpp - `signet wait`: for pipelines that start before their sidecar's socket does.
#pragma once

#include "cli/context.hpp"

namespace signet::cli {

void AddWait(CLI::App& parent, Context& context);

}  // namespace signet::cli
