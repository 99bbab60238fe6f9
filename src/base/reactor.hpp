// base/reactor.hpp - the event loop as its users see it.
//
// One thread runs the loop; SigningService, the worker pool, the audit journal and
// the socket server live on it, so that they need no locks. http::AsioReactor is
// the implementation.
//
// Thread-safety: Post() from any thread; everything else on the loop's thread only.
// Blocking:      handlers must not block.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>

namespace signet::base {

class Reactor {
 public:
  using Handler = std::function<void()>;
  /// True: it has done something. With `waiting`, the loop is about to sleep: before it returns false, the poller sees
  /// to it that the next thing to do wakes the loop through a descriptor.
  using Poller = std::function<bool(bool waiting)>;
  using Id = std::uint64_t;  ///< 0 is never a valid id

  virtual ~Reactor() = default;

  /// Runs `handler` on the loop after the handlers that are ready now. Any thread.
  virtual void Post(Handler handler) = 0;
  /// Runs `handler` once after `delay`. Loop thread (or before the loop runs).
  virtual Id After(std::chrono::microseconds delay, Handler handler) = 0;
  /// Forgets a timer; unknown or fired ids are ignored.
  virtual void Cancel(Id timer) = 0;
  /// Runs `handler` whenever `fd` is readable or at its end, until Unwatch. `fd` must be
  /// non-blocking, stays the caller's and must outlive the watch. Level-triggered.
  virtual Id WatchReadable(int fd, Handler handler) = 0;
  virtual void Unwatch(Id watch) = 0;
  /// Runs `poller` once a turn, for work that comes through memory instead of a descriptor. A loop without turns
  /// has none of it and returns 0.
  virtual Id AddPoller(Poller /*poller*/) { return 0; }
  /// Not from inside a poller.
  virtual void RemovePoller(Id /*poller*/) {}
};

}  // namespace signet::base
