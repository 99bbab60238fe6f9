#include "reconcile/quota_book.hpp"

#include <gmock/gmock.h>

#include "support/matchers.hpp"

namespace signet::reconcile {
namespace {

using base::Code;
using policy::LeaseAsk;
using ::testing::HasSubstr;
using testing::IsErr;
using testing::IsOk;

constexpr std::int64_t kToday = 20780;

LeaseAsk Ask(std::int64_t used = 0, std::int64_t per_day = 1000) {
  LeaseAsk ask;
  ask.policy = "release";
  ask.day = kToday;
  ask.per_day = per_day;
  ask.used = used;
  return ask;
}

class QuotaBookTest : public ::testing::Test {
 protected:
  /// What `stream` may use in all, after the book has been through its text.
  std::int64_t Lend(const LeaseAsk& ask, const std::string& stream = "a") {
    auto lease = book_.Lend(ask, {stream, "signet-operator-" + stream});
    EXPECT_THAT(lease, IsOk());
    auto again = QuotaBook::Parse(book_.Text("release"));
    EXPECT_THAT(again, IsOk());
    EXPECT_EQ(again->Text("release"), book_.Text("release"));
    book_ = *std::move(again);
    all_lent_ = lease->all_lent;
    return lease->lent;
  }
  QuotaBook book_;
  bool all_lent_ = false;
};

TEST_F(QuotaBookTest, LendsATwentiethInBlocks) {
  EXPECT_EQ(Lend(Ask()), 50);
  EXPECT_EQ(Lend(Ask(), "b"), 50);
  EXPECT_EQ(Lend(Ask(50)), 100);
  EXPECT_FALSE(all_lent_);
}

TEST_F(QuotaBookTest, BlocksHaveALeastAndALargestSize) {
  EXPECT_EQ(Lend(Ask(0, 3)), 1);
  EXPECT_EQ(Lend(Ask(0, 1'000'000'000), "b"), 1000);
}

TEST_F(QuotaBookTest, BlocksShrinkAsTheDaysBudgetEnds) {
  std::int64_t used = 0;
  std::int64_t before = 1000;
  int leases = 0;
  while (!all_lent_) {
    const auto lent = Lend(Ask(used));
    EXPECT_LE(lent - used, before);
    before = lent - used;
    used = lent;
    ++leases;
  }
  EXPECT_EQ(used, 1000);
  EXPECT_EQ(before, 1);
  EXPECT_LT(leases, 50);
}

TEST_F(QuotaBookTest, WhatIsWantedMayBeMoreThanABlock) {
  auto ask = Ask(0, 100);
  ask.wanted = 40;
  EXPECT_EQ(Lend(ask), 40);
  ask.wanted = 80;
  EXPECT_EQ(Lend(ask, "b"), 60);
  EXPECT_TRUE(all_lent_);
}

TEST_F(QuotaBookTest, WhatIsLentAndNotUsedIsStillTheBorrowersAfterARestart) {
  EXPECT_EQ(Lend(Ask()), 50);
  EXPECT_EQ(Lend(Ask(10)), 50) << "enough is left";
}

TEST_F(QuotaBookTest, CountsWhatALostRecordWasLentAsUsed) {
  EXPECT_EQ(Lend(Ask(0, 100), "old"), 5);
  EXPECT_EQ(Lend(Ask(0, 100), "new"), 5);
  auto rest = Ask(5, 100);
  rest.wanted = 1000;
  EXPECT_EQ(Lend(rest, "new"), 95) << "the old record's five are gone";
}

TEST_F(QuotaBookTest, LendsNothingAgainToARecordThatHasForgotten) {
  Lend(Ask(0));
  EXPECT_EQ(Lend(Ask(50)), 100);
  auto forgot = Ask(20);  // a copy from before
  forgot.wanted = 2000;
  EXPECT_EQ(Lend(forgot), 20 + 900) << "a hundred are gone, and may have been signed";
  EXPECT_TRUE(all_lent_);
}

TEST_F(QuotaBookTest, TakesBackWhatIsNotUsedWhenTheLimitIsLowered) {
  EXPECT_EQ(Lend(Ask(0, 1000), "a"), 50);
  EXPECT_EQ(Lend(Ask(0, 1000), "b"), 50);
  EXPECT_EQ(Lend(Ask(10, 60), "a"), 10) << "b still holds fifty";
  EXPECT_TRUE(all_lent_);
  EXPECT_EQ(Lend(Ask(30, 60), "b"), 30 + 3);
  EXPECT_FALSE(all_lent_);
  EXPECT_EQ(Lend(Ask(10, 60), "a"), 10 + 3);
}

TEST_F(QuotaBookTest, CountsWhatWasSignedWithoutALease) {
  EXPECT_EQ(Lend(Ask(80, 100)), 80 + 5) << "before the policy had a quota, or under another scope";
  EXPECT_EQ(Lend(Ask(0, 100), "b"), 3) << "a quarter of what is left";
}

TEST_F(QuotaBookTest, LendsNothingTwiceWhenTheBookWasDeleted) {
  EXPECT_EQ(Lend(Ask(0, 100), "a"), 5);
  book_ = {};
  auto knows = Ask(2, 100);
  knows.lent = 5;
  EXPECT_EQ(Lend(knows, "a"), 5);
  auto all = Ask(0, 100);
  all.wanted = 1000;
  EXPECT_EQ(Lend(all, "b"), 95);
}

TEST_F(QuotaBookTest, KeepsSubjectsApart) {
  auto alice = Ask(0, 2);
  alice.subject = "alice";
  alice.wanted = 5;
  EXPECT_EQ(Lend(alice), 2);
  alice.subject = "bob \"the\" builder\n";
  EXPECT_EQ(Lend(alice), 2);
}

TEST_F(QuotaBookTest, KeepsTwoDaysAndClosesThoseBefore) {
  Lend(Ask());
  auto ask = Ask();
  ask.day = kToday + 1;
  EXPECT_EQ(Lend(ask), 50);
  EXPECT_EQ(Lend(Ask(50)), 100) << "another replica's clock is a little behind";
  ask.day = kToday + 2;
  Lend(ask);
  EXPECT_THAT(book_.Lend(Ask(), {"a", "a"}), IsErr(Code::kUnavailable, "QuotaUnavailable"));
  EXPECT_THAT(book_.Text("release"), ::testing::Not(HasSubstr("2026-11-23")));
}

TEST_F(QuotaBookTest, RefusesWhatItDidNotWrite) {
  EXPECT_THAT(QuotaBook::Parse(""), IsOk());
  for (
      const auto* text : {
          "[]",
          "{}",
          "null",
          "{\"since\":\"yesterday\",\"days\":{}}",
          "{\"since\":\"2026-11-22\",\"days\":[1]}",
          "{\"since\":\"2026-11-22\",\"days\":{\"2026-11-23\":{\"\":{\"a\":{}}}}}",
          R"({"since":"2026-11-22","days":{"2026-11-23":{"":{"a":{"replica":"r","lent":-1,"used":0,"perDay":1}}}}})",
          R"({"since":"2026-11-22","days":{"2026-11-23":{"":{"a":{"replica":"r","lent":"1","used":0,"perDay":1}}}}})",
          R"({"since":"2026-11-22","days":{"2026-11-23":{"":{"a":{"replica":"r","lent":1e300,"used":0,"perDay":1}}}}})",
      }) {
    EXPECT_FALSE(QuotaBook::Parse(text)) << text;
  }
}

}  // namespace
}  // namespace signet::reconcile
