// cli/policy_commands.hpp - `signet policy explain` and `signet policy test`.
#pragma once

#include "cli/context.hpp"

namespace signet::cli {

void AddPolicyExplain(CLI::App& parent, Context& context);
void AddPolicyTest(CLI::App& parent, Context& context);

}  // namespace signet::cli
