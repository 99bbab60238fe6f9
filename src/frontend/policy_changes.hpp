// frontend/policy_changes.hpp - edits of policies on record: admitted first, confirmed when a watch shows them.
//
// Whoever learns the webhook's path can have an edit admitted that nobody makes. So `policyChange` says that it is
// unconfirmed, and `policyChangeConfirmed` follows when a watch shows that very edit: the same name and uid, the hash
// of the spec before, and the hash after it. Where the watch shows several edits as one, those that lead from one hash
// to the other are confirmed. Of edits that two users claim, none is confirmed. An edit that leaves the spec as it was
// is never confirmed.
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
#include <vector>

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
  /// A watch showed `policy` as `before`, and shows it as `after` now; nullptr: there was none, it is gone.
  void Observe(const std::string& policy, const nlohmann::json* before, const nlohmann::json* after);

 private:
  struct Waiting {
    PolicyChange change;
    base::SteadyPoint until{};
  };
  /// The edits that lead from one hash to the other; empty where there are none, or where two users claim one.
  [[nodiscard]] std::vector<PolicyChange> Path(const PolicyChange& shown) const;
  audit::Journal& journal_;
  const base::Clock& clock_;
  std::deque<Waiting> waiting_;  ///< oldest first
};

/// Of a policy's canonical spec; empty for null.
std::string SpecHash(const nlohmann::json& object);

}  // namespace signet::frontend
