#include "authn/pod_lookup.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <nlohmann/json.hpp>

#include "fakes/fake_clock.hpp"
#include "fakes/fake_store.hpp"
#include "fakes/manual_reactor.hpp"
#include "support/matchers.hpp"

namespace signet::testing {
namespace {

using authn::DigestOf;
using authn::Errands;
using authn::OthersEnded;
using authn::PodFacts;
using authn::PodFactsOf;
using authn::PodLookup;
using base::Code;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using namespace std::chrono_literals;

std::string Digest(char digit) { return "sha256:" + std::string(64, digit); }

json Status(const std::string& name, const std::string& image_id) {
  return {{"name", name}, {"imageID", image_id}, {"state", {{"running", json::object()}}}};
}
json Ended(const std::string& name, int code) {
  json status = Status(name, "r@" + Digest('e'));
  status["state"] = {{"terminated", {{"exitCode", code}}}};
  return status;
}

json Ordered(const std::string& name, char digit) {
  return {{"name", name}, {"image", "r.example/i:1@" + Digest(digit)}};
}

/// Two containers, an init container and an ephemeral one.
json Pod() {
  return {
      {"metadata", {{"name", "job-1"}, {"namespace", "ci"}, {"uid", "u-1"}}},
      {"spec",
       {{"nodeName", "node-7"},
        {"restartPolicy", "Never"},
        {"containers", {Ordered("main", '1'), Ordered("signet-sidecar", '2')}},
        {"initContainers", {Ordered("prepare", '3')}},
        {"ephemeralContainers", {Ordered("debug", '4')}}}},
      {"status",
       {{"containerStatuses", {Status("signet-sidecar", "r.example/s@" + Digest('2')), Status("main", Digest('1'))}},
        {"initContainerStatuses", {Status("prepare", "docker-pullable://r/p@" + Digest('3'))}},
        {"ephemeralContainerStatuses", {Status("debug", "docker://" + Digest('4'))}}}}};
}

TEST(PodFactsTest, KnowsTheImagesOfEveryKindOfContainer) {
  const auto facts = PodFactsOf(Pod());
  ASSERT_THAT(facts, IsOk());
  EXPECT_EQ(facts->pod.ns, "ci");
  EXPECT_EQ(facts->pod.name, "job-1");
  EXPECT_EQ(facts->pod.uid, "u-1");
  EXPECT_EQ(facts->pod.node, "node-7");
  EXPECT_THAT(facts->images.digests, ElementsAre(Digest('1'), Digest('2'), Digest('3'), Digest('4')));
  EXPECT_TRUE(facts->images.complete);
  EXPECT_THAT(facts->images.unpinned, IsEmpty());
}

// Issue 11, row 8: a patched image must not sign with what the status still says.
TEST(PodFactsTest, WantsSpecAndStatusToNameTheSameDigestOfEveryContainer) {
  for (const char* list : {"containers", "initContainers", "ephemeralContainers"}) {
    json pod = Pod();
    pod["spec"][list][0]["image"] = "r.example/i@" + Digest('9');  // patched; the node has not started it yet
    auto images = PodFactsOf(pod)->images;
    EXPECT_FALSE(images.complete) << list;
    EXPECT_THAT(images.digests, ::testing::Contains(Digest('9'))) << list;
    EXPECT_EQ(images.digests.size(), 5U) << list;
    for (const std::string image : {std::string("r.example/i:1"), std::string("r.example/i"), Digest('1'),
                                    std::string(), "r.example/i@" + Digest('Z')}) {
      pod["spec"][list][0]["image"] = image;
      images = PodFactsOf(pod)->images;
      EXPECT_FALSE(images.complete) << list << image;
      EXPECT_EQ(images.unpinned.size(), 1U) << list << image;
    }
  }
}

TEST(PodFactsTest, CountsImageVolumes) {
  json pod = Pod();
  pod["spec"]["volumes"] = {{{"name", "tools"}, {"image", {{"reference", "r.example/t@" + Digest('8')}}}},
                            {{"name", "tmp"}, {"emptyDir", json::object()}}};
  auto images = PodFactsOf(pod)->images;
  EXPECT_TRUE(images.complete);
  EXPECT_THAT(images.digests, ::testing::Contains(Digest('8')));
  pod["spec"]["volumes"][0]["image"]["reference"] = "r.example/t:1";
  EXPECT_THAT(PodFactsOf(pod)->images.unpinned, ElementsAre("tools"));
}

TEST(PodFactsTest, IsIncompleteWhileAnyImageIsUnknown) {
  for (const char* list : {"containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"}) {
    json pod = Pod();
    pod["status"][list][0]["imageID"] = "";
    EXPECT_FALSE(PodFactsOf(pod)->images.complete) << list;
    pod["status"].erase(list);
    EXPECT_FALSE(PodFactsOf(pod)->images.complete) << list;
  }
  json pod = Pod();
  pod["spec"]["containers"].push_back({{"name", "late"}});
  EXPECT_FALSE(PodFactsOf(pod)->images.complete);
  pod = Pod();
  pod.erase("spec");
  EXPECT_FALSE(PodFactsOf(pod)->images.complete) << "no container is not every container";
  pod = Pod();
  for (std::size_t i = 0; i <= authn::kMostContainers; ++i) {
    pod["spec"]["containers"].push_back({{"name", "main"}});
  }
  EXPECT_FALSE(PodFactsOf(pod)->images.complete) << "too many to look at";
}

TEST(PodFactsTest, ReadsDigestsAndNothingElse) {
  EXPECT_EQ(DigestOf("r.example/a/b@" + Digest('a')), Digest('a'));
  EXPECT_EQ(DigestOf("docker-pullable://r/a@" + Digest('a')), Digest('a'));
  EXPECT_EQ(DigestOf("docker://" + Digest('a')), Digest('a'));
  EXPECT_EQ(DigestOf(Digest('a')), Digest('a'));
  for (const auto& id : {std::string(), std::string("r/a:latest"), Digest('A'), Digest('g'), "x" + Digest('a'),
                         "r/a:" + Digest('a'), Digest('a') + "0", "sha256:" + std::string(63, 'a')}) {
    EXPECT_EQ(DigestOf(id), "") << id;
  }
}

TEST(PodFactsTest, RefusesWhatIsNoPod) {
  for (const char* member : {"name", "namespace", "uid"}) {
    json pod = Pod();
    pod["metadata"].erase(member);
    EXPECT_THAT(PodFactsOf(pod), IsErr(Code::kInvalidArgument)) << member;
    pod["metadata"][member] = 7;
    EXPECT_THAT(PodFactsOf(pod), IsErr(Code::kInvalidArgument)) << member;
  }
  EXPECT_THAT(PodFactsOf(json::array()), IsErr(Code::kInvalidArgument));
  json odd = Pod();
  odd["spec"] = 7;
  odd["status"] = {{"containerStatuses", {7, {{"name", 8}}}}};
  EXPECT_THAT(PodFactsOf(odd)->images.digests, IsEmpty());
}

TEST(OthersEndedTest, WhenNoneWillBeStartedAgain) {
  const auto ended = [](const char* policy, const json& main, const std::string& own = "signet-sidecar") {
    json pod = Pod();
    pod["spec"]["restartPolicy"] = policy;
    pod["status"]["containerStatuses"][1] = main;
    return OthersEnded(*PodFactsOf(pod), own);
  };
  const json running = Status("main", Digest('1'));
  EXPECT_FALSE(ended("Never", running));
  EXPECT_TRUE(ended("Never", Ended("main", 0)));
  EXPECT_TRUE(ended("Never", Ended("main", 1)));
  EXPECT_TRUE(ended("OnFailure", Ended("main", 0)));
  EXPECT_FALSE(ended("OnFailure", Ended("main", 1))) << "it will be started again";
  EXPECT_FALSE(ended("Always", Ended("main", 0)));
  EXPECT_FALSE(ended("Never", Ended("main", 0), "")) << "the sidecar itself still runs";
  EXPECT_FALSE(ended("Never", Ended("main", 0), "nobody"));
  json pod = Pod();
  pod.erase("status");
  EXPECT_FALSE(OthersEnded(*PodFactsOf(pod), "signet-sidecar")) << "not started yet";
}

class PodLookupTest : public ::testing::Test {
 protected:
  PodLookupTest() {
    json pod = Pod();
    pod["metadata"].erase("uid");
    made_ = *store_.Create(authn::Pods(), "ci", pod);
    pod_ = {"ci", "job-1", made_["metadata"]["uid"].get<std::string>(), ""};
  }
  ~PodLookupTest() override { errands_.Stop(); }
  PodLookup::Answer Find(const identity::PodIdentity& pod) {
    std::optional<PodLookup::Answer> got;
    if (auto known = pods_.Find(pod, [&](const auto& answer) { got = answer; })) return *known;
    EXPECT_TRUE(reactor_.RunUntil([&] { return got.has_value(); }));
    return got ? *got : PodLookup::Answer(base::MakeError(Code::kInternal, "never answered"));
  }

