// base/clock.hpp - the only source of time (lint bans system_clock::now elsewhere).
//
// Thread-safety: a Clock may be used from any thread.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace signet::base {

using TimePoint = std::chrono::time_point<std::chrono::system_clock, std::chrono::microseconds>;  ///< UTC
using SteadyPoint = std::chrono::steady_clock::time_point;
using Duration = std::chrono::microseconds;

class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual TimePoint Now() const = 0;       ///< wall clock, UTC
  [[nodiscard]] virtual SteadyPoint Steady() const = 0;  ///< for intervals; never goes back
};

/// The machine's clock; a process-wide constant without state.
const Clock& SystemClock();

/// RFC 3339 in UTC with microseconds: 2026-11-23T09:00:01.000123Z (27 octets).
std::string FormatTime(TimePoint time);
/// RFC 3339 in UTC with whole seconds, as metav1.Time is written: 2026-11-23T09:00:01Z.
std::string FormatTimeSeconds(TimePoint time);
/// RFC 3339, any offset, at most microseconds kept. kInvalidArgument otherwise.
Result<TimePoint> ParseTime(std::string_view text);

}  // namespace signet::base
