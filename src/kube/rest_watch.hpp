// kube/rest_watch.hpp - one watch on an API server, and the watchdog over all of them.
//
// The HTTP library never notices a server that hangs, so each watch has three deadlines of its own: to
// the first byte (kDeadlineExceeded), between two words (events or bookmarks) and in all (a regular
// end: the next watch finds out whether the server answers).
//
// Ownership:     a WatchState lives as long as its stream's callbacks; the watchdog holds it weakly.
// Thread-safety: any thread. The sink is called under the state's gate: one callback at a time, none
//                after Stop() has returned.
// Blocking:      Stop() waits for the callback in hand.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/clock.hpp"
#include "kube/object_store.hpp"
#include "kube/transport.hpp"

namespace signet::kube {

class WatchState : public std::enable_shared_from_this<WatchState> {
 public:
  struct Limits {
    std::chrono::milliseconds first_byte;
    std::chrono::milliseconds silence;
    std::chrono::milliseconds total;
    std::size_t max_line;
  };
  WatchState(WatchSink sink, std::string what, Limits limits);

  void Open(Transport& transport, const HttpRequest& request);
  /// Cancels; no callback runs once this has returned.
  void Stop();
  /// Ends the watch if a deadline has passed. @return the next deadline; nothing: it has ended
  std::optional<base::SteadyPoint> CheckDeadlines(base::SteadyPoint now);
  /// Ends the watch with `error`, if it has not ended.
  void Fail(base::Error error);

 private:
  void OnStatus(int status);
  void OnOctets(std::string_view octets);
  void OnEnd(base::Status end);
  void TakeLinesLocked();
  void TakeLineLocked(std::string_view line);
  void EndLocked(base::Status status);
  void CancelStream();

  const std::string what_;
  const Limits limits_;
  std::mutex gate_;
  // All below: guarded by gate_.
  WatchSink sink_;
  std::string pending_;  ///< octets that are not a whole line yet, or came before the status
  int status_ = 0;       ///< 0: not known yet
  bool ended_ = false;
  const base::SteadyPoint started_;
  base::SteadyPoint last_word_;
  std::unique_ptr<Stream> stream_;
};

/// One thread that calls CheckDeadlines when the next one is due.
class Watchdog {
 public:
  ~Watchdog();
  void Guard(const std::shared_ptr<WatchState>& watch);

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::weak_ptr<WatchState>> watches_;  ///< guarded by mutex_
  bool stopping_ = false;                           ///< guarded by mutex_
  std::thread thread_;                              ///< started by the first Guard()
};

}  // namespace signet::kube
