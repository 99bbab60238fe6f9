// cli/audit_commands.hpp - `signet audit verify` and `signet audit query` as commands.
#pragma once

#include "cli/context.hpp"

namespace signet::cli {

void AddAuditVerify(CLI::App& parent, Context& context);
void AddAuditQuery(CLI::App& parent, Context& context);

/// "" for 64 lower-case hex digits.
std::string CheckHead(const std::string& text);

}  // namespace signet::cli
