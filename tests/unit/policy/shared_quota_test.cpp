// A day's budget that is shared: what the ledger asks for, and what it does with the answers.
#include <gmock/gmock.h>

#include <deque>

#include "fakes/fake_clock.hpp"
#include "policy/quota.hpp"

namespace signet::policy {
namespace {

using namespace std::chrono_literals;
using api::Quota;
using Why = QuotaRefusal::Why;

class FakeLender final : public BudgetLender {
 public:
  void Ask(LeaseAsk ask, Done done) override {
    asks.push_back(std::move(ask));
    dones_.push_back(std::move(done));
  }
  /// Of the oldest ask that waits.
  void Answer(const base::Result<Lease>& lease) {
    ASSERT_FALSE(dones_.empty());
    const auto done = std::move(dones_.front());
    dones_.pop_front();
    done(lease);
  }
  [[nodiscard]] std::size_t waiting() const { return dones_.size(); }
  std::vector<LeaseAsk> asks;

 private:
  std::deque<Done> dones_;
};

class SharedQuotaTest : public ::testing::Test {
 protected:
  SharedQuotaTest() { ledger_.ShareThrough(&lender_); }

  std::string Take(const Quota& quota, std::string_view principal = "alice") {
    const auto refused = ledger_.Reserve("release", quota, principal);
    if (!refused) return "taken";
    return refused->why == Why::kUsedUp ? "used up" : refused->why == Why::kWaiting ? "waiting" : "unavailable";
  }
  int TakeAll(const Quota& quota, int most = 10000) {
    int taken = 0;
    while (taken < most && Take(quota) == "taken") ++taken;
    return taken;
  }
  static Quota PerDay(std::int64_t limit, Quota::Scope scope = Quota::Scope::kPolicy) {
    return {std::nullopt, limit, scope};
  }
  static base::Error Down() { return base::MakeError(base::Code::kUnavailable, "QuotaUnavailable", "down"); }

  testing::FakeClock clock_;
  FakeLender lender_;
  QuotaLedger ledger_{clock_};
};

TEST_F(SharedQuotaTest, SignsNothingWithoutALease) {
  ledger_.Restore("release", "alice", 7);
  EXPECT_EQ(Take(PerDay(1000)), "waiting");
  EXPECT_EQ(Take(PerDay(1000)), "waiting");
  ASSERT_EQ(lender_.asks.size(), 1U) << "one question at a time";
  const auto& ask = lender_.asks[0];
  EXPECT_EQ(ask.policy, "release");
  EXPECT_EQ(ask.subject, "");
  EXPECT_EQ(ask.per_day, 1000);
  EXPECT_EQ(ask.used, 7);
  EXPECT_EQ(ask.wanted, 1);
  lender_.Answer(Lease{7 + 3, false});
  EXPECT_EQ(TakeAll(PerDay(1000)), 3) << "what was used before is not had again";
}

TEST_F(SharedQuotaTest, AsksForMoreBeforeTheBlockIsEmptyAndNeverGoesBeyond) {
  Take(PerDay(1000));
  lender_.Answer(Lease{50, false});
  EXPECT_EQ(TakeAll(PerDay(1000), 24), 24);
  EXPECT_EQ(lender_.waiting(), 0U);
  EXPECT_EQ(TakeAll(PerDay(1000), 1), 1);
  ASSERT_EQ(lender_.waiting(), 1U) << "half of it is used";
  EXPECT_EQ(lender_.asks.back().used, 25);
  EXPECT_EQ(lender_.asks.back().wanted, 26);
  EXPECT_EQ(TakeAll(PerDay(1000)), 25) << "meanwhile the rest is used";
  EXPECT_EQ(Take(PerDay(1000)), "waiting");
  lender_.Answer(Lease{100, false});
  EXPECT_EQ(TakeAll(PerDay(1000)), 50);
}

TEST_F(SharedQuotaTest, KeepsSmallBlocksForWhoeverNeedsThem) {
  Take(PerDay(20));
  lender_.Answer(Lease{1, false});
  EXPECT_EQ(Take(PerDay(20)), "taken");
  EXPECT_EQ(lender_.waiting(), 0U);
}

TEST_F(SharedQuotaTest, TellsThoseWhoWaitAndAsksForAllOfThem) {
  int told = 0;
  int taken = 0;
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(Take(PerDay(100)), "waiting");
    EXPECT_TRUE(ledger_.WhenAnswered("release", PerDay(100), "alice", [&] {
      ++told;
      if (Take(PerDay(100)) == "taken") ++taken;
    }));
  }
  EXPECT_EQ(told, 0);
  lender_.Answer(Lease{2, false});
  EXPECT_EQ(told, 5);
  EXPECT_EQ(taken, 2);
  ASSERT_EQ(lender_.waiting(), 1U);
  EXPECT_EQ(lender_.asks.back().wanted, 3);
}

TEST_F(SharedQuotaTest, BoundsWhoWaitsForOneAccount) {
  const auto quota = PerDay(100, Quota::Scope::kSubject);
  EXPECT_EQ(Take(quota), "waiting");
  std::size_t told = 0;
  for (std::size_t i = 0; i < QuotaLedger::kMostWaiting; ++i) {
    ASSERT_TRUE(ledger_.WhenAnswered("release", quota, "alice", [&] { ++told; }));
  }
  EXPECT_FALSE(ledger_.WhenAnswered("release", quota, "alice", [] { FAIL(); }));
  EXPECT_EQ(Take(quota, "bob"), "waiting");
  EXPECT_TRUE(ledger_.WhenAnswered("release", quota, "bob", [] {})) << "each account for itself";
  lender_.Answer(Lease{50, false});
  EXPECT_EQ(told, QuotaLedger::kMostWaiting);
}

TEST_F(SharedQuotaTest, GoesOnWithWhatItHasWhenNobodyLends) {
  Take(PerDay(1000));
  lender_.Answer(Lease{50, false});
  TakeAll(PerDay(1000), 25);
  bool told = false;
  lender_.Answer(Down());
  EXPECT_EQ(TakeAll(PerDay(1000)), 25);
  const auto refused = ledger_.Reserve("release", PerDay(1000), "alice");
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->why, Why::kUnavailable);
  EXPECT_EQ(refused->retry_after, base::Duration(1s));
  EXPECT_EQ(lender_.waiting(), 0U) << "a store that is down is not asked for every call";
  clock_.Advance(1s);
  EXPECT_EQ(Take(PerDay(1000)), "waiting");
  EXPECT_TRUE(ledger_.WhenAnswered("release", PerDay(1000), "alice", [&] { told = true; }));
  lender_.Answer(Down());
  EXPECT_TRUE(told) << "an error is an answer";
  clock_.Advance(1s);
  Take(PerDay(1000));
  lender_.Answer(Lease{51, false});
  EXPECT_EQ(Take(PerDay(1000)), "taken");
}

