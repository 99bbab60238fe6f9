// controller/work_queue.hpp - which objects need a look: each once, none by two workers at a time.
//
// Names, not events: a key that is added while it waits is there once; a key that is added while a
// worker has it comes back when that worker is done. A worker must call Done() for each key it took.
//
// Ownership:     values. Borrows the clock, which must outlive the queue.
// Thread-safety: any thread.
// Blocking:      Take() until there is work or ShutDown(); nothing else.
// Sources:       client-go util/workqueue (the contract of its rate-limiting queue).
#pragma once

#include <chrono>
#include <compare>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "base/clock.hpp"
#include "obs/metrics.hpp"

namespace signet::controller {

struct Key {
  std::string ns;  ///< "" for cluster-scoped objects
  std::string name;
  friend auto operator<=>(const Key&, const Key&) = default;
};
/// "namespace/name", or "name": for logs.
std::string Describe(const Key& key);

class WorkQueue {
 public:
  struct Options {
    std::string name = "queue";  ///< label of its metrics
    std::chrono::milliseconds base_delay{5};
    std::chrono::milliseconds max_delay{60'000};
  };
  WorkQueue(Options options, const base::Clock& clock);

  /// No effect after ShutDown(), as for the other two.
  void Add(Key key);
  /// Adds `key` after `delay`; of several pending delays for one key the earliest holds.
  void AddAfter(Key key, base::Duration delay);
  /// Adds `key` after its own backoff: base_delay, doubled for each call since Forget, up to max_delay.
  void AddRateLimited(Key key);
  /// The key did well: its backoff starts anew.
  void Forget(const Key& key);
  /// How often AddRateLimited was called for `key` since Forget.
  [[nodiscard]] int CountRetries(const Key& key) const;

  /// Waits for a key; nothing after ShutDown(), once everything that was ready then has been taken.
  std::optional<Key> Take();
  /// The worker that took `key` is finished with it.
  void Done(const Key& key);

  enum class Drain : std::uint8_t { kReady, kNothing };
  /// Refuses new keys and drops delayed ones; kNothing drops the ready ones too. Take() then returns nothing.
  void ShutDown(Drain drain);
  /// Waits until no worker has a key.
  void WaitIdle();

  [[nodiscard]] std::size_t Depth() const;  ///< keys ready to be taken
  /// Looks at the clock again: for tests with a clock that jumps.
  void WakeForTest() { wake_.notify_all(); }

 private:
  void AddLocked(Key key, base::SteadyPoint now);
  void AddAfterLocked(Key key, base::SteadyPoint due);
  void PromoteDueLocked(base::SteadyPoint now);

  const Options options_;
  const base::Clock& clock_;
  obs::Gauge& depth_;
  obs::Histogram& waited_;
  obs::Counter& retries_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  // All below: guarded by mutex_.
  std::deque<Key> ready_;
  std::map<Key, base::SteadyPoint> waiting_;  ///< in ready_, or to be there after Done(); since when
  std::set<Key> taken_;
  std::map<Key, base::SteadyPoint> due_;  ///< delayed keys
  std::set<std::pair<base::SteadyPoint, Key>> by_due_;
  std::map<Key, int> failures_;
  bool shut_down_ = false;
};

}  // namespace signet::controller
