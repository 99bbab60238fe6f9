// cli/keys.hpp - `signet keys`.
#pragma once

#include "cli/context.hpp"

namespace signet::cli {

void AddKeys(CLI::App& parent, Context& context);

}  // namespace signet::cli
