#include "policy/quota.hpp"

#include <gmock/gmock.h>

#include "support/matchers.hpp"

namespace signet::policy {
namespace {

using namespace std::chrono_literals;
using api::Quota;

class QuotaLedgerTest : public ::testing::Test {
 protected:
  struct Hands final : base::Clock {
    [[nodiscard]] base::TimePoint Now() const override { return wall; }
    [[nodiscard]] base::SteadyPoint Steady() const override { return steady; }
    base::TimePoint wall = *base::ParseTime("2026-11-23T23:59:58.000001Z");
    base::SteadyPoint steady = base::SteadyPoint(100s + 250ms);
  };
  bool Take(const Quota& quota, std::string_view principal = "alice", std::string_view policy = "release") {
    return !ledger_.Reserve(policy, quota, principal).has_value();
  }
  base::Duration Wait(const Quota& quota) {
    const auto refused = ledger_.Reserve("release", quota, "alice");
    EXPECT_TRUE(refused && refused->why == QuotaRefusal::Why::kUsedUp);
    return refused ? refused->retry_after : base::Duration(0);
  }
  static Quota PerDay(std::int64_t limit, Quota::Scope scope = Quota::Scope::kPolicy) {
    return {std::nullopt, limit, scope};
  }
  static Quota PerSecond(std::int64_t limit) { return {limit, std::nullopt, Quota::Scope::kPolicy}; }

  Hands clock_;
  QuotaLedger ledger_{clock_};
};

TEST_F(QuotaLedgerTest, CountsEachSecondAnew) {
  EXPECT_TRUE(Take(PerSecond(2)));
  EXPECT_TRUE(Take(PerSecond(2)));
  EXPECT_EQ(Wait(PerSecond(2)), 750ms);
  clock_.steady += 749ms;
  EXPECT_FALSE(Take(PerSecond(2)));
  clock_.steady += 1ms;
  EXPECT_TRUE(Take(PerSecond(2)));
}

TEST_F(QuotaLedgerTest, CountsDaysInUtc) {
  EXPECT_TRUE(Take(PerDay(1)));
  EXPECT_EQ(Wait(PerDay(1)), 1s + 999999us);
  clock_.wall += 1s + 999998us;
  EXPECT_FALSE(Take(PerDay(1)));
  clock_.wall += 1us;
  EXPECT_TRUE(Take(PerDay(1)));
}

TEST_F(QuotaLedgerTest, SharesAPolicysBudgetAmongItsCallers) {
  EXPECT_TRUE(Take(PerDay(2), "alice"));
  EXPECT_TRUE(Take(PerDay(2), "bob"));
  EXPECT_FALSE(Take(PerDay(2), "carol"));
}

TEST_F(QuotaLedgerTest, GivesEachSubjectItsOwnBudget) {
  const auto quota = PerDay(1, Quota::Scope::kSubject);
  EXPECT_TRUE(Take(quota, "alice"));
  EXPECT_TRUE(Take(quota, "bob"));
  EXPECT_FALSE(Take(quota, "alice"));
}

TEST_F(QuotaLedgerTest, KeepsPoliciesApart) {
  EXPECT_TRUE(Take(PerDay(1), "alice", "release"));
  EXPECT_TRUE(Take(PerDay(1), "alice", "nightly"));
  EXPECT_FALSE(Take(PerDay(1), "alice", "release"));
}

TEST_F(QuotaLedgerTest, KeepsBooksOfTodayOnly) {
  const auto days = [this](int count) {
    clock_.wall += count * 24h;
    clock_.steady += count * 24h;
  };
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(Take(PerDay(1), "alice", "gone-" + std::to_string(i)));
  EXPECT_EQ(ledger_.books(), 100U);
  days(1);
  EXPECT_TRUE(Take(PerDay(1)));
  EXPECT_EQ(ledger_.books(), 1U);
  EXPECT_FALSE(Take(PerDay(1)));
  days(-1);
  EXPECT_FALSE(Take(PerDay(1))) << "a clock that was set back gives no budget twice";
}

TEST_F(QuotaLedgerTest, KeepsWhatTheCurrentSecondHasUsedOverMidnight) {
  EXPECT_TRUE(Take(PerSecond(1)));
  clock_.wall += 2s;
  EXPECT_TRUE(Take(PerSecond(1), "alice", "nightly"));
  EXPECT_FALSE(Take(PerSecond(1)));
}

TEST_F(QuotaLedgerTest, ARefusalCostsNothing) {
  const Quota both{1, 2, Quota::Scope::kPolicy};
  EXPECT_TRUE(Take(both));
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(Take(both)) << "this second is spent";
  clock_.steady += 1s;
  EXPECT_TRUE(Take(both)) << "the refusals did not touch the day";
  clock_.steady += 1s;
  EXPECT_EQ(Wait(both), 1s + 999999us) << "now the day is spent";
}

TEST_F(QuotaLedgerTest, RestoresBothScopes) {
  ledger_.Restore("release", "alice", 3);
  ledger_.Restore("release", "bob", 2);
  EXPECT_FALSE(Take(PerDay(5)));
  EXPECT_FALSE(Take(PerDay(3, Quota::Scope::kSubject), "alice"));
  EXPECT_TRUE(Take(PerDay(3, Quota::Scope::kSubject), "bob"));
  EXPECT_FALSE(Take(PerDay(3, Quota::Scope::kSubject), "bob"));
  clock_.wall += 2s;
  EXPECT_TRUE(Take(PerDay(5))) << "yesterday's count ends with the day";
}

TEST_F(QuotaLedgerTest, SurvivesAChangeOfScopeWithinTheDay) {
  EXPECT_TRUE(Take(PerDay(1)));
  EXPECT_FALSE(Take(PerDay(1, Quota::Scope::kSubject))) << "what alice took under scope Policy counts for her";
}

TEST_F(QuotaLedgerTest, GivesNoSecondBudgetWhenTheWallClockIsSetBack) {
  clock_.wall += 2s;
  EXPECT_TRUE(Take(PerDay(1)));
  clock_.wall -= 24h;
  EXPECT_FALSE(Take(PerDay(1)));
  EXPECT_FALSE(Take(PerDay(1, Quota::Scope::kSubject)));
  clock_.wall += 24h;
  EXPECT_FALSE(Take(PerDay(1)));
}

TEST_F(QuotaLedgerTest, LowersAndRaisesWithTheLimit) {
  EXPECT_TRUE(Take(PerDay(1)));
  EXPECT_FALSE(Take(PerDay(1)));
  EXPECT_TRUE(Take(PerDay(2))) << "the policy was edited";
  EXPECT_FALSE(Take(PerDay(1)));
}

}  // namespace
}  // namespace signet::policy
