// policy/policy_changes.hpp - what an edit of a policy newly permits, in words for the person who makes it.
//
// Careful on purpose: whatever is not a pure removal of permission is told. A line begins with the path of the field.
//
// Thread-safety: pure functions.
#pragma once

#include <string>
#include <vector>

#include "api/types.hpp"

namespace signet::policy {

/// Empty: `after` permits nothing that `before` did not.
std::vector<std::string> Widenings(const api::SigningPolicySpec& before, const api::SigningPolicySpec& after);

/// The edit points the policy at another key, or would make another kind of key: spec.key.uri (by meaning, not by
/// spelling) or spec.key.generate's algorithm or size.
bool ChangesKey(const api::SigningPolicySpec& before, const api::SigningPolicySpec& after);

/// "ServiceAccount ci/builder", "Group release-engineers".
std::string Describe(const api::Subject& subject);

}  // namespace signet::policy
