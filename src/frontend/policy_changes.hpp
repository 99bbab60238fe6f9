// frontend/policy_changes.hpp - edits of policies on record: admitted first, confirmed when a watch shows them.
//
// Whoever learns the webhook's path can have an edit admitted that nobody makes. So `policyChange` says that it is
// unconfirmed, and `policyChangeConfirmed` follows when the API server has a policy as the edit left it: same name, uid
// and hash of the spec, or none after a deletion. An edit that leaves the spec as it was is never confirmed.
//
// Ownership:     borrows journal and clock.
// Thread-safety: reactor thread.
// Blocking:      never.
// Sizes:         kMax edits wait for confirmation, each for kPatience; the oldest are given up first.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "audit/journal.hpp"
#include "base/clock.hpp"
#include "base/result.hpp"

namespace signet::frontend {

struct PolicyChange {
  std::string policy, uid, verb, user;
  std::string old_hash, new_hash;  ///< hex SHA-256 of the canonical spec; empty: there is none
};

class PolicyChanges {
 public:
  static constexpr std::size_t kMax = 1024;
  static constexpr std::chrono::minutes kPatience{5};

  PolicyChanges(audit::Journal& journal, const base::Clock& clock) : journal_(journal), clock_(clock) {}

  /// `done` runs when the line is written, or cannot be.
  void Record(const PolicyChange& change, std::function<void(const base::Status&)> done);
  /// A watch shows `policy` like this now; nullptr: it is gone.
  void Observe(const std::string& policy, const nlohmann::json* object);

 private:
  struct Waiting {
    PolicyChange change;
    base::SteadyPoint until{};
  };
  audit::Journal& journal_;
  const base::Clock& clock_;
  std::deque<Waiting> waiting_;  ///< oldest first
};

/// Of a policy's canonical spec; empty for null.
std::string SpecHash(const nlohmann::json& object);

}  // namespace signet::frontend
