// cli/decide.hpp - `signet approve` and `signet deny`.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "api/approval.hpp"
#include "api/types.hpp"
#include "cli/context.hpp"

namespace signet::cli {

void AddApprove(CLI::App& parent, Context& context);
void AddDeny(CLI::App& parent, Context& context);

/// The SigningApproval to send; approver and stamp are for the server to write.
nlohmann::json ApprovalObject(const api::SigningRequest& request, const api::SigningPolicy* policy,
                              api::Decision decision, const std::string& comment,
                              const std::optional<api::ApprovalSignature>& signature);

/// What the person is asked about.
std::string DecisionText(const api::SigningRequest& request, const api::SigningPolicy* policy, base::TimePoint now);

}  // namespace signet::cli