  FakeClock clock_;
  FakeStore store_{clock_};
  ManualReactor reactor_{clock_};
  json made_;
  identity::PodIdentity pod_;
  Errands errands_{{1, 8}};
  PodLookup pods_{{}, {&reactor_, &clock_, &store_, &errands_}};
};

TEST_F(PodLookupTest, FindsThePodAndKeepsItForFiveSeconds) {
  const auto found = Find(pod_);
  ASSERT_THAT(found, IsOk());
  EXPECT_TRUE((*found)->images.complete);
  clock_.Advance(4'999ms);
  ASSERT_THAT(Find(pod_), IsOk());
  EXPECT_EQ(store_.CountCalls("Get"), 1U);
  clock_.Advance(1ms);
  ASSERT_THAT(Find(pod_), IsOk());
  EXPECT_EQ(store_.CountCalls("Get"), 2U);
}

TEST_F(PodLookupTest, ReadsThePodForEachDecision) {
  ASSERT_THAT(Find(pod_), IsOk());
  json changed = made_;
  changed["spec"]["containers"][0]["image"] = "r.example/i@" + Digest('9');
  ASSERT_THAT(store_.Update(authn::Pods(), "ci", "job-1", changed), IsOk());
  std::vector<PodLookup::Answer> answers;
  pods_.ReadNow(pod_, [&](const auto& answer) { answers.push_back(answer); });
  // Both came after the read above had begun: they share one more.
  for (int i = 0; i < 2; ++i) pods_.ReadNow(pod_, [&](const auto& answer) { answers.push_back(answer); });
  ASSERT_TRUE(reactor_.RunUntil([&] { return answers.size() == 3; }));
  EXPECT_EQ(store_.CountCalls("Get"), 3U);
  for (const auto& answer : answers) {
    ASSERT_THAT(answer, IsOk());
    EXPECT_FALSE((*answer)->images.complete);
  }
  auto other = pod_;
  other.uid = "its predecessor";
  answers.clear();
  pods_.ReadNow(other, [&](const auto& answer) { answers.push_back(answer); });
  ASSERT_TRUE(reactor_.RunUntil([&] { return answers.size() == 1; }));
  EXPECT_THAT(answers[0], IsErr(Code::kUnauthenticated));
}

TEST_F(PodLookupTest, LooksAgainSoonWhileImagesAreUnknown) {
  json changed = made_;
  changed["status"].erase("containerStatuses");
  ASSERT_THAT(store_.Update(authn::Pods(), "ci", "job-1", changed), IsOk());
  EXPECT_FALSE((*Find(pod_))->images.complete);
  clock_.Advance(500ms);
  EXPECT_THAT(Find(pod_), IsOk());
  EXPECT_EQ(store_.CountCalls("Get"), 2U);
}

TEST_F(PodLookupTest, FindsAPodWhileUnknownTokensFillTheQueue) {
  std::promise<void> open;
  auto gate = open.get_future().share();
  std::size_t sent = 0;
  while (errands_.Send([gate] { gate.wait(); })) ++sent;
  EXPECT_GE(sent, 8U);
  std::optional<PodLookup::Answer> got;
  EXPECT_FALSE(pods_.Find(pod_, [&](const auto& answer) { got = answer; }).has_value());
  reactor_.RunReady();
  EXPECT_FALSE(got.has_value()) << "turned away";
  open.set_value();
  ASSERT_TRUE(reactor_.RunUntil([&] { return got.has_value(); }));
  EXPECT_THAT(*got, IsOk());
}

TEST_F(PodLookupTest, RefusesAPodThatIsAnotherOrGone) {
  auto other = pod_;
  other.uid = "its predecessor";
  EXPECT_THAT(Find(other), IsErr(Code::kUnauthenticated, "Unauthenticated"));
  other = pod_;
  other.name = "job-2";
  other.uid = "u-2";
  EXPECT_THAT(Find(other), IsErr(Code::kUnauthenticated, "Unauthenticated"));
}

TEST_F(PodLookupTest, SaysThatNobodyCouldBeAsked) {
  store_.set_fault([](const FakeStore::Call&) -> std::optional<FakeStore::Fault> {
    return FakeStore::Fault{base::MakeError(Code::kUnavailable, "no connection")};
  });
  EXPECT_THAT(Find(pod_), IsErr(Code::kUnavailable, "IdentityUnavailable"));
  store_.set_fault({});
  EXPECT_THAT(Find(pod_), IsOk()) << "a failure is not kept";
}

}  // namespace
}  // namespace signet::testing
