// cli/audit_verify.hpp - `signet audit verify`: the report of audit::Verify, for people and as JSON.
#pragma once

#include <string>

#include "audit/verify.hpp"
#include "cli/context.hpp"

namespace signet::cli {

enum class OutputFormat : unsigned char { kText, kJson };

std::string FormatReport(const audit::VerifyReport& report, const audit::VerifyOptions& options, OutputFormat format);

/// Prints the report; kFailed when something is wrong, with one line on stderr.
ExitCode RunAuditVerify(const Context& context, const audit::VerifyOptions& options, OutputFormat format);

}  // namespace signet::cli
