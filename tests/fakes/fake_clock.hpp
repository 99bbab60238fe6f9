// tests/fakes/fake_clock.hpp - a clock that moves when told to.
#pragma once

#include <atomic>
#include <chrono>

#include "base/clock.hpp"

namespace signet::testing {

class FakeClock final : public base::Clock {
 public:
  /// Starts at 2026-11-23T09:00:00Z.
  [[nodiscard]] base::TimePoint Now() const override {
    return base::TimePoint(std::chrono::seconds(1'795'424'400)) + Elapsed();
  }
  [[nodiscard]] base::SteadyPoint Steady() const override {
    return base::SteadyPoint(std::chrono::hours(1)) + Elapsed();
  }
  void Advance(base::Duration by) { elapsed_ += by.count(); }

 private:
  [[nodiscard]] base::Duration Elapsed() const { return base::Duration(elapsed_.load()); }
  std::atomic<base::Duration::rep> elapsed_{0};
};

}  // namespace signet::testing
