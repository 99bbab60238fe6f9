#include "policy/schedule.hpp"

#include <absl/time/civil_time.h>
#include <absl/time/time.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace signet::policy {
namespace {

using std::chrono::hours;
using std::chrono::minutes;

constexpr int kHorizonDays = 15;

/// A folder of zones in another form, or what the machine itself is set to: not names that mean the same everywhere.
bool IsPortable(const std::string& name) {
  return name != "localtime" && name != "posixrules" && !name.starts_with("right/") && !name.starts_with("posix/");
}

base::Result<absl::TimeZone> FindZone(const std::string& name, std::size_t index) {
  absl::TimeZone zone = absl::UTCTimeZone();
  if (name.empty() || (IsPortable(name) && absl::LoadTimeZone(name, &zone))) return zone;
  return base::MakeError(base::Code::kInvalidArgument, "Invalid",
                         fmt::format("spec.windows[{}].timeZone: this system knows no time zone {} (is tzdata "
                                     "installed, and tzdata-legacy for old names?)",
                                     index, name));
}

}  // namespace

struct Schedule::Rule {
  std::uint8_t days = 0x7F;  ///< bit 0 = Sunday
  minutes from{};
  minutes to{};         ///< over 24 h: on the next day
  absl::TimeZone zone;  ///< UTC unless the window names another

  [[nodiscard]] absl::CivilDay DayOf(base::TimePoint now) const {
    return absl::ToCivilDay(absl::FromChrono(now), zone);
  }
  [[nodiscard]] base::TimePoint Instant(absl::CivilDay day, minutes time) const {
    const auto at = zone.At(absl::CivilSecond(day) + time.count() * 60);
    const bool skipped = at.kind == absl::TimeZone::TimeInfo::SKIPPED;
    return std::chrono::time_point_cast<base::TimePoint::duration>(absl::ToChronoTime(skipped ? at.trans : at.pre));
  }
  [[nodiscard]] bool StartsOn(absl::CivilDay day) const {
    // absl counts the days of the week from Monday.
    const auto weekday = (static_cast<unsigned>(absl::GetWeekday(day)) + 1) % 7;
    return ((days >> weekday) & 1U) != 0;
  }
};

base::Result<Schedule> Schedule::Compile(const std::vector<api::Window>& windows) {
  std::vector<Rule> rules;
  for (const auto& window : windows) {
    Rule rule;
    if (!window.days.empty()) rule.days = 0;
    for (const int day : window.days) rule.days |= static_cast<std::uint8_t>(1U << static_cast<unsigned>(day));
    rule.from = minutes(window.from.minutes);
    rule.to = minutes(window.to.minutes);
    if (rule.to <= rule.from) rule.to += hours(24);
    TRY(rule.zone, FindZone(window.time_zone, rules.size()));
    rules.push_back(rule);
  }
  Schedule out;
  if (!rules.empty()) out.rules_ = std::make_shared<const std::vector<Rule>>(std::move(rules));
  return out;
}

bool Schedule::IsOpen(base::TimePoint now) const {
  if (!rules_) return true;
  for (const Rule& rule : *rules_) {
    const auto today = rule.DayOf(now);
    // Tomorrow as well: where clocks go back over midnight, its window may have begun already.
    for (auto day = today - 1; day <= today + 1; ++day) {
      if (rule.StartsOn(day) && rule.Instant(day, rule.from) <= now && now < rule.Instant(day, rule.to)) return true;
    }
  }
  return false;
}

std::optional<base::TimePoint> Schedule::NextOpening(base::TimePoint now) const {
  std::optional<base::TimePoint> next;
  if (!rules_) return next;
  for (const Rule& rule : *rules_) {
    const auto today = rule.DayOf(now);
    for (auto day = today - 1; day <= today + kHorizonDays; ++day) {
      if (!rule.StartsOn(day)) continue;
      const auto begin = rule.Instant(day, rule.from);
      if (begin <= now || begin >= rule.Instant(day, rule.to)) continue;
      if (!next || begin < *next) next = begin;
      break;
    }
  }
  return next;
}

}  // namespace signet::policy
