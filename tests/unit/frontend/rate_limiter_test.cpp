#include "frontend/rate_limiter.hpp"

#include <gtest/gtest.h>

#include "fakes/fake_clock.hpp"

namespace signet::frontend {
namespace {

using namespace std::chrono_literals;

class RateLimiterTest : public ::testing::Test {
 protected:
  testing::FakeClock clock_;
  RateLimiter limiter_{{10, 20, 3}, clock_};
};

TEST_F(RateLimiterTest, LetsABurstThroughAndThenTheRate) {
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(limiter_.Take("a", 1)) << i;
  EXPECT_EQ(limiter_.Take("a", 1), 100ms);
  EXPECT_EQ(limiter_.Take("a", 1), 100ms) << "a refusal costs nothing";
  clock_.Advance(100ms);
  EXPECT_FALSE(limiter_.Take("a", 1));
  EXPECT_TRUE(limiter_.Take("a", 1));
  clock_.Advance(1h);
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(limiter_.Take("a", 1)) << i;
  EXPECT_TRUE(limiter_.Take("a", 1)) << "no more than a burst is saved up";
}

TEST_F(RateLimiterTest, CountsEachCallerByItself) {
  EXPECT_FALSE(limiter_.Take("a", 20));
  EXPECT_TRUE(limiter_.Take("a", 1));
  EXPECT_FALSE(limiter_.Take("b", 20));
}

TEST_F(RateLimiterTest, LetsOneLargeBatchThroughAndHasItPaidBack) {
  EXPECT_FALSE(limiter_.Take("a", 120));
  EXPECT_EQ(limiter_.Take("a", 1), 10'100ms) << "100 of debt and one, at 10 a second";
  clock_.Advance(10'100ms);
  EXPECT_FALSE(limiter_.Take("a", 1));
  EXPECT_EQ(limiter_.Take("a", 120), 2s) << "only from a full bucket";
}

TEST_F(RateLimiterTest, ForgetsTheLeastRecentlyUsedCaller) {
  for (const char* name : {"a", "b", "c"}) EXPECT_FALSE(limiter_.Take(name, 20));
  EXPECT_TRUE(limiter_.Take("a", 1));
  EXPECT_FALSE(limiter_.Take("d", 20));
  EXPECT_EQ(limiter_.size(), 3U);
  EXPECT_TRUE(limiter_.Take("a", 1)) << "used a moment ago";
  EXPECT_FALSE(limiter_.Take("b", 20)) << "forgotten";
}

TEST_F(RateLimiterTest, HasNoLimitAtZero) {
  RateLimiter none({0, 0, 3}, clock_);
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(none.Take("a", 256));
  EXPECT_EQ(none.size(), 0U);
}

}  // namespace
}  // namespace signet::frontend
