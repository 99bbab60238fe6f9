// controller/controller.hpp - workers that bring objects to the state they should have, by name.
//
// Ownership:     owns its queue and threads. Borrows the reconciler, informers and clock.
// Thread-safety: any thread; Start() and Stop() from one thread at a time. Start after Stop begins anew.
// Blocking:      Stop() waits for the Reconcile calls in hand; keys not yet taken are dropped (Start()
//                adds every known object, so nothing is lost).
// Errors:        see Reconciler.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "controller/informer.hpp"
#include "controller/work_queue.hpp"

namespace signet::controller {

struct Outcome {
  std::optional<base::Duration> after;  ///< look again then; nothing: when something changes

  static Outcome Done() { return {}; }
  static Outcome After(base::Duration delay) { return {delay}; }
};

class Reconciler {
 public:
  virtual ~Reconciler() = default;
  /// Looks `key` up and does what is missing. May block; never called for one key by two threads.
  /// An error that ShouldRetry() is tried again with the key's own backoff; any other is counted and
  /// left until the object changes. An exception counts as kInternal.
  virtual base::Result<Outcome> Reconcile(const Key& key) = 0;
};

/// True where doing the whole reconcile again, from a fresh read, can end otherwise. Not for
/// kInvalidArgument, kNotFound, kUnimplemented and kInternal.
bool ShouldRetry(base::Code code);

class Controller {
 public:
  struct Options {
    std::string name;  ///< label of its metrics and logs
    int workers = 1;   ///< [1, 64]
    std::chrono::milliseconds base_delay{5};
    std::chrono::milliseconds max_delay{60'000};
  };
  /// Which keys of this controller a change of an object is about.
  using MapKeys =
      std::function<std::vector<Key>(const Key& key, const Informer::Object& before, const Informer::Object& after)>;

  Controller(Options options, Reconciler& reconciler, const base::Clock& clock);
  ~Controller();  ///< stops

  /// Before the informer starts. Every change of an object adds its key (or those `map` names); Start() adds
  /// the keys of all objects that are known then, and waits for nothing: sync first.
  void Watch(Informer& informer, MapKeys map = {});

  void Start();
  void Stop();
  [[nodiscard]] bool IsRunning() const;

  /// Adds a key from outside; no effect while stopped.
  void Enqueue(const Key& key);
  /// The informers whose objects this controller must know before it starts.
  [[nodiscard]] const std::vector<Informer*>& informers() const { return informers_; }
  [[nodiscard]] const std::string& name() const { return options_.name; }

 private:
  void Work(WorkQueue& queue);
  void ProcessOne(WorkQueue& queue, const Key& key);
  [[nodiscard]] std::shared_ptr<WorkQueue> queue() const;

  const Options options_;
  Reconciler& reconciler_;
  const base::Clock& clock_;
  std::vector<Informer*> informers_;
  std::vector<std::pair<Informer*, MapKeys>> sources_;
  mutable std::mutex mutex_;
  std::shared_ptr<WorkQueue> queue_;  ///< guarded by mutex_; null while stopped
  std::vector<std::thread> threads_;  ///< Start and Stop only
};

}  // namespace signet::controller
