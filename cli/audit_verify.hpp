// cli/audit_verify.hpp - `signet audit verify`: the report of audit::Verify, for people and as JSON.
#pragma once

#include <string>

#include "audit/verify.hpp"

namespace signet::cli {

enum class OutputFormat : unsigned char { kText, kJson };

std::string FormatReport(const audit::VerifyReport& report, const audit::VerifyOptions& options, OutputFormat format);

/// Prints the report. @return the exit code: 0 all good, 1 something is wrong (and one line on stderr).
int RunAuditVerify(const audit::VerifyOptions& options, OutputFormat format);

}  // namespace signet::cli
