// tests/fakes/manual_reactor.hpp - a loop that runs when told to, on the test's thread and a fake clock.
//
// Thread-safety: Post from any thread; everything else on the test's thread.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <utility>

#include "base/reactor.hpp"
#include "fakes/fake_clock.hpp"

namespace signet::testing {

class ManualReactor final : public base::Reactor {
 public:
  explicit ManualReactor(FakeClock& clock) : clock_(clock) {}

  void Post(Handler handler) override {
    {
      const std::lock_guard lock(mutex_);
      ready_.push_back(std::move(handler));
    }
    arrived_.notify_all();
  }
  Id After(std::chrono::microseconds delay, Handler handler) override {
    timers_[{clock_.Steady() + delay, ++last_}] = std::move(handler);
    return last_;
  }
  void Cancel(Id timer) override {
    std::erase_if(timers_, [timer](const auto& entry) { return entry.first.second == timer; });
  }
  Id WatchReadable(int, Handler) override { return ++last_; }
  void Unwatch(Id) override {}

  /// Everything that is ready, and what it posts.
  void RunReady() {
    while (Handler handler = Next()) handler();
  }
  /// Moves the clock from timer to timer until `by` has passed.
  void Advance(std::chrono::microseconds by) {
    const base::SteadyPoint end = clock_.Steady() + by;
    RunReady();
    while (!timers_.empty() && timers_.begin()->first.first <= end) {
      auto timer = timers_.extract(timers_.begin());
      const auto wait = std::chrono::duration_cast<std::chrono::microseconds>(timer.key().first - clock_.Steady());
      if (wait.count() > 0) clock_.Advance(wait);
      timer.mapped()();
      RunReady();
    }
    clock_.Advance(std::chrono::duration_cast<std::chrono::microseconds>(end - clock_.Steady()));
  }
  /// Runs what is ready, and what other threads post, until `done()`. False after 20 s of real time.
  bool RunUntil(const std::function<bool()>& done) {
    for (int rounds = 0; rounds < 2000; ++rounds) {
      RunReady();
      if (done()) return true;
      std::unique_lock lock(mutex_);
      arrived_.wait_for(lock, std::chrono::milliseconds(10), [this] { return !ready_.empty(); });
    }
    return done();
  }
  [[nodiscard]] std::size_t timers() const { return timers_.size(); }

 private:
  Handler Next() {
    const std::lock_guard lock(mutex_);
    if (ready_.empty()) return {};
    Handler handler = std::move(ready_.front());
    ready_.pop_front();
    return handler;
  }

  FakeClock& clock_;
  Id last_ = 0;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Handler> ready_;
  std::map<std::pair<base::SteadyPoint, Id>, Handler> timers_;
};

}  // namespace signet::testing
