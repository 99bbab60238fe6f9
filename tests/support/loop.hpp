// tests/support/loop.hpp - a small event loop that a test turns by hand until something is true.
#pragma once

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/clock.hpp"
#include "base/reactor.hpp"
#include "base/result.hpp"

namespace signet::testing {

/// base::Reactor over poll(2). Turn() runs what is ready; unlike the real loop it can be left and entered again.
class PollReactor final : public base::Reactor {
 public:
  void Post(Handler handler) override {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(handler));
  }
  Id After(std::chrono::microseconds delay, Handler handler) override {
    timers_.emplace(++last_id_, Timer{base::SystemClock().Steady() + delay, std::move(handler)});
    return last_id_;
  }
  void Cancel(Id timer) override { timers_.erase(timer); }
  Id WatchReadable(int fd, Handler handler) override {
    watches_.emplace(++last_id_, Watch{fd, std::make_shared<Handler>(std::move(handler))});
    return last_id_;
  }
  void Unwatch(Id watch) override { watches_.erase(watch); }
  Id AddPoller(Poller poller) override {
    pollers_.emplace(++last_id_, std::move(poller));
    return last_id_;
  }
  void RemovePoller(Id poller) override { pollers_.erase(poller); }

  /// Waits at most `limit` for something to do and does it.
  void Turn(std::chrono::milliseconds limit) {
    auto wait = limit;
    const auto now = base::SystemClock().Steady();
    for (const auto& [id, timer] : timers_) {
      wait = std::min(wait, std::chrono::ceil<std::chrono::milliseconds>(std::max(timer.due - now, {})));
    }
    std::deque<Handler> posted;
    {
      const std::lock_guard lock(mutex_);
      posted.swap(posted_);
    }
    if (!posted.empty() || Poll(true)) wait = std::chrono::milliseconds(0);
    std::vector<pollfd> fds;
    std::vector<Id> ids;
    for (const auto& [id, watch] : watches_) {
      fds.push_back({watch.fd, POLLIN, 0});
      ids.push_back(id);
    }
    ::poll(fds.data(), fds.size(), static_cast<int>(wait.count()));
    for (const auto& handler : posted) handler();
    for (std::size_t i = 0; i < fds.size(); ++i) {
      const auto found = watches_.find(ids[i]);
      if (fds[i].revents == 0 || found == watches_.end()) continue;
      const auto handler = found->second.handler;  // it may unwatch itself
      (*handler)();
    }
    Poll(false);
    RunTimers();
  }

 private:
  bool Poll(bool waiting) {
    bool busy = false;
    for (const auto& [id, poller] : pollers_) busy = poller(waiting && !busy) || busy;
    return busy;
  }
  struct Timer {
    base::SteadyPoint due;
    Handler handler;
  };
  struct Watch {
    int fd;
    std::shared_ptr<Handler> handler;
  };

  void RunTimers() {
    const auto now = base::SystemClock().Steady();
    std::vector<Id> due;
    for (const auto& [id, timer] : timers_) {
      if (timer.due <= now) due.push_back(id);
    }
    for (const Id id : due) {
      auto node = timers_.extract(id);
      if (!node.empty()) node.mapped().handler();
    }
  }

  std::mutex mutex_;
  std::deque<Handler> posted_;
  std::map<Id, Timer> timers_;
  std::map<Id, Watch> watches_;
  std::map<Id, Poller> pollers_;
  Id last_id_ = 0;
};

class Loop {
 public:
  base::Reactor& reactor() { return reactor_; }

  /// Runs the loop until `condition` holds; false when it does not within `limit`.
  bool Until(const std::function<bool()>& condition, std::chrono::milliseconds limit = std::chrono::seconds(20)) {
    const auto deadline = base::SystemClock().Steady() + limit;
    while (!condition()) {
      if (base::SystemClock().Steady() > deadline) return false;
      reactor_.Turn(std::chrono::milliseconds(50));
    }
    return true;
  }
  /// Runs the loop for a while: to see that something does not happen.
  void For(std::chrono::milliseconds duration) {
    const auto deadline = base::SystemClock().Steady() + duration;
    while (base::SystemClock().Steady() < deadline) reactor_.Turn(std::chrono::milliseconds(20));
  }

  /// Starts `operation` with a callback and runs the loop until it is called.
  template <class T>
  base::Result<T> Await(const std::function<void(std::function<void(base::Result<T>)>)>& operation) {
    auto answer = std::make_shared<std::optional<base::Result<T>>>();
    operation([answer](base::Result<T> result) { answer->emplace(std::move(result)); });
    if (!Until([&] { return answer->has_value(); }, std::chrono::seconds(60))) {
      return base::MakeError(base::Code::kInternal, "TestTimeout", "the callback never came");
    }
    return **answer;
  }

 private:
  PollReactor reactor_;
};

}  // namespace signet::testing
