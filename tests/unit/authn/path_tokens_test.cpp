#include "authn/path_tokens.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "fakes/fake_clock.hpp"

namespace signet::testing {
namespace {

using authn::PathTokens;
using namespace std::chrono_literals;

authn::Sealer SealerOf(std::initializer_list<std::uint8_t> octets) {
  std::vector<base::Secret> keys;
  for (const auto octet : octets) keys.emplace_back(base::Bytes(32, octet));
  return authn::Sealer(std::move(keys));
}

class PathTokensTest : public ::testing::Test {
 protected:
  static constexpr PathTokens::Options kOptions{300s, 30s};

  std::string Choose(PathTokens& tokens, bool renew = false) {
    return tokens.Choose(live_, renew, clock_.Now(), clock_.Steady());
  }
  /// What the leader does, and every other replica sees.
  void Look(bool renew = false) {
    live_ = Choose(leader_, renew);
    leader_.Observe(live_, clock_.Steady());
    other_.Observe(live_, clock_.Steady());
  }
  bool Accepts(PathTokens& tokens, const std::string& token) { return tokens.Accepts(token, clock_.Steady()); }

  FakeClock clock_;
  authn::Sealer sealer_ = SealerOf({1});
  PathTokens leader_{sealer_, kOptions}, other_{sealer_, kOptions};
  std::string live_;
};

TEST_F(PathTokensTest, LiveFiveMinutesAndDieSoonAfterTheyAreReplaced) {
  Look();
  const std::string first = live_;
  EXPECT_EQ(first.size(), PathTokens::kSize);
  clock_.Advance(299s);
  Look();
  EXPECT_EQ(live_, first);
  clock_.Advance(1s);
  Look();
  EXPECT_NE(live_, first);
  for (PathTokens* tokens : {&leader_, &other_}) {
    EXPECT_TRUE(Accepts(*tokens, live_));
    EXPECT_TRUE(Accepts(*tokens, first)) << "API servers learn of the next one by a watch";
  }
  clock_.Advance(30s);
  for (PathTokens* tokens : {&leader_, &other_}) {
    EXPECT_TRUE(Accepts(*tokens, live_));
    EXPECT_FALSE(Accepts(*tokens, first));
  }
}

TEST_F(PathTokensTest, AreReplacedAfterAFailureButNotAtEachOfMany) {
  Look();
  const std::string first = live_;
  clock_.Advance(30s);
  leader_.OnFailure();
  Look();
  const std::string second = live_;
  EXPECT_NE(second, first) << "whoever waited for the failed review may have been shown the path";
  leader_.OnFailure();
  clock_.Advance(29s);
  Look();
  EXPECT_EQ(live_, second) << "the one before has to be out of use first";
  clock_.Advance(1s);
  Look();
  EXPECT_NE(live_, second);
}

TEST_F(PathTokensTest, AReplacedOneThatIsUsedIsAFailure) {
  Look();
  const std::string first = live_;
  clock_.Advance(300s);
  Look();
  const std::string second = live_;
  clock_.Advance(30s);
  EXPECT_FALSE(Accepts(leader_, first));
  Look();
  EXPECT_NE(live_, second);
}

TEST_F(PathTokensTest, GuessesAreNoFailureAndAreRefused) {
  Look();
  clock_.Advance(60s);
  const std::string first = live_;
  for (const std::string& wrong :
       {std::string(), std::string(32, '0'), first.substr(1), first + "0", std::string(first.rbegin(), first.rend()),
        "+" + first.substr(1), std::string(12, 'f') + first.substr(12)}) {
    EXPECT_FALSE(Accepts(leader_, wrong)) << wrong;
  }
  std::string upper = first;
  for (char& c : upper) c = static_cast<char>(std::toupper(c));
  if (upper != first) EXPECT_FALSE(Accepts(leader_, upper));
  Look();
  EXPECT_EQ(live_, first) << "or anybody could have the configurations written for ever";
}

TEST_F(PathTokensTest, TheOneInForceIsAcceptedWhileNobodyCanReplaceIt) {
  Look();
  clock_.Advance(48h);
  EXPECT_TRUE(Accepts(leader_, live_));
  EXPECT_TRUE(Accepts(other_, live_));
}

TEST_F(PathTokensTest, AReplicaAcceptsANewOneBeforeItHasSeenIt) {
  Look();
  clock_.Advance(300s);
  EXPECT_TRUE(Accepts(other_, Choose(leader_)));
}

TEST_F(PathTokensTest, AReplicaThatStartsAcceptsNoneFromLongAgo) {
  Look();
  const std::string first = live_;
  clock_.Advance(300s);
  Look();
  const std::string second = live_;
  clock_.Advance(300s);
  Look();
  PathTokens fresh(sealer_, kOptions);
  fresh.Observe(live_, clock_.Steady());
  EXPECT_TRUE(Accepts(fresh, live_));
  EXPECT_TRUE(Accepts(fresh, second)) << "an API server may not have heard of the last one yet";
  EXPECT_FALSE(Accepts(fresh, first));
}

TEST_F(PathTokensTest, WhoBeginsToLeadReplacesItWhateverItsClockSays) {
  Look();
  const std::string first = live_;
  const std::string next = other_.Choose(first, true, clock_.Now() - 24h, clock_.Steady());
  EXPECT_NE(next, first);
  EXPECT_TRUE(Accepts(leader_, next));
  leader_.Observe(next, clock_.Steady());
  clock_.Advance(30s);
  EXPECT_FALSE(Accepts(leader_, first)) << "a clock that is behind makes no old one";
}

TEST_F(PathTokensTest, WhateverElseIsInTheConfigurationsIsReplaced) {
  Look();
  const std::string first = live_;
  clock_.Advance(300s);
  Look();
  for (const std::string& other : {std::string(), std::string("validate"), std::string(32, 'a'), first}) {
    const std::string next = leader_.Choose(other, false, clock_.Now(), clock_.Steady());
    EXPECT_NE(next, other);
    EXPECT_TRUE(Accepts(leader_, next));
  }
}

TEST_F(PathTokensTest, SurviveARotationOfTheKey) {
  Look();
  auto rotated = SealerOf({2, 1});
  PathTokens tokens(rotated, kOptions);
  EXPECT_TRUE(Accepts(tokens, live_)) << "replicas may differ in the first";
  auto foreign = SealerOf({3});
  PathTokens strangers(foreign, kOptions);
  EXPECT_FALSE(Accepts(strangers, live_));
}

}  // namespace
}  // namespace signet::testing
