// reconcile/quota_lender.hpp - lends blocks of a day's budget to this replica, from ConfigMaps that all replicas share.
//
// One ConfigMap `signet-quota-<hash>` per policy in the operator's namespace, and up to 64 for policies
// whose quota has scope Subject (by the subject's hash, so that none outgrows an object). Every write
// has the resourceVersion that was read as its precondition: two replicas never lend the same block.
// Nothing is written per signature; what was lent and not used stays lent across restarts of the same
// record (quota_book.hpp).
//
// Ownership:     borrows store and reactor; they must outlive it. Owns one thread.
// Thread-safety: Ask on the reactor's thread (any, in fact); answers come on the reactor's.
// Blocking:      Ask never; the destructor for the call in hand. Asks of one ConfigMap share one write.
// Errors:        kUnavailable, reason QuotaUnavailable.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/reactor.hpp"
#include "kube/object_store.hpp"
#include "policy/quota_lease.hpp"
#include "reconcile/quota_book.hpp"

namespace signet::reconcile {

class QuotaLender final : public policy::BudgetLender {
 public:
  struct Options {
    std::string ns;  ///< where the ConfigMaps are
    QuotaBook::Borrower borrower;
    int attempts = 10;                     ///< reads and writes of one answer, when others write at the same time
    std::chrono::milliseconds backoff{5};  ///< between two of them; grows, with jitter
  };
  QuotaLender(Options options, kube::ObjectStore& store, base::Reactor& reactor);
  ~QuotaLender() override;  ///< asks that have no answer yet get none
  QuotaLender(const QuotaLender&) = delete;
  QuotaLender& operator=(const QuotaLender&) = delete;

  void Ask(policy::LeaseAsk ask, Done done) override;

  /// Where the book of an account is.
  struct Place {
    std::string map;     ///< ConfigMap: one of kMaps, "signet-quota-00" ...: a Role can name them all
    std::string member;  ///< of its data
    friend auto operator<=>(const Place&, const Place&) = default;
  };
  static constexpr unsigned kMaps = 32;
  static Place PlaceOf(const std::string& policy, const std::string& subject);

 private:
  struct Waiting {
    policy::LeaseAsk ask;
    Done done;
  };
  using Leases = std::vector<base::Result<policy::Lease>>;

  void Run();
  void Serve(const Place& place, std::vector<Waiting> asks);
  base::Result<Leases> LendAll(const Place& place, const std::vector<Waiting>& asks);
  base::Result<Leases> LendOnce(const Place& place, const std::vector<Waiting>& asks);
  bool Pause(int attempt);

  const Options options_;
  kube::ObjectStore& store_;
  base::Reactor& reactor_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::map<Place, std::vector<Waiting>> asks_;  ///< guarded by mutex_
  std::deque<Place> order_;                     ///< keys of asks_, oldest first; guarded by mutex_
  bool stopping_ = false;                       ///< guarded by mutex_
  std::thread thread_;
};

}  // namespace signet::reconcile
