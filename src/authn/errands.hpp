// authn/errands.hpp - a bounded queue of calls that may block, and the few threads that make them.
//
// Ownership:     owns its threads and what waits in the queue.
// Thread-safety: Send from any thread; Stop once, from any thread but its own.
// Blocking:      Stop waits for the calls in hand. Send never blocks.
// Fairness:      the back is shared by sources, whoever asks for the errand: each has its turn, none has more than half
//                of the threads, and when it is full the source with most errands there loses its last one.
// Sizes:         Options.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
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
  bool Send(std::function<void()> run, Place place = Place::kBack) { return Send({std::move(run), {}}, place, {}); }
  struct Errand {
    std::function<void()> run;
    std::function<void()> drop;  ///< in place of `run`, when it makes room for another source; on the sender's thread
  };
  bool Send(Errand errand, Place place, const std::string& source);
  /// What waits is dropped without having run.
  void Stop();

 private:
  struct Source {
    std::deque<Errand> waiting;
    std::size_t in_work = 0;
  };
  void Work();
  bool MakeRoom(const std::string& source, std::function<void()>& drop);
  std::map<std::string, Source>::iterator Next();

  const Options options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // All below: guarded by mutex_.
  std::deque<Errand> front_;
  std::map<std::string, Source> back_;
  std::size_t back_size_ = 0;
  std::string last_;  ///< the source that had its turn
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace signet::authn
