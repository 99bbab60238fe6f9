#include "base/clock.hpp"

#include "support/matchers.hpp"

namespace signet::base {
namespace {

using testing::IsErr;

struct TimeCase {
  const char* text;
  const char* utc;  ///< what FormatTime gives back
};

class ParseTimeTest : public ::testing::TestWithParam<TimeCase> {};

TEST_P(ParseTimeTest, ReadsRfc3339) {
  const auto parsed = ParseTime(GetParam().text);
  ASSERT_TRUE(parsed.has_value()) << GetParam().text;
  EXPECT_EQ(FormatTime(*parsed), GetParam().utc);
}

INSTANTIATE_TEST_SUITE_P(Times, ParseTimeTest,
                         ::testing::Values(TimeCase{"2026-11-23T09:00:01Z", "2026-11-23T09:00:01.000000Z"},
                                           TimeCase{"1985-04-12T23:20:50.52Z", "1985-04-12T23:20:50.520000Z"},
                                           TimeCase{"1996-12-19T16:39:57-08:00", "1996-12-20T00:39:57.000000Z"},
                                           TimeCase{"1937-01-01T12:00:27.87+00:20", "1937-01-01T11:40:27.870000Z"},
                                           TimeCase{"2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000Z"},
                                           TimeCase{"2026-11-23t09:00:01.1234567z", "2026-11-23T09:00:01.123456Z"}));

class ParseTimeRefusesTest : public ::testing::TestWithParam<const char*> {};

TEST_P(ParseTimeRefusesTest, WhatIsNoTime) { EXPECT_THAT(ParseTime(GetParam()), IsErr(Code::kInvalidArgument)); }

INSTANTIATE_TEST_SUITE_P(Texts, ParseTimeRefusesTest,
                         ::testing::Values("", "2026", "2026-11-23", "2026-11-23T09:00:01", "2026-13-01T00:00:00Z",
                                           "2026-02-31T00:00:00Z", "2025-02-29T00:00:00Z", "2026-11-23T24:00:00Z",
                                           "2026-11-23T09:00:01.Z", "2026-11-23T09:00:01Zx", "2026-11-23T09:00:01+1:00",
                                           "-026-11-23T09:00:01Z", "2026-11-23 09:00:01Z",
                                           "2026-11-23T09:00:01+24:00"));

TEST(ClockTest, FormatsMetav1TimeInWholeSeconds) {
  EXPECT_EQ(FormatTimeSeconds(*ParseTime("2026-11-23T09:00:01.999Z")), "2026-11-23T09:00:01Z");
}

}  // namespace
}  // namespace signet::base
