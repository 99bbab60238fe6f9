// reconcile/request_reconciler.hpp - SigningRequest: one decision, one signature, one status write.
//
// Happy path: read from the informer's cache, ask SigningService, write the status with the cached
// resourceVersion as precondition. No other call. Whatever goes wrong after the signature is made
// ends in exactly one Settle: released (the status carries it), discarded (it never will), or unknown
// (it may have, and the request is gone).
//
// Terminal denials that follow from a policy are written only after a live GET of that policy.
//
// An HSM answer that leaves open whether it signed (a deadline) is recorded as outcome `unknown`;
// the request then tries again with a new intent, a few times, and fails after that. An unknown error
// code is final at once.
//
// Only a leader reconciles. What has been signed is settled on every replica, since the record is each one's own and a
// read is enough for most ends: SettleByReading.
//
// Ownership:     borrows everything in Dependencies.
// Thread-safety: any thread but the reactor's; of two calls for one object the second comes back later.
// Blocking:      store calls and the signature.
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
#include "controller/work_queue.hpp"
#include "kube/object_store.hpp"
#include "reconcile/events.hpp"
#include "reconcile/outcome.hpp"
#include "reconcile/request_call.hpp"
#include "reconcile/request_status.hpp"
#include "signing/service.hpp"

namespace signet::reconcile {

using RequestKey = controller::Key;

/// Deletes a decided request whose time to live is over.
Outcome DeleteRequest(kube::ObjectStore& store, const RequestKey& key, std::string_view uid);

class RequestReconciler {
 public:
  struct Options {
    /// A wait for something that passes by itself (Busy, HSMUnavailable, ...) is written only when
    /// it has lasted this long, so that a hiccup costs no second status write. 0: at once.
    base::Duration waiting_grace = std::chrono::seconds(1);
    int unknown_outcomes = 5;  ///< more than this many for one request: Failed
    int conflicts = 5;         ///< rewrites of one signature after a 409
    /// A write of a signature takes no longer than this: what was decided longer ago is judged again before it goes
    /// out.
    std::chrono::milliseconds delivery{3'000};
  };
  struct Dependencies {
    base::Reactor* reactor = nullptr;
    const base::Clock* clock = nullptr;
    kube::ObjectStore* store = nullptr;
    signing::SigningService* service = nullptr;
    EventRecorder* events = nullptr;
    /// The informer's copy, which may be abridged (RequestFilter); nullptr: not there, or decided.
    std::function<std::shared_ptr<const nlohmann::json>(const RequestKey&)> cached;
    std::function<void(const std::string& policy)> ensure_fresh;            ///< LiveReads
    std::function<base::Status(const std::string& policy)> refresh_policy;  ///< PolicyReconciler::Refresh
    /// Empty: nobody can tell. Not asked where the store's owner vouches for what is written.
    Stamped stamped;
    /// The approvals that name this request, as the informer knows them; may be empty.
    std::function<std::vector<policy::Approval>(const RequestKey&)> approvals;
    /// The same, read live: nothing is signed or denied by the others. May be empty where `approvals` is.
    std::function<base::Result<std::vector<policy::Approval>>(const RequestKey&)> read_approvals;
    /// As ensure_fresh, of the labels of a namespace; may be empty.
    std::function<void(const std::string& ns)> ensure_namespace;
    /// Reads one namespace's labels live into what SigningService sees; may be empty.
    std::function<base::Status(const std::string& ns)> refresh_namespace;
  };

  /// `unsettled`: signatures of earlier processes whose delivery is not known (Journal::unsettled).
  RequestReconciler(Options options, Dependencies dependencies, const std::vector<audit::OpenOperation>& unsettled);

  Outcome Reconcile(const RequestKey& key);
  /// Settles what a read of `key` alone can end, and writes no status: for replicas that do not lead.
  Outcome SettleByReading(const RequestKey& key);
  /// The copy no longer has `key`: it is decided or gone. What is remembered of it goes, but for signatures to settle.
  void Forget(const RequestKey& key);
  /// Requests with signatures to settle, of this process or earlier ones: look after them, whoever leads.
  [[nodiscard]] std::vector<RequestKey> Unsettled() const;
  /// Requests that wait under `policy` (empty: under any).
  [[nodiscard]] std::vector<RequestKey> WaitingFor(const std::string& policy) const;

