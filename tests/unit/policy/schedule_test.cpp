#include "policy/schedule.hpp"

#include <cstdlib>
#include <ctime>
#include <random>

#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::policy {
namespace {

using base::TimePoint;
using testing::IsErr;
using testing::IsOk;

TimePoint At(std::string_view text) { return *base::ParseTime(text); }

/// days as 0 = Sunday; times as minutes.
api::Window Window(std::vector<int> days, int from_hour, int from_minute, int to_hour, int to_minute,
                   std::string zone = "Europe/Berlin") {
  return {std::move(days), {from_hour * 60 + from_minute}, {to_hour * 60 + to_minute}, std::move(zone)};
}
Schedule Make(std::vector<api::Window> windows) {
  auto schedule = Schedule::Compile(windows);
  EXPECT_THAT(schedule, IsOk());
  return schedule ? std::move(*schedule) : Schedule();
}

struct Case {
  const char* what;
  api::Window window;
  const char* opens;   ///< the first open instant
  const char* closes;  ///< the first closed instant after it; nullptr: the window is empty on that day
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.what; }

class ScheduleTest : public ::testing::TestWithParam<Case> {};

TEST_P(ScheduleTest, OpensAndClosesOnTheInstant) {
  const Case& c = GetParam();
  const Schedule schedule = Make({c.window});
  const auto tick = std::chrono::microseconds(1);
  const auto opens = At(c.opens);
  EXPECT_FALSE(schedule.IsOpen(opens - tick));
  if (c.closes == nullptr) {
    EXPECT_FALSE(schedule.IsOpen(opens));
    EXPECT_FALSE(schedule.IsOpen(opens + tick));
    return;
  }
  const auto closes = At(c.closes);
  EXPECT_TRUE(schedule.IsOpen(opens));
  EXPECT_TRUE(schedule.IsOpen(opens + (closes - opens) / 2));
  EXPECT_TRUE(schedule.IsOpen(closes - tick));
  EXPECT_FALSE(schedule.IsOpen(closes));
  EXPECT_FALSE(schedule.IsOpen(closes + std::chrono::minutes(29)));
  EXPECT_EQ(schedule.NextOpening(opens - tick), opens);
}

constexpr int kSun = 0, kMon = 1, kFri = 5, kSat = 6;

INSTANTIATE_TEST_SUITE_P(
    OrdinaryDays, ScheduleTest,
    ::testing::Values(
        Case{"winter", Window({kMon}, 9, 0, 17, 0), "2026-11-23T08:00:00Z", "2026-11-23T16:00:00Z"},
        Case{"summer", Window({kMon}, 9, 0, 17, 0), "2026-07-20T07:00:00Z", "2026-07-20T15:00:00Z"},
        Case{"utc by default", Window({kMon}, 9, 0, 17, 0, ""), "2026-11-23T09:00:00Z", "2026-11-23T17:00:00Z"},
        Case{"until midnight", Window({kMon}, 18, 0, 24, 0), "2026-11-23T17:00:00Z", "2026-11-23T23:00:00Z"},
        Case{"overnight belongs to its start day", Window({kFri}, 22, 0, 6, 0), "2026-11-27T21:00:00Z",
             "2026-11-28T05:00:00Z"},
        Case{"midnight to midnight", Window({kMon}, 0, 0, 0, 0), "2026-11-22T23:00:00Z", "2026-11-23T23:00:00Z"},
        Case{"24 hours from noon", Window({kMon}, 12, 0, 12, 0), "2026-11-23T11:00:00Z", "2026-11-24T11:00:00Z"},
        Case{"saturday into sunday", Window({kSat}, 23, 30, 0, 30), "2026-11-28T22:30:00Z", "2026-11-28T23:30:00Z"},
        Case{"quarter-hour offset", Window({kMon}, 9, 0, 17, 0, "Asia/Kathmandu"), "2026-11-23T03:15:00Z",
             "2026-11-23T11:15:00Z"},
        Case{"west of Greenwich", Window({kSun}, 22, 0, 23, 0, "America/Los_Angeles"), "2026-11-23T06:00:00Z",
             "2026-11-23T07:00:00Z"},
        Case{"far east", Window({kMon}, 0, 0, 1, 0, "Pacific/Kiritimati"), "2026-11-22T10:00:00Z",
             "2026-11-22T11:00:00Z"}));

// Sunday 2026-03-29, Berlin: 02:00 CET becomes 03:00 CEST at 01:00Z; 02:00-02:59 do not exist.
INSTANTIATE_TEST_SUITE_P(
    ClocksGoForward, ScheduleTest,
    ::testing::Values(
        Case{"around the gap", Window({kSun}, 1, 0, 4, 0), "2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z"},
        Case{"start in the gap", Window({kSun}, 2, 30, 4, 0), "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"},
        Case{"end in the gap", Window({kSun}, 1, 0, 2, 30), "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"},
        Case{"from the change on", Window({kSun}, 3, 0, 4, 0), "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"},
        Case{"until the change", Window({kSun}, 1, 0, 2, 0), "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"},
        Case{"all in the gap", Window({kSun}, 2, 15, 2, 45), "2026-03-29T01:00:00Z", nullptr},
        Case{"exactly the gap", Window({kSun}, 2, 0, 3, 0), "2026-03-29T01:00:00Z", nullptr},
        Case{"overnight, an hour shorter", Window({kSat}, 22, 0, 6, 0), "2026-03-28T21:00:00Z", "2026-03-29T04:00:00Z"},
        Case{"overnight, ends in the gap", Window({kSat}, 22, 0, 2, 30), "2026-03-28T21:00:00Z",
             "2026-03-29T01:00:00Z"},
        Case{"a day of 23 hours", Window({kSun}, 0, 0, 24, 0), "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"},
        Case{"gap at midnight", Window({kSun}, 0, 0, 2, 0, "America/Havana"), "2026-03-08T05:00:00Z",
             "2026-03-08T06:00:00Z"}));

// Sunday 2026-10-25, Berlin: 03:00 CEST becomes 02:00 CET at 01:00Z; 02:00-02:59 come twice, at 00:00Z and 01:00Z.
INSTANTIATE_TEST_SUITE_P(
    ClocksGoBack, ScheduleTest,
    ::testing::Values(
        Case{"around the change", Window({kSun}, 1, 0, 4, 0), "2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z"},
        Case{"starts the first time", Window({kSun}, 2, 30, 4, 0), "2026-10-25T00:30:00Z", "2026-10-25T03:00:00Z"},
        Case{"ends the first time", Window({kSun}, 1, 0, 2, 30), "2026-10-24T23:00:00Z", "2026-10-25T00:30:00Z"},
        Case{"within the hour: once", Window({kSun}, 2, 15, 2, 45), "2026-10-25T00:15:00Z", "2026-10-25T00:45:00Z"},
        Case{"the whole hour: both times", Window({kSun}, 2, 0, 3, 0), "2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z"},
        Case{"overnight, an hour longer", Window({kSat}, 22, 0, 6, 0), "2026-10-24T20:00:00Z", "2026-10-25T05:00:00Z"},
        Case{"overnight, ends the first time", Window({kSat}, 22, 0, 2, 30), "2026-10-24T20:00:00Z",
             "2026-10-25T00:30:00Z"},
        Case{"a day of 25 hours", Window({kSun}, 0, 0, 24, 0), "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
        Case{"half an hour back", Window({kSun}, 1, 30, 2, 0, "Australia/Lord_Howe"), "2026-04-04T14:30:00Z",
             "2026-04-04T15:30:00Z"}));

// Saturday 2006-10-28, St. John's: 00:01 of Sunday becomes 23:01 of Saturday at 02:31Z.
INSTANTIATE_TEST_SUITE_P(ClocksGoBackOverMidnight, ScheduleTest,
                         ::testing::Values(Case{"begins before the change, on the day after",
                                                Window({kSun}, 0, 0, 0, 30, "America/St_Johns"), "2006-10-29T02:30:00Z",
                                                "2006-10-29T04:00:00Z"},
                                           Case{"until the first midnight",
                                                Window({kSat}, 22, 0, 24, 0, "America/St_Johns"),
                                                "2006-10-29T00:30:00Z", "2006-10-29T02:30:00Z"}));

TEST(ScheduleCompileTest, StaysClosedTheSecondTimeAnHourComes) {
  for (const auto& window : {Window({kSun}, 1, 0, 2, 30), Window({kSun}, 2, 15, 2, 45), Window({kSat}, 22, 0, 2, 30)}) {
    const Schedule schedule = Make({window});
    EXPECT_TRUE(schedule.IsOpen(At("2026-10-25T00:20:00Z"))) << "02:20 in summer time";
    EXPECT_FALSE(schedule.IsOpen(At("2026-10-25T01:20:00Z"))) << "02:20 in winter time";
  }
}

TEST(ScheduleCompileTest, StaysClosedInTheMorningBeforeItsStartDay) {
  const Schedule schedule = Make({Window({kFri}, 22, 0, 6, 0)});
  EXPECT_FALSE(schedule.IsOpen(At("2026-11-27T04:00:00Z"))) << "Friday 05:00 belongs to Thursday's night";
  EXPECT_TRUE(schedule.IsOpen(At("2026-11-28T04:00:00Z")));
}

TEST(ScheduleCompileTest, IsAlwaysOpenWithoutWindows) { EXPECT_TRUE(Make({}).IsOpen(At("2026-11-23T09:00:00Z"))); }

TEST(ScheduleCompileTest, IsOpenWhenOneWindowIs) {
  const Schedule schedule = Make({Window({kMon}, 9, 0, 10, 0), Window({}, 12, 0, 13, 0, "America/New_York")});
  EXPECT_TRUE(schedule.IsOpen(At("2026-11-23T08:30:00Z")));
  EXPECT_FALSE(schedule.IsOpen(At("2026-11-24T08:30:00Z")));
  EXPECT_TRUE(schedule.IsOpen(At("2026-11-24T17:30:00Z")));
}

TEST(ScheduleCompileTest, RefusesZonesThatTheSystemDoesNotKnow) {
  for (const char* zone : {"Europe/Atlantis", "CEST/CET", "right/Europe/Berlin", "posix/Europe/Berlin", "localtime",
                           "tzdata", "europe/berlin"}) {
    const auto schedule = Schedule::Compile({Window({}, 0, 0, 1, 0), Window({}, 0, 0, 1, 0, zone)});
    ASSERT_THAT(schedule, IsErr(base::Code::kInvalidArgument, "Invalid")) << zone;
    EXPECT_THAT(schedule.error().message, ::testing::HasSubstr("spec.windows[1].timeZone")) << zone;
  }
}

TEST(ScheduleNextOpeningTest, NamesTheNearestStart) {
  const Schedule schedule = Make({Window({kMon}, 9, 0, 17, 0), Window({kFri}, 22, 0, 6, 0)});
  EXPECT_EQ(schedule.NextOpening(At("2026-11-23T16:00:00Z")), At("2026-11-27T21:00:00Z"));
  EXPECT_EQ(schedule.NextOpening(At("2026-11-28T05:00:00Z")), At("2026-11-30T08:00:00Z"));
  EXPECT_EQ(schedule.NextOpening(At("2026-11-23T07:59:59Z")), At("2026-11-23T08:00:00Z"));
}

TEST(ScheduleNextOpeningTest, PassesOverAnEmptyWindow) {
  const Schedule schedule = Make({Window({kSun}, 2, 15, 2, 45)});
  EXPECT_EQ(schedule.NextOpening(At("2026-03-28T12:00:00Z")), At("2026-04-05T00:15:00Z"));
}

TEST(ScheduleNextOpeningTest, CountsInTheTimeOfThatDay) {
  const Schedule schedule = Make({Window({kMon}, 9, 0, 17, 0)});
  EXPECT_EQ(schedule.NextOpening(At("2026-03-27T12:00:00Z")), At("2026-03-30T07:00:00Z")) << "CEST from Sunday on";
  EXPECT_EQ(schedule.NextOpening(At("2026-10-23T12:00:00Z")), At("2026-10-26T08:00:00Z")) << "CET again";
}

/// The clock of a zone as the C library knows it, which shares no code with the schedule.
class WallClock {
 public:
  explicit WallClock(const std::string& zone) {
    ::setenv("TZ", zone.c_str(), 1);
    ::tzset();
  }
  WallClock(const WallClock&) = delete;
  WallClock& operator=(const WallClock&) = delete;
  ~WallClock() {
    ::unsetenv("TZ");
    ::tzset();
  }

  /// Seconds since 1970 as if the wall clock were UTC.
  static std::time_t Shown(std::time_t at) { return at + Offset(at); }
  /// The first instant at which the clock shows `local` or, where it never does, that of the change.
  static std::time_t First(std::time_t local) {
    constexpr std::time_t kDay = 86400;
    std::time_t before = local - 2 * kDay;
    std::time_t after = local + 2 * kDay;
    for (const long offset : {std::max(Offset(before), Offset(after)), std::min(Offset(before), Offset(after))}) {
      if (Shown(local - offset) == local) return local - offset;
    }
    while (after - before > 1) {
      const std::time_t middle = before + (after - before) / 2;
      (Shown(middle) < local ? before : after) = middle;
    }
    return after;
  }

 private:
  static long Offset(std::time_t at) {
    std::tm parts{};
    ::localtime_r(&at, &parts);
    return parts.tm_gmtoff;
  }
};

TimePoint FromSeconds(std::time_t at) { return TimePoint(std::chrono::seconds(at)); }

/// The rule as it is written in the header, without any shortcut.
bool IsOpenByTheBook(const api::Window& window, TimePoint now) {
  constexpr std::time_t kDay = 86400;
  const WallClock clock(window.time_zone);
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now).time_since_epoch().count();
  const std::time_t today = WallClock::Shown(seconds) / kDay * kDay;
  for (std::time_t day = today - 3 * kDay; day <= today + 3 * kDay; day += kDay) {
    const int weekday = static_cast<int>((day / kDay + 4) % 7);  // 1970 began on a Thursday
    const bool starts =
        window.days.empty() || std::find(window.days.begin(), window.days.end(), weekday) != window.days.end();
    if (!starts) continue;
    const std::time_t last = window.to.minutes <= window.from.minutes ? day + kDay : day;
    const auto begin = FromSeconds(WallClock::First(day + window.from.minutes * 60));
    const auto end = FromSeconds(WallClock::First(last + window.to.minutes * 60));
    if (begin <= now && now < end) return true;
  }
  return false;
}

TEST(SchedulePropertyTest, AgreesWithTheBookAroundClockChanges) {
  std::mt19937 random(20261025);
  const std::vector<std::string> zones = {"Europe/Berlin",       "America/New_York",  "America/Havana",
                                          "Australia/Lord_Howe", "America/St_Johns",  "Asia/Kolkata",
                                          "Africa/Casablanca",   "America/Sao_Paulo", "Pacific/Apia"};
  const std::vector<TimePoint> near = {At("2026-03-29T01:00:00Z"), At("2026-10-25T01:00:00Z"),
                                       At("2026-03-08T06:00:00Z"), At("2026-11-01T05:00:00Z"),
                                       At("2006-10-29T02:31:00Z"), At("2011-12-30T10:00:00Z")};
  int open = 0;
  for (int i = 0; i < 20000; ++i) {
    api::Window window;
    window.time_zone = zones[random() % zones.size()];
    // Half of the windows begin and end within the hours in which clocks change, half of the instants lie there.
    const bool small_hours = random() % 2 == 0;
    window.from.minutes = static_cast<int>(random() % (small_hours ? 240 : 1440));
    window.to.minutes = static_cast<int>(random() % (small_hours ? 240 : 1441));
    for (int day = 0; day < 7; ++day) {
      if (random() % 2 == 0) window.days.push_back(day);
    }
    const int reach = random() % 2 == 0 ? 7200 : 200000;
    const auto now =
        near[random() % near.size()] + std::chrono::seconds(static_cast<int>(random() % (2 * reach)) - reach);
    const bool expected = IsOpenByTheBook(window, now);
    open += expected ? 1 : 0;
    ASSERT_EQ(Make({window}).IsOpen(now), expected) << window.time_zone << " " << window.from.minutes << "-"
                                                    << window.to.minutes << " at " << base::FormatTime(now);
  }
  EXPECT_GT(open, 2000);
}

// zic writes all transitions until 2037 into a fat file; a slim one ends with the last change of the rule, and its
// footer (RFC 8536 section 3.3) says what comes after. Both forms are in use, and beyond 2037 both have the footer
// alone.
class ZoneFileTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string command = std::string("PATH=$PATH:/usr/sbin zic -b ") + GetParam() + " -d " +
                                (folder_.path() / GetParam()).string() + " /usr/share/zoneinfo/tzdata.zi 2>&1";
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
    ::setenv("TZDIR", folder_.path().c_str(), 1);
  }
  void TearDown() override { ::unsetenv("TZDIR"); }

  testing::TempFolder folder_;
};
INSTANTIATE_TEST_SUITE_P(Forms, ZoneFileTest, ::testing::Values("slim", "fat"),
                         [](const auto& row) { return std::string(row.param); });

