#include "authn/token_reviewer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>
#include <vector>

#include "authn/pod_facts.hpp"
#include "fakes/fake_clock.hpp"
#include "fakes/fake_store.hpp"
#include "fakes/manual_reactor.hpp"
#include "fakes/tokens.hpp"
#include "support/matchers.hpp"

namespace signet::testing {
namespace {

using authn::Errands;
using authn::ReviewedPod;
using authn::TokenReviewer;
using base::Code;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using namespace std::chrono_literals;

class TokenReviewerTest : public ::testing::Test {
 protected:
  TokenReviewerTest() {
    store_.set_review([this](const json& question) -> base::Result<json> {
      const std::lock_guard lock(mutex_);
      questions_.push_back(question);
      if (review_.is_null()) return base::MakeError(Code::kUnavailable, "no connection");
      return review_;
    });
  }
  ~TokenReviewerTest() override { errands_.Stop(); }

  void Answers(json review) {
    const std::lock_guard lock(mutex_);
    review_ = std::move(review);
  }
  std::size_t Questions() {
    const std::lock_guard lock(mutex_);
    return questions_.size();
  }
  /// The answer, now or after a question.
  TokenReviewer::Answer Ask(const std::string& token) {
    std::optional<TokenReviewer::Answer> got;
    if (auto known = reviewer_.Review(token, [&](const auto& answer) { got = answer; })) return *known;
    EXPECT_TRUE(reactor_.RunUntil([&] { return got.has_value(); }));
    return got ? *got : TokenReviewer::Answer(base::MakeError(Code::kInternal, "never answered"));
  }
  /// Lets a question in the background come to its end.
  void Settle(std::size_t questions) {
    EXPECT_TRUE(reactor_.RunUntil([&] { return Questions() >= questions; }));
    std::promise<void> after;  // errands run in order on one thread: what came before has posted its answer
    ASSERT_TRUE(errands_.Send([&] { after.set_value(); }));
    after.get_future().wait();
    reactor_.RunReady();
  }