 private:
  /// A signature that was made, and of which it is not known whether the status carries it.
  struct Undelivered {
    std::string operation;
    std::string uid;
    std::optional<signing::Signed> made;  ///< nothing: of an earlier process
    bool in_doubt = false;                ///< a write of it may have arrived, or may still do so
    std::string sent_version;             ///< the resourceVersion of that write; empty: not known
  };
  struct Memory {
    std::string uid;
    bool finished = false;                       ///< we have written the end; the cache may not show it yet
    std::string waiting_reason;                  ///< last one written by us
    std::vector<api::ApprovalStatus> approvals;  ///< written with it
    std::string resource_version;                ///< of our last write
    std::optional<base::SteadyPoint> waiting_since;
    int attempts = 0;  ///< waits in a row
    int unknown_outcomes = 0;
    std::string policy;
    std::vector<Undelivered> undelivered;
  };
  enum class Delivery : std::uint8_t { kReleased, kDiscarded, kOpen };
  struct Standing {
    bool undecided = false;
    bool carries_it = false;
    std::string reason;  ///< why the signature will never be in this status
  };
  /// One thread at a time per object, whichever controller it comes from.
  class Turn {
   public:
    Turn(RequestReconciler& owner, const RequestKey& key);
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    [[nodiscard]] bool mine() const { return mine_; }

   private:
    RequestReconciler& owner_;
    const RequestKey key_;
    bool mine_ = false;
  };

  [[nodiscard]] Memory Recall(const RequestKey& key) const;
  void Remember(const RequestKey& key, Memory memory);

  Outcome Run(const RequestKey& key, Memory& memory);
  std::optional<Outcome> SettleOld(const RequestKey& key, Memory& memory);
  /// What a live read alone ends; nothing: the request is undecided.
  std::optional<Delivery> EndByReading(const Undelivered& open, const base::Result<RequestView>& live,
                                       base::Error& why);
  Delivery Redeliver(const RequestKey& key, Undelivered& open, Memory& memory, base::Error& why);
  /// Afterwards no write of this signature that is still on its way can arrive. Costs a status write if there may be
  /// one.
  base::Status FenceOff(const RequestView& live, const Undelivered& open, const std::string& reason, Memory& memory);
  /// Time has passed since the decision: why a policy that was edited or stopped meanwhile, or the request as it reads
  /// now, takes the signature back; empty: nothing does. An error leaves it open.
  base::Result<std::string> TakenBack(const nlohmann::json& object, const RequestView& live);
  Outcome Decide(RequestView& view, const nlohmann::json& object, const api::SigningRequestSpec& spec, Memory& memory);
  std::optional<Outcome> Confirm(const RequestView& view, const api::SigningRequestSpec& spec,
                                 const signing::Caller& caller, signing::SignCall& call, Memory& memory);
  Outcome Deliver(const RequestView& view, signing::Signed made, Memory& memory);
  /// Nothing: the request is another one by now; read and judge again.
  std::optional<Delivery> Write(const RequestView& view, Undelivered& open, base::Error& why);
  /// Reads the request live; an error leaves it open.
  base::Result<RequestView> ReadRequest(const RequestKey& key) const;
  static Standing Judge(const RequestView& live, const std::string& operation);
  Outcome Denied(const RequestView& view, const std::string& reason, const std::string& message, Memory& memory);
  Outcome Failed(const RequestView& view, const std::string& reason, const std::string& message, Memory& memory);
  Outcome Wait(const RequestView& view, const api::SigningRequestSpec& spec, const Classified& why,
               std::optional<base::Duration> retry_after, Memory& memory);
  Outcome AfterTtl(const RequestView& view);
  /// The copy, or the request as it reads live where the copy is abridged; nullptr: not there.
  base::Result<std::shared_ptr<const nlohmann::json>> Find(const RequestKey& key) const;
  Outcome End(const RequestView& view, const nlohmann::json& status, std::string_view result, Memory& memory);

  signing::SigningService::Answer Sign(const signing::Caller& caller, const signing::SignCall& call);
  /// Sign, with approvals that are read live before anything is signed by them.
  signing::SigningService::Answer SignWithApprovals(const signing::Caller& caller, signing::SignCall& call);
  base::Status ReadApprovals(signing::SignCall& call);
  void EnsureNamespaces(const signing::Caller& caller, const signing::SignCall& call);
  base::Result<policy::Decision> Explain(const signing::Caller& caller, const signing::SignCall& call);
  base::Status ReadLive(const api::SigningRequestSpec& spec);
  void Settle(const std::string& operation, audit::Released released, std::string reason);
  void SettleGone(const Undelivered& open, std::string reason);

  const Options options_;
  const Dependencies deps_;
  mutable std::mutex mutex_;
  std::map<RequestKey, Memory> memory_;  ///< guarded by mutex_
  std::set<RequestKey> at_work_;         ///< guarded by mutex_
};

}  // namespace signet::reconcile
