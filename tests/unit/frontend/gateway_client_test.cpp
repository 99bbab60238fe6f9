#include "frontend/gateway_client.hpp"

#include "gateway_fixture.hpp"
#include "support/matchers.hpp"

namespace signet::frontend {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;

class GatewayClientTest : public testing::GatewayFixture {};

TEST_F(GatewayClientTest, GivesTheAnswer) {
  Send();
  ASSERT_EQ(upstream_.open.size(), 1U);
  EXPECT_EQ(*upstream_.open.front().attempt.credentials, "Authorization: Bearer good\r\n");
  EXPECT_EQ(upstream_.open.front().attempt.timeout, seconds(2));
  upstream_.Answer(200);
  ASSERT_EQ(outcomes_.size(), 1U);
  EXPECT_EQ(outcomes_[0].response->status, 200);
  EXPECT_TRUE(client_.state().authenticated_once);
}

TEST_F(GatewayClientTest, TakesFinalAnswersAsTheyAre) {
  for (const int status : {400, 403, 404, 409, 413, 422, 429, 500, 501}) {
    Send();
    upstream_.Answer(status);
    EXPECT_EQ(outcomes_.back().response->status, status);
  }
  EXPECT_EQ(upstream_.sent, 9);
}

TEST_F(GatewayClientTest, LeavesAReplicaThatFailsAtOnce) {
  upstream_.replicas = 3;
  Send();
  upstream_.Refuse(1);
  upstream_.Lose(2);
  ASSERT_EQ(upstream_.open.size(), 1U) << "without any time having passed";
  EXPECT_THAT(upstream_.open.front().attempt.tried, ElementsAre(1U, 2U));
  upstream_.Answer(503, 3, "2");
  EXPECT_TRUE(upstream_.open.empty()) << "all have been asked";
  Advance(milliseconds(1999));
  EXPECT_TRUE(upstream_.open.empty());
  Advance(milliseconds(500));
  ASSERT_EQ(upstream_.open.size(), 1U);
  upstream_.Answer(200, 1);
  EXPECT_EQ(outcomes_[0].response->status, 200);
}

TEST_F(GatewayClientTest, AsksALoneReplicaAgainWithGrowingPauses) {
  Send();
  std::vector<std::int64_t> pauses;
  while (outcomes_.empty()) {
    ASSERT_FALSE(upstream_.open.empty());
    upstream_.Refuse();
    std::int64_t waited = 0;
    while (upstream_.open.empty() && outcomes_.empty()) {
      Advance(milliseconds(1));
      ++waited;
    }
    pauses.push_back(waited);
  }
  EXPECT_GE(pauses.front(), 25);
  EXPECT_LE(pauses.front(), 51);
  EXPECT_GE(pauses[6], 500);
  EXPECT_LE(pauses[6], 1001);
  EXPECT_LT(pauses.size(), 30U);
  EXPECT_EQ(outcomes_[0].error.reason, "ConnectionFailed");
  EXPECT_FALSE(outcomes_[0].response.has_value());
  EXPECT_FALSE(outcomes_[0].sent);
}

TEST_F(GatewayClientTest, RepeatsALostAnswerAtOnceOnlyOnce) {
  Send();
  upstream_.Lose();
  ASSERT_EQ(upstream_.open.size(), 1U);
  EXPECT_GT(upstream_.open.front().attempt.proven_since, base::SteadyPoint{}) << "idle connections may be dead, too";
  upstream_.Lose();
  EXPECT_TRUE(upstream_.open.empty());
  Advance(milliseconds(200));
  ASSERT_EQ(upstream_.open.size(), 1U);
  upstream_.Answer(200);
  EXPECT_EQ(outcomes_[0].response->status, 200);
  EXPECT_TRUE(outcomes_[0].sent);
}

TEST_F(GatewayClientTest, BoundsAttemptsByWhatTimeIsLeft) {
  Send();
  for (int i = 0; i < 4; ++i) {
    Advance(seconds(2));
    upstream_.TimeOut();
    ASSERT_EQ(upstream_.open.size(), 1U) << i;
  }
  EXPECT_EQ(upstream_.open.front().attempt.timeout, seconds(2));
  EXPECT_FALSE(upstream_.open.front().attempt.cut_short);
  Advance(milliseconds(1500));
  upstream_.Lose();
  ASSERT_EQ(upstream_.open.size(), 1U);
  EXPECT_EQ(upstream_.open.front().attempt.timeout, milliseconds(500));
  EXPECT_TRUE(upstream_.open.front().attempt.cut_short);
  Advance(milliseconds(500));
  upstream_.TimeOut();
  ASSERT_EQ(outcomes_.size(), 1U);
  EXPECT_TRUE(outcomes_[0].sent);
  EXPECT_EQ(outcomes_[0].error.reason, "ConnectionLost") << "that the last attempt had no time left explains nothing";
  EXPECT_EQ(client_.state().problem.reason, "ConnectionLost");
}

TEST_F(GatewayClientTest, DoesNotCallAnAttemptCutShortThatHasMostOfItsTime) {
  Send();
  for (int i = 0; i < 4; ++i) {
    Advance(seconds(2));
    upstream_.TimeOut();
  }
  Advance(milliseconds(1));
  upstream_.Lose();
  ASSERT_EQ(upstream_.open.size(), 1U);
  EXPECT_EQ(upstream_.open.front().attempt.timeout, milliseconds(1999));
  EXPECT_FALSE(upstream_.open.front().attempt.cut_short);
}

TEST_F(GatewayClientTest, DoesNotWaitLongerThanThereIsTime) {
  Send();
  upstream_.Answer(503, 1, "30");
  reactor_.RunReady();
  ASSERT_EQ(outcomes_.size(), 1U);
  EXPECT_EQ(outcomes_[0].response->status, 503);
}

TEST_F(GatewayClientTest, NeverAsksEarlierThanRetryAfter) {
  for (int i = 0; i < 50; ++i) {
    Send();
    upstream_.Answer(503, 1, "1");
    Advance(milliseconds(999));
    ASSERT_TRUE(upstream_.open.empty());
    Advance(milliseconds(300));
    ASSERT_EQ(upstream_.open.size(), 1U);
    upstream_.Answer(200);
  }
}

TEST_F(GatewayClientTest, RepeatsAnUnknownOutcomeOnce) {
  Send();
  upstream_.Answer(504);
  Advance(milliseconds(100));
  upstream_.Answer(504);
  ASSERT_EQ(outcomes_.size(), 1U);
  EXPECT_EQ(outcomes_[0].response->status, 504);
}

TEST_F(GatewayClientTest, ShowsTheTokenOnceMoreAfterItHasBeenReadAgain) {
  Send();
  folder_.Write("token", "next");
  upstream_.Answer(401);
  ASSERT_EQ(upstream_.open.size(), 1U);
  EXPECT_EQ(*upstream_.open.front().attempt.credentials, "Authorization: Bearer next\r\n");
  EXPECT_FALSE(client_.state().authenticated);
  upstream_.Answer(401);
  ASSERT_EQ(outcomes_.size(), 1U);
  EXPECT_EQ(outcomes_[0].response->status, 401);
}

TEST_F(GatewayClientTest, WaitsForAToken) {
  std::filesystem::remove(folder_.path() / "token");
  Send();
  EXPECT_EQ(upstream_.sent, 0);
  EXPECT_EQ(client_.state().problem.reason, "TokenMissing");
  Advance(seconds(3));
  folder_.Write("token", "late");
  Advance(seconds(3));
  ASSERT_EQ(upstream_.open.size(), 1U);
  upstream_.Answer(200);
  EXPECT_EQ(outcomes_[0].response->status, 200);
  EXPECT_TRUE(client_.state().problem.message.empty());
}

TEST_F(GatewayClientTest, AsksOnceForProbes) {
  for (const bool answer : {true, false}) {
    GatewayClient::Call call;
    call.once = true;
    upstream_.replicas = 2;
    Send(std::move(call));
    if (answer) {
      upstream_.Answer(503);
    } else {
      upstream_.Lose();
    }
    reactor_.RunReady();
    EXPECT_TRUE(upstream_.open.empty());
  }
  EXPECT_EQ(outcomes_.size(), 2U);
}

TEST_F(GatewayClientTest, StopsWhenNobodyWaitsAnyMore) {
  struct Link final : http::ClientLink {
    [[nodiscard]] bool gone() const override { return left; }
    bool left = false;
  };
  const auto link = std::make_shared<Link>();
  GatewayClient::Call call;
  call.client = link;
  Send(std::move(call));
  upstream_.Answer(503, 1, "1");
  link->left = true;
  Advance(seconds(2));
  EXPECT_TRUE(upstream_.open.empty());
  EXPECT_EQ(outcomes_.size(), 1U);
}

TEST_F(GatewayClientTest, OnlySuccessProvesTheToken) {
  for (const int status : {429, 400, 403, 503}) {
    Send();
    upstream_.Answer(status, 1, "60");
    reactor_.RunReady();
    EXPECT_FALSE(client_.state().authenticated_once) << status;
  }
  EXPECT_EQ(client_.state().problem.reason, "GatewayNotReady");
}

TEST(RetryAfterTest, ReadsSecondsAlone) {
  const auto read = [](std::string value) { return RetryAfter({503, "", "", {{"Retry-After", std::move(value)}}}); };
  EXPECT_EQ(read("7"), seconds(7));
  EXPECT_EQ(read("0"), seconds(0));
  for (const char* none : {"", "-1", "7s", "Wed, 21 Oct 2026 07:28:00 GMT", "99999999999"})
    EXPECT_EQ(read(none), std::nullopt);
}

}  // namespace
}  // namespace signet::frontend
