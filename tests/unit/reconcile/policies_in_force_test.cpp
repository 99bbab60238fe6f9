// ClusterPolicies, LiveReads, NamespaceLabels and EventRecorder: what surrounds the reconcilers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "fakes.hpp"
#include "fakes/fake_clock.hpp"
#include "fakes/fake_store.hpp"
#include "reconcile/cluster_policies.hpp"
#include "reconcile/conditions.hpp"
#include "reconcile/events.hpp"
#include "reconcile/live_reads.hpp"
#include "reconcile/namespace_labels.hpp"
#include "reconcile/request_status.hpp"
#include "reconcile/resources.hpp"
#include "support/matchers.hpp"

namespace signet::reconcile {
namespace {

using Origin = ClusterPolicies::Origin;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using namespace std::chrono_literals;

signing::ActivePolicy Active(const std::string& name, const std::string& uid, std::int64_t generation,
                             const std::string& version = "1") {
  api::SigningPolicy policy;
  policy.metadata.name = name;
  policy.metadata.uid = uid;
  policy.metadata.generation = generation;
  policy.metadata.resource_version = version;
  policy.spec.algorithms = {api::SignatureAlgorithm::kEcdsaWithSha256};
  signing::ActivePolicy active;
  active.compiled = *policy::CompiledPolicy::Compile(std::move(policy));
  active.hash = uid + std::to_string(generation);
  return active;
}

class ClusterPoliciesTest : public ::testing::Test {
 protected:
  std::int64_t Generation() { return policies_.Find("a")->compiled->policy().metadata.generation; }
  testing::FakeClock clock_;
  ClusterPolicies policies_{clock_};
};

TEST_F(ClusterPoliciesTest, GivesOutWhatWasPublished) {
  EXPECT_EQ(policies_.Find("a"), nullptr);
  EXPECT_TRUE(policies_.Publish(Active("a", "u", 1), Origin::kCache));
  EXPECT_EQ(Generation(), 1);
  EXPECT_EQ(policies_.All().size(), 1U);
}

TEST_F(ClusterPoliciesTest, NeverGoesBack) {
  policies_.Publish(Active("a", "u", 2), Origin::kLive);
  EXPECT_FALSE(policies_.Publish(Active("a", "u", 1), Origin::kCache));
  EXPECT_EQ(Generation(), 2);
  EXPECT_FALSE(policies_.Publish(Active("a", "older", 9, "0"), Origin::kCache));
  EXPECT_TRUE(policies_.Publish(Active("a", "newer", 1, "12"), Origin::kCache));
  EXPECT_EQ(Generation(), 1);
}

TEST_F(ClusterPoliciesTest, BringsARemovedUidBackOnlyByALiveRead) {
  policies_.Publish(Active("a", "u", 1), Origin::kCache);
  policies_.Remove("a", "other");
  EXPECT_NE(policies_.Find("a"), nullptr);
  policies_.Remove("a", "");
  EXPECT_EQ(policies_.Find("a"), nullptr);
  EXPECT_FALSE(policies_.Publish(Active("a", "u", 1), Origin::kCache));
  EXPECT_TRUE(policies_.Publish(Active("a", "u", 1), Origin::kLive));
}

TEST_F(ClusterPoliciesTest, ForgetsRemovedPoliciesAfterAWhile) {
  for (int i = 0; i < 100; ++i) {
    policies_.Publish(Active("gone-" + std::to_string(i), "u", 1), Origin::kCache);
    policies_.Remove("gone-" + std::to_string(i), "u");
  }
  EXPECT_EQ(policies_.remembered(), 100U);
  clock_.Advance(ClusterPolicies::kRememberRemoved + 1s);
  policies_.Publish(Active("a", "u", 1), Origin::kCache);
  policies_.Remove("a", "u");
  EXPECT_EQ(policies_.remembered(), 1U);
  EXPECT_FALSE(policies_.Publish(Active("a", "u", 1), Origin::kCache));
}

TEST_F(ClusterPoliciesTest, KeepsTheAgeOfACachedCopy) {
  policies_.Publish(Active("a", "u", 1), Origin::kCache);
  const auto then = policies_.Find("a")->confirmed_at;
  clock_.Advance(1min);
  policies_.Publish(Active("a", "u", 1), Origin::kCache);
  EXPECT_EQ(policies_.Find("a")->confirmed_at, then);
  policies_.Publish(Active("a", "u", 1), Origin::kLive);
  EXPECT_EQ(policies_.Find("a")->confirmed_at, then + 1min);
  clock_.Advance(1min);
  policies_.Confirm("a");
  EXPECT_EQ(policies_.Find("a")->confirmed_at, then + 2min);
}

TEST_F(ClusterPoliciesTest, KnowsWhatIsInUse) {
  policies_.Publish(Active("a", "u", 1), Origin::kCache);
  policies_.Publish(Active("b", "v", 1), Origin::kCache);
  static_cast<void>(policies_.Peek("b"));
  EXPECT_THAT(policies_.UsedWithin(30s), IsEmpty());
  static_cast<void>(policies_.Find("a"));
  EXPECT_THAT(policies_.UsedWithin(30s), ElementsAre("a"));
  clock_.Advance(31s);
  EXPECT_THAT(policies_.UsedWithin(30s), IsEmpty());
}

class LiveReadsTest : public ::testing::Test {
 protected:
  LiveReadsTest() { policies_.Publish(Active("a", "u", 1), Origin::kCache); }
  testing::FakeClock clock_;
  ClusterPolicies policies_{clock_};
  std::atomic<int> reads_ = 0;
  base::Status answer_;
  LiveReads freshness_{{},
                       clock_,
                       {[this](const std::string& name) { return policies_.Peek(name) != nullptr; },
                        {},
                        [this](const std::string&) {
                          ++reads_;
                          return answer_;
                        }}};
};

TEST_F(LiveReadsTest, ForgetsNamesThatAreNotUsed) {
  for (int i = 0; i < 100; ++i) {
    const auto name = "gone-" + std::to_string(i);
    policies_.Publish(Active(name, "u", 1), Origin::kCache);
    freshness_.EnsureFresh(name);
    policies_.Remove(name, "u");
  }
  answer_ = base::MakeError(base::Code::kUnavailable, "away");
  freshness_.EnsureFresh("a");
  EXPECT_EQ(freshness_.remembered(), 101U);
  clock_.Advance(5s);
  policies_.Publish(Active("b", "u", 1), Origin::kCache);
  freshness_.EnsureFresh("b");
  EXPECT_EQ(freshness_.remembered(), 2U);
  EXPECT_THAT(freshness_.Failing(), ::testing::ElementsAre("a", "b")) << "what readyz shows is kept";
}

TEST_F(LiveReadsTest, ReadsAPolicyBeforeItsFirstUseAndEveryFewSeconds) {
  for (int i = 0; i < 10; ++i) freshness_.EnsureFresh("a");
  EXPECT_EQ(reads_, 1);
  clock_.Advance(3900ms);
  freshness_.EnsureFresh("a");
  EXPECT_EQ(reads_, 1);
  clock_.Advance(200ms);
  freshness_.EnsureFresh("a");
  EXPECT_EQ(reads_, 2);
}

TEST_F(LiveReadsTest, TellsWhetherItWouldRead) {
  EXPECT_TRUE(freshness_.NeedsRead("a"));
  EXPECT_FALSE(freshness_.NeedsRead("nobody"));
  freshness_.EnsureFresh("a");
  EXPECT_FALSE(freshness_.NeedsRead("a"));
  clock_.Advance(4s);
  EXPECT_TRUE(freshness_.NeedsRead("a"));
  answer_ = base::MakeError(base::Code::kUnavailable, "down");
  freshness_.EnsureFresh("a");
  EXPECT_FALSE(freshness_.NeedsRead("a")) << "it has just failed: what is known decides";
  clock_.Advance(1s);
  EXPECT_TRUE(freshness_.NeedsRead("a"));
}

TEST_F(LiveReadsTest, NamesWhatCouldNotBeRead) {
  EXPECT_THAT(freshness_.Failing(), IsEmpty());
  answer_ = base::MakeError(base::Code::kUnavailable, "down");
  freshness_.EnsureFresh("a");
  EXPECT_THAT(freshness_.Failing(), ElementsAre("a"));
  answer_ = {};
  clock_.Advance(1s);
  freshness_.EnsureFresh("a");
  EXPECT_THAT(freshness_.Failing(), IsEmpty());
}

TEST_F(LiveReadsTest, AsksForUnknownNamesNothing) {
  freshness_.EnsureFresh("nobody");
  EXPECT_EQ(reads_, 0);
}

TEST_F(LiveReadsTest, DoesNotHammerAServerThatIsAway) {
  answer_ = base::MakeError(base::Code::kUnavailable, "down");
  for (int i = 0; i < 10; ++i) freshness_.EnsureFresh("a");
  EXPECT_EQ(reads_, 1);
  clock_.Advance(1100ms);
  freshness_.EnsureFresh("a");
  EXPECT_EQ(reads_, 2);
}

TEST(NamespaceLabelsTest, FollowsNamespaces) {
  testing::LoopThread loop;
  NamespaceLabels labels(loop);
  labels.Set({{"metadata", {{"name", "ci"}, {"labels", {{"tier", "prod"}}}}}});
  loop.Flush();
  ASSERT_NE(labels.Find("ci"), nullptr);
  EXPECT_EQ(labels.Find("ci")->at("tier"), "prod");
  EXPECT_EQ(labels.Find("other"), nullptr);
  EXPECT_FALSE(labels.ConfirmedAt("ci").has_value()) << "an event may be old when it arrives";
  const base::SteadyPoint read{std::chrono::seconds(7)};
  labels.Set({{"metadata", {{"name", "ci"}, {"labels", {{"tier", "dev"}}}}}}, read);
  labels.Set({{"metadata", {{"name", "ci"}, {"labels", {{"tier", "dev"}}}}}});
  loop.Flush();
  EXPECT_EQ(labels.ConfirmedAt("ci"), read);
  labels.Set({{"metadata", {{"name", "ci"}, {"labels", {{"tier", "test"}}}}}});
  loop.Flush();
  EXPECT_EQ(labels.Find("ci")->at("tier"), "test");
  EXPECT_FALSE(labels.ConfirmedAt("ci").has_value()) << "it may be older than what was read";
  labels.Remove("ci");
  loop.Flush();
  EXPECT_EQ(labels.Find("ci"), nullptr);
}

TEST(StoreEventRecorderTest, WritesEventsThatKubectlDescribes) {
  testing::FakeClock clock;
  testing::FakeStore store(clock);
  {
    StoreEventRecorder recorder(store, clock, {});
    api::ObjectMeta meta;
    meta.name = "app";
    meta.ns = "ci";
    meta.uid = "u";
    recorder.Record(SigningRequests(), meta, EventRecorder::Type::kWarning, "Denied",
                    "NotAllowed: no\n\x1b[1A \xE2\x80\xAE");
    while (store.CountCalls("Create") == 0) std::this_thread::yield();
  }
  const auto events = store.ListAll(Events());
  ASSERT_EQ(events->items.size(), 1U);
  const auto& event = events->items[0];
  EXPECT_EQ(event["metadata"]["namespace"], "ci");
  EXPECT_EQ(event["involvedObject"]["kind"], "SigningRequest");
  EXPECT_EQ(event["involvedObject"]["uid"], "u");
  EXPECT_EQ(event["reason"], "Denied");
  EXPECT_EQ(event["type"], "Warning");
  EXPECT_EQ(event["message"], "NotAllowed: no ?[1A ?") << "kubectl prints it as it is";
}

TEST(ConditionsTest, CutsTextOnACharactersBorder) {
  EXPECT_EQ(Bounded("abc", 3), "abc");
  EXPECT_EQ(Bounded("ab\xC3\xA4", 3), "ab");
}

TEST(ConditionsTest, HasMessagesThatATerminalMayShow) {
  std::vector<api::Condition> conditions;
  SetCondition(conditions, {"Ready", false, "KeyNotReady", "label\n\x1b[2K\xC2\x9B \xE7\xBD\xB2", 1, {}}, {});
  ASSERT_EQ(conditions.size(), 1U);
  EXPECT_EQ(conditions[0].message, "label ?[2K? \xE7\xBD\xB2");

  api::ApprovalStatus line;
  line.name = "a";
  line.approver = "eve\x1b[1A";
  line.message = "for\xE2\x80\xAE";
  const auto shown = ShownApprovals({line});
  EXPECT_EQ(shown[0].approver, "eve?[1A");
  EXPECT_EQ(shown[0].message, "for?");
}

TEST(ConditionsTest, ReadsWhatIsUsableAndLeavesTheRest) {
  const nlohmann::json object = {
      {"status",
       {{"conditions",
         {{{"type", "Ready"}, {"status", "True"}, {"reason", "Signed"}, {"lastTransitionTime", "2026-11-23T09:00:00Z"}},
          "garbage",
          {{"status", "True"}},
          {{"type", 5}}}}}}};
  const auto conditions = ReadConditions(object);
  ASSERT_EQ(conditions.size(), 1U);
  EXPECT_TRUE(IsTrue(conditions, "Ready"));
  EXPECT_THAT(ReadConditions({{"status", "text"}}), IsEmpty());
}

}  // namespace
}  // namespace signet::reconcile
