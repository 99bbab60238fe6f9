// cli/policy_eval.hpp - what a policy would say, from its YAML alone: for `policy explain` and `policy test`.
//
// The one place of the command that asks policy::CompiledPolicy. Quotas and keys are not part of it.
//
// Thread-safety: pure, but for the time zone files that compiling reads, and Load.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "api/types.hpp"
#include "base/result.hpp"
#include "policy/decide.hpp"

namespace signet::cli {

struct Question {
  std::string username;
  std::vector<std::string> groups;
  std::optional<std::map<std::string, std::string>>
      namespace_labels;  ///< of the service account's; nothing: none known
  std::optional<api::Artifact> artifact;
  std::optional<api::SignatureAlgorithm> algorithm;
  std::optional<api::Digest> digest;
  base::TimePoint at{};
  int approvals = 0;  ///< that count
};

struct Verdict {
  std::string
      reason;  ///< "Allowed", or as a request's condition would say: "NotAllowed", "Suspended", "DigestMismatch", ...
  std::string message;
  api::SignatureAlgorithm algorithm{};  ///< when allowed
  std::string note = {};                ///< a rule that cannot be judged here; may be empty
  [[nodiscard]] bool allowed() const { return reason == "Allowed"; }
};

/// kInvalidArgument: a time zone that the system does not know.
base::Result<Verdict> Evaluate(const api::SigningPolicy& policy, const Question& question);
/// All that Evaluate may answer.
const std::vector<std::string_view>& Verdicts();

/// The groups that the API server gives every service account: for a username without groups.
std::vector<std::string> ImpliedGroups(std::string_view username);

/// The SigningPolicies in a YAML or JSON file, or in the manifests of a folder; other kinds are passed over.
/// @return kInvalidArgument, reason "ConfigInvalid", naming file, line and field; also when a name comes twice
base::Result<std::map<std::string, api::SigningPolicy>> LoadPolicies(const std::vector<std::string>& paths);

}  // namespace signet::cli
