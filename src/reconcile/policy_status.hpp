// reconcile/policy_status.hpp - what a SigningPolicy's status says: pure.
//
// Conditions (docs/operator.md has the table):
//   Ready         may requests be signed under this policy now, and why not
//   KeyProtected  the pinned key is sensitive and was never extractable; its observedGeneration is
//                 the generation at which the key was pinned
//   KeyShared     another policy names the same key (absent when it never was the case)
//
// Thread-safety: pure functions.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "api/types.hpp"
#include "reconcile/key_keeper.hpp"

namespace signet::reconcile {

/// The status as it stands, read leniently (the spec beside it may be invalid).
api::SigningPolicyStatus ReadPolicyStatus(const nlohmann::json& object);

/// The pin that a status carries.
std::optional<KeyPin> PinOf(const api::SigningPolicyStatus& status);

/// Everything that the next status follows from.
struct PolicyFacts {
  std::int64_t generation = 0;
  const api::SigningPolicySpec* spec = nullptr;  ///< nullptr: the spec is invalid, see `key.message`
  KeyAnswer key;                                 ///< with spec == nullptr: reason "Invalid"
  std::vector<std::string> shared_with;          ///< other policies on this key
  bool shared_budgets = false;                   ///< of a day, with other replicas
};

api::SigningPolicyStatus NextPolicyStatus(const api::SigningPolicyStatus& before, const PolicyFacts& facts,
                                          base::TimePoint now);

/// Nothing but lastTransitionTime differs: do not write.
bool SamePolicyStatus(const api::SigningPolicyStatus& left, const api::SigningPolicyStatus& right);

/// Algorithms of the policy that key and token cannot do.
std::vector<api::SignatureAlgorithm> Unavailable(const api::SigningPolicySpec& spec, const token::KeyInfo& key);

}  // namespace signet::reconcile
