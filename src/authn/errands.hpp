// authn/errands.hpp - a bounded queue of calls that may block, and the few threads that make them.
//
// Ownership:     owns its threads and what waits in the queue.
// Thread-safety: Send from any thread; Stop once, from any thread but its own.
// Blocking:      Stop waits for the calls in hand. Send never blocks.
// Sizes:         Options.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace signet::authn {

class Errands {
 public:
  struct Options {
    std::size_t threads = 4;
    std::size_t queue = 256;  ///< errands that wait for a thread at the back
    std::size_t front = 256;  ///< and at the front: room that those at the back cannot take
  };
  /// Two queues: the back waits while anybody is at the front.
  enum class Place : std::uint8_t { kBack, kFront };

  explicit Errands(Options options);
  ~Errands();
  Errands(const Errands&) = delete;
  Errands& operator=(const Errands&) = delete;

  /// False: that queue is full, or Stop was called; `run` will not run.
  bool Send(std::function<void()> run, Place place = Place::kBack);
  /// What waits is dropped without having run.
  void Stop();

 private:
  void Work();

  const Options options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> front_, back_;  ///< guarded by mutex_
  bool stopping_ = false;                           ///< guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace signet::authn
