#include "frontend/idempotency.hpp"

#include <gtest/gtest.h>

#include "fakes/fake_clock.hpp"

namespace signet::frontend {
namespace {

using Verdict = IdempotencyCache::Verdict;

class IdempotencyCacheTest : public ::testing::Test {
 protected:
  Verdict Begin(const std::string& key, std::uint8_t body = 1) {
    const auto found = cache_.Begin(key, {body});
    if (found.verdict == Verdict::kDone) got_.push_back(found.kept->response);
    if (found.verdict == Verdict::kInWork) {
      cache_.Wait(key, [this](const IdempotencyCache::KeptPtr& kept) { got_.push_back(kept->response); });
    }
    return found.verdict;
  }
  void Finish(const std::string& key, int status) { cache_.Finish(key, {{status, "text/plain", key, {}}, {}}); }

  testing::FakeClock clock_;
  IdempotencyCache cache_{{3, std::chrono::seconds(600), 2}, clock_};
  std::vector<http::Response> got_;
};

TEST_F(IdempotencyCacheTest, KeepsSuccessesForTheirTime) {
  EXPECT_EQ(Begin("k"), Verdict::kFirst);
  Finish("k", 200);
  clock_.Advance(std::chrono::seconds(599));
  EXPECT_EQ(Begin("k"), Verdict::kDone);
  ASSERT_EQ(got_.size(), 1U);
  EXPECT_EQ(got_[0].body, "k");
  EXPECT_EQ(Begin("k", 2), Verdict::kConflict);
  clock_.Advance(std::chrono::seconds(1));
  EXPECT_EQ(Begin("k", 2), Verdict::kFirst);
}

TEST_F(IdempotencyCacheTest, HoldsSoManyOctets) {
  IdempotencyCache cache({100, std::chrono::seconds(600), 2, 10}, clock_);
  for (const char* key : {"a", "b", "c"}) {
    EXPECT_EQ(cache.Begin(key, {1}).verdict, Verdict::kFirst);
    cache.Finish(key, {{200, "text/plain", "4444", {}}, {}});
  }
  EXPECT_EQ(cache.size(), 2U);
  EXPECT_EQ(cache.Begin("c", {1}).verdict, Verdict::kDone);
  EXPECT_EQ(cache.Begin("a", {1}).verdict, Verdict::kFirst);
}

TEST_F(IdempotencyCacheTest, ForgetsRefusals) {
  EXPECT_EQ(Begin("k"), Verdict::kFirst);
  EXPECT_EQ(Begin("k"), Verdict::kInWork);
  Finish("k", 503);
  ASSERT_EQ(got_.size(), 1U);
  EXPECT_EQ(got_[0].status, 503);
  EXPECT_EQ(cache_.size(), 0U);
  EXPECT_EQ(Begin("k", 2), Verdict::kFirst);
}

TEST_F(IdempotencyCacheTest, HoldsTheOldestNoLonger) {
  for (const char* key : {"a", "b", "c", "d"}) {
    EXPECT_EQ(Begin(key), Verdict::kFirst);
    Finish(key, 200);
  }
  EXPECT_EQ(cache_.size(), 3U);
  EXPECT_EQ(Begin("b"), Verdict::kDone);
  EXPECT_EQ(Begin("a"), Verdict::kFirst);
}

TEST_F(IdempotencyCacheTest, NeverDropsWhatIsInWork) {
  EXPECT_EQ(Begin("slow"), Verdict::kFirst);
  for (const char* key : {"a", "b", "c", "d", "e"}) {
    EXPECT_EQ(Begin(key), Verdict::kFirst);
    Finish(key, 200);
  }
  clock_.Advance(std::chrono::hours(1));
  EXPECT_EQ(Begin("slow"), Verdict::kInWork);
  EXPECT_EQ(Begin("slow", 2), Verdict::kConflict);
}

TEST_F(IdempotencyCacheTest, BoundsThoseWhoWait) {
  EXPECT_EQ(Begin("k"), Verdict::kFirst);
  EXPECT_EQ(Begin("k"), Verdict::kInWork);
  EXPECT_EQ(Begin("k"), Verdict::kInWork);
  EXPECT_EQ(Begin("k"), Verdict::kTooMany);
  Finish("k", 200);
  EXPECT_EQ(got_.size(), 2U);
}

TEST_F(IdempotencyCacheTest, KeysOfDifferentOwnersNeverMeet) {
  EXPECT_NE(IdempotencyCache::Key("a", "bc", "d"), IdempotencyCache::Key("ab", "c", "d"));
  EXPECT_NE(IdempotencyCache::Key("a", "b", "cd"), IdempotencyCache::Key("a", "bc", "d"));
  EXPECT_NE(IdempotencyCache::Key("1:a", "", ""), IdempotencyCache::Key("", "", "1:a"));
}

}  // namespace
}  // namespace signet::frontend
