// config/approval_roots.hpp - the file of --approval-roots: examples/approval-roots.yaml explains it.
//
// Thread-safety: pure.
// Errors:        kInvalidArgument, reason "ConfigInvalid", naming file and path.
#pragma once

#include <memory>
#include <string>

#include "base/result.hpp"
#include "policy/approval_roots.hpp"

namespace signet::config {

/// At least one rule; each with at least as many approvers as it requires; no key for two people.
base::Result<std::shared_ptr<const policy::ApprovalRoots>> LoadApprovalRoots(const std::string& file);

}  // namespace signet::config
