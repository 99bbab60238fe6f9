// controller/leader_elector.hpp - one of several replicas does the work: a coordination.k8s.io Lease.
//
// Leadership saves work; it is not what makes writes safe (resource versions are). As in client-go, no
// clock is compared between machines: a lease that has not changed for its duration on *our* steady
// clock is free to take. A leader that could not renew for renew_deadline stops by itself, before
// another may start.
//
// Ownership:     LeaderElector owns two threads: one asks the store, one watches the deadline, so that a
//                hanging store cannot hide the loss. Borrows store and clock.
// Thread-safety: any thread. Callbacks run on one thread of the elector, strictly alternating
//                on_started, on_stopped; they should not block for long.
// Blocking:      Stop() waits for a store call in hand and for callbacks. Give it a store with
//                deadlines below renew_deadline.
// Sources:       client-go tools/leaderelection (timings and take-over rule); Lease API, coordination.k8s.io/v1.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <thread>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "kube/object_store.hpp"

namespace signet::controller {

struct LeaseOptions {
  std::string ns;
  std::string name;
  std::string identity;  ///< unique among replicas: pod name and a random part
  std::chrono::milliseconds lease_duration{15'000};
  std::chrono::milliseconds renew_deadline{10'000};  ///< below lease_duration
  std::chrono::milliseconds retry_period{2'000};     ///< below renew_deadline
};

/// kInvalidArgument, reason "ConfigInvalid".
base::Status Validate(const LeaseOptions& options);

/// The lease itself, without threads: one store exchange a call. One thread at a time.
class LeaseLock {
 public:
  LeaseLock(kube::ObjectStore& store, LeaseOptions options, const base::Clock& clock);

  /// Takes the lease when it is free, ours or expired, and renews it. Ok: it is ours for
  /// lease_duration from the moment this was called.
  /// @return kFailedPrecondition, reason "HeldByOther"; otherwise the store's errors
  base::Status TryAcquireOrRenew();
  /// Gives up the lease if it is ours: another replica can take it at once.
  base::Status Release();
  /// Who had the lease when it was last looked at; "" for nobody.
  [[nodiscard]] const std::string& holder() const { return holder_; }

 private:
  void Observe(const nlohmann::json& spec);

  kube::ObjectStore& store_;
  const LeaseOptions options_;
  const base::Clock& clock_;
  nlohmann::json observed_;  ///< the spec as last seen
  base::SteadyPoint observed_at_{};
  std::string holder_;
};

class LeaderElector {
 public:
  struct Callbacks {
    std::function<void()> on_started;
    std::function<void()> on_stopped;
  };
  LeaderElector(kube::ObjectStore& store, LeaseOptions options, Callbacks callbacks, const base::Clock& clock);
  ~LeaderElector();  ///< stops

  void Start();
  /// on_stopped runs if leading, then the lease is released. May be called twice.
  void Stop();
  /// True while this replica may act as leader: the lease is ours and was renewed in time.
  [[nodiscard]] bool IsLeader() const;

 private:
  void RunAttempts();
  void RunCallbacks();
  [[nodiscard]] bool IsFreshLocked(base::SteadyPoint now) const;

  const LeaseOptions options_;
  const Callbacks callbacks_;
  const base::Clock& clock_;
  LeaseLock lock_;           ///< attempts' thread only (Stop() after it has ended)
  std::minstd_rand random_;  ///< attempts' thread only

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // All below: guarded by mutex_.
  bool leading_ = false;
  std::uint64_t term_ = 0;  ///< counts the times leadership was gained
  base::SteadyPoint renewed_at_{};
  bool stopping_ = false;
  bool stopping_callbacks_ = false;

  std::thread attempts_;
  std::thread callbacks_thread_;
};

}  // namespace signet::controller
