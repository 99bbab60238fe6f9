// reconcile/policy_reconciler.hpp - SigningPolicy: compile, find or make the key, publish, say so.
//
// Two steps on purpose. Observe() puts a revision in force as soon as it is seen (a stop must not
// wait for an HSM); Reconcile() then resolves the key and writes the status, once per change and not
// at all when it would say the same. Every replica does the first; of the second only the leader makes
// keys and writes, and the others take the key that the status names.
//
// Ownership:     borrows everything in Dependencies; it must outlive this object.
// Thread-safety: any thread but the reactor's. Reconcile of one name is called by one thread at a
//                time (the work queue sees to it); Refresh and Observe may run beside it.
// Blocking:      store and HSM calls.
// Errors:        Outcome; what a user must know is in the status.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "audit/journal.hpp"
#include "base/clock.hpp"
#include "base/reactor.hpp"
#include "kube/object_store.hpp"
#include "reconcile/cluster_policies.hpp"
#include "reconcile/events.hpp"
#include "reconcile/key_keeper.hpp"
#include "reconcile/outcome.hpp"
#include "token/hsm.hpp"

namespace signet::reconcile {

class PolicyReconciler {
 public:
  struct Options {
    std::chrono::seconds key_recheck{60};  ///< an unchanged policy's key is looked up again after this
    std::chrono::seconds key_retry{2};     ///< while the HSM or the key is missing
    bool shared_budgets = false;           ///< quotas hold across replicas (Ready says how they are counted)
  };
  struct Dependencies {
    base::Reactor* reactor = nullptr;
    const base::Clock* clock = nullptr;
    kube::ObjectStore* store = nullptr;
    token::Hsm* hsm = nullptr;
    audit::Journal* journal = nullptr;
    ClusterPolicies* policies = nullptr;
    EventRecorder* events = nullptr;
    /// The informer's copy of a policy; nullptr: not there.
    std::function<std::shared_ptr<const nlohmann::json>(std::string_view name)> cached;
    std::function<bool()> leads;  ///< leader, or sole holder of the store's lock: may make keys and write statuses
    std::function<void(const std::string&)> enqueue;    ///< reconcile this policy (again)
    std::function<void(const std::string&)> published;  ///< its standing changed: requests may go on
  };

  PolicyReconciler(Options options, Dependencies dependencies);

  Outcome Reconcile(const std::string& name);
  /// One live GET; what it shows is in force when this returns.
  base::Status Refresh(const std::string& name);
  /// Puts the object's revision in force if it is not older than what is known.
  void Observe(const nlohmann::json& object, ClusterPolicies::Origin origin);

 private:
  struct Memory {
    std::string hash;    ///< last one written to the record
    std::string key_id;  ///< in use
    bool key_fresh = false;
    base::SteadyPoint key_checked_at{};
    std::string key_hash;  ///< spec that the key was resolved for
    std::string uid;
  };

  /// Each returns the policy's name when its standing changed. Under observing_.
  std::string ObserveValid(std::shared_ptr<const policy::CompiledPolicy> compiled, std::string hash,
                           ClusterPolicies::Origin origin);
  std::string ObserveInvalid(const nlohmann::json& object, ClusterPolicies::Origin origin);
  /// False: the revision is not in force any more.
  bool PublishKey(const signing::ActivePolicy& active, const std::optional<token::KeyInfo>& key,
                  const KeyAnswer& answer);
  Outcome Gone(const std::string& name);
  Outcome Invalid(const nlohmann::json& object, const base::Error& error);
  Outcome ResolveKey(const nlohmann::json& object, const signing::ActivePolicy& active);
  Outcome Follow(const nlohmann::json& object, const signing::ActivePolicy& active);
  /// The key was looked at a short while ago, for this spec.
  bool IsFresh(const signing::ActivePolicy& active);
  void Remember(const signing::ActivePolicy& active, bool fresh, bool looked);
  base::Result<bool> IsUnpinned(const api::SigningPolicy& policy);
  /// True: written, or nothing to write.
  base::Status Write(const nlohmann::json& object, const api::SigningPolicyStatus& before,
                     const api::SigningPolicyStatus& next);
  void Tell(const nlohmann::json& object, const api::SigningPolicyStatus& before, const api::SigningPolicyStatus& next,
            const KeyAnswer& key);
  void Journal(const signing::ActivePolicy& active);
  /// Notes the key of a policy; returns the others on it and wakes those whose standing changed.
  std::vector<std::string> Share(const std::string& name, const std::string& key_id);

  const Options options_;
  const Dependencies deps_;
  KeyKeeper keeper_;
  std::mutex observing_;  ///< one revision at a time goes in force
  std::mutex mutex_;
  std::map<std::string, Memory> memory_;               ///< guarded by mutex_
  std::map<std::string, std::set<std::string>> keys_;  ///< keyID to policies; guarded by mutex_
};

}  // namespace signet::reconcile
