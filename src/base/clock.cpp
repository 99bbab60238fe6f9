#include "base/clock.hpp"

#include <array>
#include <charconv>
#include <cstdio>
#include <ctime>

namespace signet::base {
namespace {

class RealClock final : public Clock {
 public:
  [[nodiscard]] TimePoint Now() const override {
    return std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
  }
  [[nodiscard]] SteadyPoint Steady() const override { return std::chrono::steady_clock::now(); }
};

std::tm CivilUtc(TimePoint time, std::int64_t& micros) {
  const auto since = time.time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since);
  micros = (since - seconds).count();
  const auto raw = static_cast<std::time_t>(seconds.count());
  std::tm civil{};
  ::gmtime_r(&raw, &civil);
  return civil;
}

bool ParseDigits(std::string_view& text, std::size_t count, int& out) {
  if (text.size() < count) return false;
  const auto* end = text.data() + count;
  const auto parsed = std::from_chars(text.data(), end, out);
  if (parsed.ec != std::errc{} || parsed.ptr != end || text.front() == '-') return false;
  text.remove_prefix(count);
  return true;
}

bool Eat(std::string_view& text, char expected) {
  if (text.empty() || text.front() != expected) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

const Clock& SystemClock() {
  static const RealClock clock;
  return clock;
}

std::string FormatTime(TimePoint time) {
  std::int64_t micros = 0;
  const std::tm civil = CivilUtc(time, micros);
  std::array<char, 64> text{};
  const int size = std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", civil.tm_year + 1900,
                                 civil.tm_mon + 1, civil.tm_mday, civil.tm_hour, civil.tm_min, civil.tm_sec,
                                 static_cast<int>(micros));
  return {text.data(), static_cast<std::size_t>(size)};
}

std::string FormatTimeSeconds(TimePoint time) {
  std::string text = FormatTime(time);
  text.replace(19, std::string::npos, "Z");
  return text;
}

Result<TimePoint> ParseTime(std::string_view text) {
  const Error bad = MakeError(Code::kInvalidArgument, "not an RFC 3339 time");
  std::tm civil{};
  const bool date = ParseDigits(text, 4, civil.tm_year) && Eat(text, '-') && ParseDigits(text, 2, civil.tm_mon) &&
                    Eat(text, '-') && ParseDigits(text, 2, civil.tm_mday) && (Eat(text, 'T') || Eat(text, 't'));
  if (!date) return bad;
  const bool day_time = ParseDigits(text, 2, civil.tm_hour) && Eat(text, ':') && ParseDigits(text, 2, civil.tm_min) &&
                        Eat(text, ':') && ParseDigits(text, 2, civil.tm_sec);
  if (!day_time) return bad;
  const std::chrono::year_month_day day(std::chrono::year(civil.tm_year), std::chrono::month(civil.tm_mon),
                                        std::chrono::day(civil.tm_mday));
  if (!day.ok() || civil.tm_hour > 23 || civil.tm_min > 59 || civil.tm_sec > 60) return bad;
  std::int64_t micros = 0;
  if (Eat(text, '.')) {
    std::int64_t scale = 100000;
    if (text.empty() || text.front() < '0' || text.front() > '9') return bad;
    while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
      micros += (text.front() - '0') * scale;
      scale /= 10;
      text.remove_prefix(1);
    }
  }
  int offset_minutes = 0;
  if (!Eat(text, 'Z') && !Eat(text, 'z')) {
    if (text.empty() || (text.front() != '+' && text.front() != '-')) return bad;
    const int sign = text.front() == '-' ? -1 : 1;
    text.remove_prefix(1);
    int hours = 0;
    int minutes = 0;
    if (!ParseDigits(text, 2, hours) || !Eat(text, ':') || !ParseDigits(text, 2, minutes)) return bad;
    if (hours > 23 || minutes > 59) return bad;
    offset_minutes = sign * (hours * 60 + minutes);
  }
  if (!text.empty()) return bad;
  // Offsets and leap seconds may carry a time out of the years that RFC 3339 can write.
  const TimePoint time = std::chrono::sys_days(day) + std::chrono::hours(civil.tm_hour) +
                         std::chrono::minutes(civil.tm_min - offset_minutes) + std::chrono::seconds(civil.tm_sec) +
                         std::chrono::microseconds(micros);
  using std::chrono::January;
  using std::chrono::year;
  if (time < std::chrono::sys_days(year(0) / January / 1) || time >= std::chrono::sys_days(year(10000) / January / 1)) {
    return bad;
  }
  return time;
}

}  // namespace signet::base
