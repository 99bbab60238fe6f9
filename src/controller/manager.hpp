// controller/manager.hpp - starts and stops informers, election and controllers in the right order.
//
// Informers run from Start() to Stop() in every replica (their copies serve readers too). Controllers
// run while this replica leads (or always without an elector), once all informers that sync first have; or in every
// replica, each as soon as the informers that it watches have: another kind that cannot be listed does not
// hold them up. Losing the lease stops the former; winning it again starts them again. The latter
// ask IsLeader() before they change anything, and OnLeading says when they may.
//
// Ownership:     borrows everything added; it must outlive the manager. Owns one thread.
// Thread-safety: Add* and SetLease before Start(), from one thread; the rest from any.
// Blocking:      Start() and StartInformers() return at once. Stop() waits for the Reconcile calls in hand.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "controller/controller.hpp"
#include "controller/informer.hpp"
#include "controller/leader_elector.hpp"

namespace signet::controller {

class Manager {
 public:
  explicit Manager(const base::Clock& clock) : clock_(clock) {}
  ~Manager();  ///< stops

  /// kLater: controllers start before its first list is complete, since each of its objects is dealt with by itself.
  enum class Syncs : std::uint8_t { kFirst, kLater };
  void Add(Informer& informer, Syncs syncs = Syncs::kFirst);
  enum class Runs : std::uint8_t { kWhileLeading, kAlways };
  void Add(Controller& controller, Runs runs = Runs::kWhileLeading);
  /// `leading` runs on the manager's thread each time this replica has begun to lead, when its controllers run.
  void OnLeading(std::function<void()> leading) { on_leading_ = std::move(leading); }
  /// With a lease, controllers run in one replica only. `store` is used for the lease alone: give it
  /// deadlines below renew_deadline and connections of its own, so that load cannot cost the lease.
  base::Status SetLease(kube::ObjectStore& store, LeaseOptions options);

  /// Starts the informers alone: their lists take time, which what else must be there before Start() can use as well.
  void StartInformers();
  /// Starts the informers, if they have not been started, election and controllers.
  void Start();
  /// Controllers, then the lease is released, then informers. May be called twice.
  void Stop();

  /// All informers have synced.
  [[nodiscard]] bool HasSynced() const;
  /// Controllers may run here: leader, or no lease is used.
  [[nodiscard]] bool IsLeader() const;

 private:
  void Run();
  void SetWanted(bool wanted);
  [[nodiscard]] bool MayStart() const;

  const base::Clock& clock_;
  std::vector<Informer*> informers_;
  std::vector<Informer*> needed_;     ///< those whose first list controllers wait for
  std::vector<Controller*> leading_;  ///< those that run while leading
  std::vector<Controller*> always_;
  std::function<void()> on_leading_;
  std::unique_ptr<LeaderElector> elector_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool wanted_ = false;    ///< leads; guarded by mutex_
  bool stopping_ = false;  ///< guarded by mutex_
  bool started_ = false;
  bool informers_started_ = false;
  std::thread thread_;
};

}  // namespace signet::controller