  FakeClock clock_;
  FakeStore store_{clock_};
  ManualReactor reactor_{clock_};
  std::mutex mutex_;
  std::vector<json> questions_;  ///< guarded by mutex_
  json review_ = AcceptedReview();
  Errands errands_{{1, 8}};
  TokenReviewer::Options options_ = [] {
    TokenReviewer::Options options;
    options.entries = 3;
    options.waiters = 4;
    options.refusals = 2;
    return options;
  }();
  TokenReviewer reviewer_{options_, {&reactor_, &clock_, &store_, &errands_}};
};

TEST_F(TokenReviewerTest, SaysWhichPodCalls) {
  const auto token = MakeToken(clock_, 600s);
  const auto answer = Ask(token);
  ASSERT_THAT(answer, IsOk());
  const ReviewedPod& caller = **answer;
  EXPECT_EQ(caller.principal.username, "system:serviceaccount:ci:builder");
  EXPECT_EQ(caller.principal.uid, "uid-of-account");
  EXPECT_EQ(caller.principal.proof, identity::Proof::kTokenReview);
  EXPECT_THAT(caller.principal.groups,
              ElementsAre("system:serviceaccounts", "system:serviceaccounts:ci", "system:authenticated"));
  EXPECT_EQ(caller.pod.ns, "ci");
  EXPECT_EQ(caller.pod.name, "job-1");
  EXPECT_EQ(caller.pod.uid, "uid-of-job-1");
  EXPECT_EQ(caller.pod.node, "node-1");
  ASSERT_EQ(questions_.size(), 1U);
  EXPECT_EQ(questions_[0]["spec"], (json{{"token", token}, {"audiences", {kAudience}}}));
  EXPECT_EQ(store_.CountCalls("Get"), 0U) << "the node was known";
}

TEST_F(TokenReviewerTest, AsksNobodyAboutGarbage) {
  for (const std::string& token : {std::string("garbage"), std::string("a.b.c"), MakeToken(clock_, -1s),
                                   TokenOf({{"aud", "api"}, {"exp", 1'795'425'000}})}) {
    const auto known = reviewer_.Review(token, [](const auto&) { FAIL(); });
    ASSERT_TRUE(known.has_value());
    EXPECT_THAT(*known, IsErr(Code::kUnauthenticated, "Unauthenticated"));
  }
  EXPECT_EQ(Questions(), 0U);
  EXPECT_EQ(reviewer_.cached(), 0U);
}

TEST_F(TokenReviewerTest, RefusesWhatTheApiServerDoesNotVouchFor) {
  const auto refuses = [this](const std::string& name, json review) {
    Answers(std::move(review));
    EXPECT_THAT(Ask(MakeToken(clock_, 600s, name)), IsErr(Code::kUnauthenticated, "Unauthenticated")) << name;
  };
  json review = AcceptedReview();
  refuses("unknown", RefusedReview());
  refuses("empty", json::object());
  review["status"]["authenticated"] = "true";
  refuses("text", review);
  review = AcceptedReview();
  review["status"]["audiences"] = {"https://kubernetes.default.svc"};
  refuses("other audience", review);
  review["status"].erase("audiences");
  refuses("an API server that does not look at audiences", review);
  review = AcceptedReview();
  review["status"]["user"]["username"] = "alice";
  refuses("a person", review);
  for (const char* missing : {"authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid"}) {
    review = AcceptedReview();
    review["status"]["user"]["extra"].erase(missing);
    refuses(std::string("no ") + missing, review);
    review["status"]["user"]["extra"][missing] = {""};
    refuses(std::string("empty ") + missing, review);
  }
  review["status"]["user"].erase("extra");
  refuses("no extra", review);
}

TEST_F(TokenReviewerTest, KeepsAnAcceptanceForTenSecondsAtMost) {
  const auto token = MakeToken(clock_, 600s);
  ASSERT_THAT(Ask(token), IsOk());
  clock_.Advance(4'999ms);
  ASSERT_THAT(Ask(token), IsOk());
  EXPECT_EQ(Questions(), 1U);
  Answers(nullptr);
  clock_.Advance(5'000ms);
  ASSERT_THAT(Ask(token), IsOk()) << "an API server that is away leaves what was known";
  Settle(2);
  clock_.Advance(2ms);
  EXPECT_THAT(Ask(token), IsErr(Code::kUnavailable, "IdentityUnavailable"));
  Answers(AcceptedReview());
  EXPECT_THAT(Ask(token), IsOk()) << "nothing of the outage is kept";
}

TEST_F(TokenReviewerTest, CountsTheTimeFromBeforeTheQuestion) {
  const auto token = MakeToken(clock_, 600s);
  store_.set_review([this](const json&) -> base::Result<json> {
    clock_.Advance(8s);  // a slow API server
    return AcceptedReview();
  });
  ASSERT_THAT(Ask(token), IsOk());
  store_.set_review([](const json&) -> base::Result<json> { return RefusedReview(); });
  clock_.Advance(2s);
  EXPECT_THAT(Ask(token), IsErr(Code::kUnauthenticated));
}

TEST_F(TokenReviewerTest, NeverBelievesATokenBeyondItsEnd) {
  const auto token = MakeToken(clock_, 3s);
  ASSERT_THAT(Ask(token), IsOk());
  clock_.Advance(2'999ms);
  ASSERT_THAT(Ask(token), IsOk());
  clock_.Advance(1ms);
  EXPECT_THAT(Ask(token), IsErr(Code::kUnauthenticated));
  EXPECT_EQ(Questions(), 1U);
}

TEST_F(TokenReviewerTest, AsksAgainAtHalfTimeWithoutLettingTheCallerWait) {
  const auto token = MakeToken(clock_, 600s);
  ASSERT_THAT(Ask(token), IsOk());
  clock_.Advance(5s);
  EXPECT_TRUE(reviewer_.Review(token, [](const auto&) { FAIL(); }).has_value());
  EXPECT_TRUE(reviewer_.Review(token, [](const auto&) { FAIL(); }).has_value());
  Settle(2);
  EXPECT_EQ(Questions(), 2U) << "one question for both";
  clock_.Advance(9s);
  EXPECT_TRUE(reviewer_.Review(token, [](const auto&) { FAIL(); }).has_value()) << "renewed five seconds in";
}

TEST_F(TokenReviewerTest, DropsWhatTheRenewalRefuses) {
  const auto token = MakeToken(clock_, 600s);
  ASSERT_THAT(Ask(token), IsOk());
  Answers(RefusedReview());
  clock_.Advance(5s);
  ASSERT_THAT(Ask(token), IsOk());
  Settle(2);
  EXPECT_THAT(Ask(token), IsErr(Code::kUnauthenticated));
}

TEST_F(TokenReviewerTest, KeepsARefusalForASecond) {
  const auto token = MakeToken(clock_, 600s);
  Answers(RefusedReview());
  EXPECT_THAT(Ask(token), IsErr(Code::kUnauthenticated));
  Answers(AcceptedReview());
  clock_.Advance(999ms);
  EXPECT_THAT(Ask(token), IsErr(Code::kUnauthenticated));
  EXPECT_EQ(Questions(), 1U);
  clock_.Advance(1ms);
  EXPECT_THAT(Ask(token), IsOk());
}

TEST_F(TokenReviewerTest, AsksOnceForAllWhoWait) {
  const auto token = MakeToken(clock_, 600s);
  std::vector<TokenReviewer::Answer> answers;
  const auto later = [&](const auto& answer) { answers.push_back(answer); };
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(reviewer_.Review(token, later).has_value());
  const auto fifth = reviewer_.Review(token, later);
  ASSERT_TRUE(fifth.has_value());
  EXPECT_THAT(*fifth, IsErr(Code::kUnavailable, "IdentityUnavailable")) << "so many may wait";
  EXPECT_TRUE(answers.empty()) << "not before the loop runs";
  ASSERT_TRUE(reactor_.RunUntil([&] { return answers.size() == 4; }));
  for (const auto& answer : answers) EXPECT_THAT(answer, IsOk());
  EXPECT_EQ(Questions(), 1U);
}

TEST_F(TokenReviewerTest, KeepsSoManyAndForgetsTheOldest) {
  for (const char* name : {"a", "b", "c", "d"}) ASSERT_THAT(Ask(MakeToken(clock_, 600s, name)), IsOk());
  EXPECT_EQ(reviewer_.cached(), 3U);
  EXPECT_EQ(Questions(), 4U);
  ASSERT_THAT(Ask(MakeToken(clock_, 600s, "d")), IsOk());
  EXPECT_EQ(Questions(), 4U);
  ASSERT_THAT(Ask(MakeToken(clock_, 600s, "a")), IsOk());
  EXPECT_EQ(Questions(), 5U);
}

TEST_F(TokenReviewerTest, ForgedTokensPushOutNoAcceptedOne) {
  const auto token = MakeToken(clock_, 600s, "a");
  ASSERT_THAT(Ask(token), IsOk());
  Answers(RefusedReview());
  for (int i = 0; i < 8; ++i) {
    EXPECT_THAT(Ask(MakeToken(clock_, 600s, "forged" + std::to_string(i))), IsErr(Code::kUnauthenticated));
  }
  EXPECT_EQ(Questions(), 9U);
  EXPECT_THAT(Ask(token), IsOk());
  EXPECT_EQ(Questions(), 9U);
  EXPECT_EQ(reviewer_.cached(), 3U) << "refusals are bounded, too";
  EXPECT_THAT(Ask(MakeToken(clock_, 600s, "forged7")), IsErr(Code::kUnauthenticated));
  EXPECT_EQ(Questions(), 9U) << "the last of them is known";
}

TEST_F(TokenReviewerTest, MakesRoomByTheAcceptanceThatEndsFirst) {
  const auto first = MakeToken(clock_, 600s, "a");
  ASSERT_THAT(Ask(first), IsOk());
  ASSERT_THAT(Ask(MakeToken(clock_, 3s, "ends soon")), IsOk());
  ASSERT_THAT(Ask(MakeToken(clock_, 600s, "c")), IsOk());
  ASSERT_THAT(Ask(MakeToken(clock_, 600s, "d")), IsOk());
  EXPECT_EQ(Questions(), 4U);
  EXPECT_THAT(Ask(first), IsOk());
  EXPECT_EQ(Questions(), 4U);
}

/// Tokens that nobody has seen before fill the queue, and the API server is slow.
class FloodTest : public TokenReviewerTest {
 protected:
  ~FloodTest() override {
    Open();
    errands_.Stop();  // what is asked in the background uses the members below
  }
  void Open() {
    if (!std::exchange(is_open_, true)) open_.set_value();
  }
  void Flood() {
    store_.set_review([this](const json& question) -> base::Result<json> {
      gate_.wait();
      const std::lock_guard lock(mutex_);
      const std::string token = question["spec"]["token"];
      const bool ours = token == known_;
      asked_.push_back(ours ? "known" : "forged");
      return ours ? AcceptedReview() : RefusedReview();
    });
    const auto before = store_.CountCalls("Review");
    for (int i = 0; i < 16; ++i) {
      const auto forged = MakeToken(clock_, 600s, "forged" + std::to_string(i));
      EXPECT_FALSE(flooded_.Review(forged, [this](const auto&) { ++turned_away_; }));
      while (store_.CountCalls("Review") == before) std::this_thread::yield();  // the first is in work
    }
    EXPECT_TRUE(reactor_.RunUntil([&] { return turned_away_ >= 7; })) << "one in work and eight in the queue";
  }
  std::string known_ = MakeToken(clock_, 600s, "known");
  std::promise<void> open_;
  bool is_open_ = false;
  std::shared_future<void> gate_ = open_.get_future().share();
  std::vector<std::string> asked_;  ///< guarded by mutex_
  int turned_away_ = 0;
  TokenReviewer flooded_{{}, {&reactor_, &clock_, &store_, &errands_}};
};

TEST_F(FloodTest, LeavesRoomForRenewals) {
  std::optional<TokenReviewer::Answer> got;
  EXPECT_FALSE(flooded_.Review(known_, [&](const auto& answer) { got = answer; }));
  ASSERT_TRUE(reactor_.RunUntil([&] { return got.has_value(); }));
  Flood();
  clock_.Advance(5s);
  EXPECT_TRUE(flooded_.Review(known_, [](const auto&) { FAIL(); }).has_value());
  Open();
  EXPECT_TRUE(reactor_.RunUntil([&] { return turned_away_ == 16; }));
  EXPECT_THAT(asked_, ElementsAre("forged", "known")) << "the others have waited for too long";
  clock_.Advance(6s);
  EXPECT_TRUE(flooded_.Review(known_, [](const auto&) {}).has_value()) << "renewed";
}

TEST_F(FloodTest, LeavesRoomForWhoWasAcceptedBefore) {
  std::optional<TokenReviewer::Answer> got;
  EXPECT_FALSE(flooded_.Review(known_, [&](const auto& answer) { got = answer; }));
  ASSERT_TRUE(reactor_.RunUntil([&] { return got.has_value(); }));
  got.reset();
  clock_.Advance(60s);  // it was idle, and its acceptance is over
  Flood();
  EXPECT_FALSE(flooded_.Review(known_, [&](const auto& answer) { got = answer; }));
  Open();
  ASSERT_TRUE(reactor_.RunUntil([&] { return got.has_value() && turned_away_ == 16; }));
  EXPECT_THAT(*got, IsOk());
  ASSERT_EQ(asked_.size(), 10U);
  EXPECT_EQ(asked_[1], "known") << "behind the one in work";
}

TEST_F(TokenReviewerTest, TurnsCallersAwayWhenTheQueueIsFull) {
  std::promise<void> open;
  auto gate = open.get_future().share();
  store_.set_review([gate](const json&) -> base::Result<json> {
    gate.wait();
    return AcceptedReview();
  });
  TokenReviewer::Options options;
  TokenReviewer roomy(options, {&reactor_, &clock_, &store_, &errands_});
  std::vector<TokenReviewer::Answer> answers;
  for (int i = 0; i < 12; ++i) {
    EXPECT_FALSE(
        roomy.Review(MakeToken(clock_, 600s, std::to_string(i)), [&](const auto& a) { answers.push_back(a); }));
  }
  EXPECT_TRUE(reactor_.RunUntil([&] { return answers.size() >= 3; })) << "one in work and eight in the queue";
  for (const auto& answer : answers) EXPECT_THAT(answer, IsErr(Code::kUnavailable, "IdentityUnavailable"));
  open.set_value();
  EXPECT_TRUE(reactor_.RunUntil([&] { return answers.size() == 12; }));
  EXPECT_THAT(answers.back(), IsOk());
}

TEST_F(TokenReviewerTest, LetsNobodyWaitBehindASlowApiServer) {
  std::promise<void> open;
  auto gate = open.get_future().share();
  store_.set_review([gate](const json&) -> base::Result<json> {
    gate.wait();
    return AcceptedReview();
  });
  std::vector<std::string> answers;
  const auto keep = [&](const std::string& name) {
    return [&answers, name](const auto& answer) { answers.push_back(name + (answer ? " ok" : " no")); };
  };
  EXPECT_FALSE(reviewer_.Review(MakeToken(clock_, 600s, "a"), keep("a")));
  while (store_.CountCalls("Review") == 0) std::this_thread::yield();
  EXPECT_FALSE(reviewer_.Review(MakeToken(clock_, 600s, "b"), keep("b")));
  clock_.Advance(2'001ms);
  open.set_value();
  ASSERT_TRUE(reactor_.RunUntil([&] { return answers.size() == 2; }));
  EXPECT_THAT(answers, ElementsAre("a ok", "b no"));
  EXPECT_EQ(store_.CountCalls("Review"), 1U);
}

class NodeTest : public TokenReviewerTest {
 protected:
  NodeTest() { Answers(AcceptedReview("builder", "")); }
  json MakePod() {
    return *store_.Create(authn::Pods(), "ci", {{"metadata", {{"name", "job-1"}}}, {"spec", {{"nodeName", "node-7"}}}});
  }
  void AnswerWithUid(const std::string& uid) {
    json review = AcceptedReview("builder", "");
    review["status"]["user"]["extra"]["authentication.kubernetes.io/pod-uid"] = {uid};
    Answers(review);
  }
};

TEST_F(NodeTest, IsReadFromThePodWhereTheApiServerDoesNotNameIt) {
  AnswerWithUid(MakePod()["metadata"]["uid"]);
  const auto answer = Ask(MakeToken(clock_, 600s));
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ((*answer)->pod.node, "node-7");
}

TEST_F(NodeTest, OfAPodThatIsGoneRefusesTheToken) {
  EXPECT_THAT(Ask(MakeToken(clock_, 600s)), IsErr(Code::kUnauthenticated));
  MakePod();
  AnswerWithUid("uid-of-its-predecessor");
  EXPECT_THAT(Ask(MakeToken(clock_, 600s, "again")), IsErr(Code::kUnauthenticated));
}

TEST_F(NodeTest, StaysUnknownWithoutTheRightToReadPods) {
  store_.set_fault([](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
    if (call.verb != "Get") return std::nullopt;
    return FakeStore::Fault{base::MakeError(Code::kPermissionDenied, "Forbidden", "pods")};
  });
  const auto answer = Ask(MakeToken(clock_, 600s));
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ((*answer)->pod.node, "");
}

TEST_F(TokenReviewerTest, SaysNothingOfTheTokenWhenItCannotAsk) {
  const auto token = MakeToken(clock_, 600s);
  Answers(nullptr);
  const auto answer = Ask(token);
  ASSERT_THAT(answer, IsErr(Code::kUnavailable, "IdentityUnavailable"));
  EXPECT_THAT(answer.error().message, Not(HasSubstr(token.substr(20, 20))));
}

}  // namespace
}  // namespace signet::testing
