// policy/schedule.hpp - a policy's time windows, with their IANA time zones found.
//
// A window is the stretch of real time from the instant its start day's clock shows `from` to the
// instant the clock shows `to`, of the same day or, when to <= from, of the next one. Where clocks
// change:
//   a time that does not exist (spring) stands for the instant of the change;
//   a time that comes twice (autumn) stands for the first time it comes, as start and as end.
// So a window is never entered twice on one day, and it may be an hour longer or shorter, or empty.
//
// Thread-safety: immutable.
// Blocking:      Compile reads the system's time zone files (TZDIR, or /usr/share/zoneinfo); nothing else touches them.
// Sources:       RFC 8536: both the fat and the slim form, whose footer holds for all time after the last transition.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "api/types.hpp"
#include "base/clock.hpp"
#include "base/result.hpp"

namespace signet::policy {

class Schedule {
 public:
  /// @return kInvalidArgument, reason "Invalid", when the system knows no such time zone.
  static base::Result<Schedule> Compile(const std::vector<api::Window>& windows);

  /// True without windows.
  [[nodiscard]] bool IsOpen(base::TimePoint now) const;
  /// The start of the next window after `now`; nothing when none starts within 15 days.
  [[nodiscard]] std::optional<base::TimePoint> NextOpening(base::TimePoint now) const;

 private:
  struct Rule;
  std::shared_ptr<const std::vector<Rule>> rules_;  ///< nullptr: none
};

}  // namespace signet::policy
