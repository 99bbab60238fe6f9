#include "policy/schedule.hpp"

#include <date/date.h>
#include <date/tz.h>
#include <fmt/format.h>

#include <algorithm>
#include <exception>

namespace signet::policy {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

/// No clock change moves local time by more.
constexpr hours kLargestShift{26};
constexpr date::days kHorizon{15};

base::Result<const date::time_zone*> FindZone(const std::string& name, std::size_t index) {
  if (name.empty() || name == "UTC" || name == "Etc/UTC") return nullptr;
  try {
    return date::locate_zone(name);
  } catch (const std::exception&) {
    return base::MakeError(base::Code::kInvalidArgument, "Invalid",
                           fmt::format("spec.windows[{}].timeZone: this system knows no time zone {} (is tzdata "
                                       "installed, and tzdata-legacy for old names?)",
                                       index, name));
  }
}

}  // namespace

/// Wall-clock time of one zone around one instant. Far from clock changes it is plain arithmetic.
class Schedule::LocalClock {
 public:
  LocalClock(const date::time_zone* zone, base::TimePoint now) : zone_(zone) {
    const auto instant = date::floor<seconds>(now);
    if (zone_ != nullptr) {
      const auto info = zone_->get_info(instant);
      offset_ = info.offset;
      steady_from_ = info.begin + kLargestShift;
      steady_to_ = info.end - kLargestShift;
    }
    today_ = date::floor<date::days>(date::local_seconds((instant + offset_).time_since_epoch()));
  }

  [[nodiscard]] date::local_days today() const { return today_; }
  [[nodiscard]] const date::time_zone* zone() const { return zone_; }

  [[nodiscard]] date::sys_seconds Instant(date::local_days day, minutes time) const {
    const date::local_seconds local = day + time;
    const date::sys_seconds guess((local - offset_).time_since_epoch());
    if (zone_ == nullptr || (guess > steady_from_ && guess < steady_to_)) return guess;
    return zone_->to_sys(local, date::choose::earliest);
  }

 private:
  const date::time_zone* zone_;
  seconds offset_{0};
  date::sys_seconds steady_from_{};
  date::sys_seconds steady_to_{};
  date::local_days today_{};
};

namespace {

bool StartsOn(std::uint8_t days, date::local_days day) { return ((days >> date::weekday(day).c_encoding()) & 1U) != 0; }

}  // namespace

base::Result<Schedule> Schedule::Compile(const std::vector<api::Window>& windows) {
  Schedule out;
  for (const auto& window : windows) {
    Rule rule;
    if (!window.days.empty()) rule.days = 0;
    for (const int day : window.days) rule.days |= static_cast<std::uint8_t>(1U << static_cast<unsigned>(day));
    rule.from = minutes(window.from.minutes);
    rule.to = minutes(window.to.minutes);
    if (rule.to <= rule.from) rule.to += hours(24);
    TRY(rule.zone, FindZone(window.time_zone, out.rules_.size()));
    out.rules_.push_back(rule);
  }
  return out;
}

bool Schedule::IsOpen(base::TimePoint now) const {
  if (rules_.empty()) return true;
  std::optional<LocalClock> clock;
  for (const Rule& rule : rules_) {
    if (!clock || clock->zone() != rule.zone) clock.emplace(rule.zone, now);
    // Tomorrow as well: where clocks go back over midnight, its window may have begun already.
    for (int shift = -1; shift <= 1; ++shift) {
      const auto day = clock->today() + date::days(shift);
      if (StartsOn(rule.days, day) && clock->Instant(day, rule.from) <= now && now < clock->Instant(day, rule.to)) {
        return true;
      }
    }
  }
  return false;
}

std::optional<base::TimePoint> Schedule::NextOpening(base::TimePoint now) const {
  std::optional<base::TimePoint> next;
  for (const Rule& rule : rules_) {
    const LocalClock clock(rule.zone, now);
    for (auto day = clock.today() - date::days(1); day <= clock.today() + kHorizon; day += date::days(1)) {
      if (!StartsOn(rule.days, day)) continue;
      const auto begin = clock.Instant(day, rule.from);
      if (begin <= now || begin >= clock.Instant(day, rule.to)) continue;
      if (!next || begin < *next) next = begin;
      break;
    }
  }
  return next;
}

}  // namespace signet::policy
