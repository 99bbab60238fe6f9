// policy/count_approvals.hpp - for this module's own .cpp files: what Decide gives to the counting of approvals.
#pragma once

#include <functional>

#include "policy/approvals.hpp"

namespace signet::policy {

struct CountInput {
  const api::SigningPolicy& policy;
  const ApprovalContext* context = nullptr;
  const identity::Principal* requester = nullptr;
  encoding::SignatureAlgorithm algorithm{};  ///< resolved
  const api::Artifact* artifact = nullptr;   ///< nullptr: none claimed
  base::TimePoint now{};
  std::function<bool(const identity::Principal&)> is_approver;
};
Tally CountApprovals(const CountInput& input);

}  // namespace signet::policy