TEST_F(SharedQuotaTest, IsUsedUpWhenAllIsLentAndLooksAgainNowAndThen) {
  Take(PerDay(10));
  lender_.Answer(Lease{2, true});
  EXPECT_EQ(TakeAll(PerDay(10)), 2);
  const auto refused = ledger_.Reserve("release", PerDay(10), "alice");
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->why, Why::kUsedUp);
  EXPECT_EQ(refused->retry_after, base::Duration(15h)) << "it is nine o'clock";
  EXPECT_EQ(lender_.waiting(), 0U);
  clock_.Advance(1min);
  EXPECT_EQ(Take(PerDay(10)), "used up");
  ASSERT_EQ(lender_.waiting(), 1U);
  lender_.Answer(Lease{4, true});
  EXPECT_EQ(TakeAll(PerDay(10)), 2) << "another replica gave something back";
}

TEST_F(SharedQuotaTest, StopsUsingWhatWasLentUnderAHigherLimit) {
  Take(PerDay(1000));
  lender_.Answer(Lease{50, false});
  EXPECT_EQ(TakeAll(PerDay(1000), 10), 10);
  EXPECT_EQ(Take(PerDay(40)), "waiting");
  EXPECT_EQ(lender_.asks.back().per_day, 40);
  EXPECT_EQ(lender_.asks.back().used, 10);
  EXPECT_LE(lender_.asks.back().lent, 10) << "the rest is given back";
  EXPECT_EQ(Take(PerDay(1000)), "waiting") << "nobody uses it under the old limit, either";
  lender_.Answer(Lease{12, false});
  EXPECT_EQ(TakeAll(PerDay(40)), 2);
}

TEST_F(SharedQuotaTest, UsesItUpUnderALimitThatWasRaised) {
  Take(PerDay(10));
  lender_.Answer(Lease{1, true});
  EXPECT_EQ(Take(PerDay(10)), "taken");
  EXPECT_EQ(Take(PerDay(10)), "used up");
  EXPECT_EQ(Take(PerDay(20)), "waiting");
  lender_.Answer(Lease{2, false});
  EXPECT_EQ(Take(PerDay(20)), "taken");
}

TEST_F(SharedQuotaTest, StartsEveryDayAnew) {
  Take(PerDay(1000));
  lender_.Answer(Lease{50, false});
  TakeAll(PerDay(1000), 3);
  clock_.Advance(15h);
  EXPECT_EQ(Take(PerDay(1000)), "waiting");
  EXPECT_EQ(lender_.asks.back().day, lender_.asks.front().day + 1);
  EXPECT_EQ(lender_.asks.back().used, 0);
  EXPECT_EQ(lender_.asks.back().lent, 0);
  clock_.Advance(24h);
  EXPECT_EQ(Take(PerDay(1000)), "waiting");
  lender_.Answer(Lease{50, false});  // of a day that is over
  EXPECT_EQ(Take(PerDay(1000)), "waiting");
}

TEST_F(SharedQuotaTest, KeepsSubjectsApart) {
  const auto quota = PerDay(1000, Quota::Scope::kSubject);
  EXPECT_EQ(Take(quota, "alice"), "waiting");
  EXPECT_EQ(Take(quota, "bob"), "waiting");
  ASSERT_EQ(lender_.asks.size(), 2U);
  EXPECT_EQ(lender_.asks[0].subject, "alice");
  EXPECT_EQ(lender_.asks[1].subject, "bob");
  lender_.Answer(Lease{1, false});
  EXPECT_EQ(Take(quota, "alice"), "taken");
  EXPECT_EQ(Take(quota, "bob"), "waiting");
}

TEST_F(SharedQuotaTest, LeavesRatesToEachReplica) {
  const Quota rate{1, std::nullopt, Quota::Scope::kPolicy};
  EXPECT_EQ(Take(rate), "taken");
  EXPECT_EQ(Take(rate), "used up");
  EXPECT_TRUE(lender_.asks.empty());
}

TEST_F(SharedQuotaTest, TakesALateAnswerToNobody) {
  {
    QuotaLedger gone(clock_);
    gone.ShareThrough(&lender_);
    gone.Reserve("release", PerDay(10), "alice");
  }
  lender_.Answer(Lease{1, false});
}

}  // namespace
}  // namespace signet::policy
