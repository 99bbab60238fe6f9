// tests/fakes/manual_reactor.hpp - a loop that runs when told to, on the test's thread and a fake clock.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <utility>

#include "base/reactor.hpp"
#include "fakes/fake_clock.hpp"

namespace signet::testing {

class ManualReactor final : public base::Reactor {
 public:
  explicit ManualReactor(FakeClock& clock) : clock_(clock) {}

  void Post(Handler handler) override { ready_.push_back(std::move(handler)); }
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
    while (!ready_.empty()) {
      Handler handler = std::move(ready_.front());
      ready_.pop_front();
      handler();
    }
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

 private:
  FakeClock& clock_;
  Id last_ = 0;
  std::deque<Handler> ready_;
  std::map<std::pair<base::SteadyPoint, Id>, Handler> timers_;
};

}  // namespace signet::testing