TEST_P(ZoneFileTest, OpensByTheWallClockInSummerAndWinterUntil2045) {
  for (const std::string zone : {"Europe/Berlin", "Europe/Dublin", "America/New_York", "America/Santiago",
                                 "America/Nuuk", "Australia/Sydney", "Pacific/Auckland", "Asia/Kolkata"}) {
    const std::string name = std::string(GetParam()) + "/" + zone;
    const Schedule schedule = Make({Window({}, 9, 0, 17, 0, name)});
    const WallClock clock((folder_.path() / name).string());
    for (std::time_t day = 1767225600; day < 2398377600; day += 86400 * 7) {  // 2026 to 2045, week by week
      const auto opens = FromSeconds(WallClock::First(day + 9 * 3600));
      const auto closes = FromSeconds(WallClock::First(day + 17 * 3600));
      ASSERT_FALSE(schedule.IsOpen(opens - std::chrono::seconds(1))) << name << " " << base::FormatTime(opens);
      ASSERT_TRUE(schedule.IsOpen(opens)) << name << " " << base::FormatTime(opens);
      ASSERT_TRUE(schedule.IsOpen(closes - std::chrono::seconds(1))) << name << " " << base::FormatTime(closes);
      ASSERT_FALSE(schedule.IsOpen(closes)) << name << " " << base::FormatTime(closes);
      ASSERT_EQ(schedule.NextOpening(opens - std::chrono::seconds(1)), opens) << name;
    }
  }
}

TEST_P(ZoneFileTest, OpensInBerlinAtTheHoursThatTheLawSays) {
  const Schedule schedule = Make({Window({}, 9, 0, 17, 0, std::string(GetParam()) + "/Europe/Berlin")});
  for (const int year : {2026, 2030, 2037, 2038, 2045}) {
    const auto at = [year](const char* rest) { return At(std::to_string(year) + rest); };
    EXPECT_FALSE(schedule.IsOpen(at("-01-15T07:59:59Z"))) << year;
    EXPECT_TRUE(schedule.IsOpen(at("-01-15T08:00:00Z"))) << year;
    EXPECT_FALSE(schedule.IsOpen(at("-07-15T06:59:59Z"))) << year;
    EXPECT_TRUE(schedule.IsOpen(at("-07-15T07:00:00Z"))) << year;
  }
}

}  // namespace
}  // namespace signet::policy
