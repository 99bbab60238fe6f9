#include "reconcile/policy_reconciler.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>

#include "fakes.hpp"
#include "fakes/fake_clock.hpp"
#include "fakes/fake_store.hpp"
#include "reconcile/resources.hpp"
#include "support/matchers.hpp"

namespace signet::reconcile {
namespace {

using base::Code;
using nlohmann::json;
using testing::ConditionOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using testing::FakeClock;
using testing::FakeStore;
using testing::GoodKey;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kPemA;
using testing::kPemB;
using ::testing::Not;
using Kind = Outcome::Kind;
using namespace std::chrono_literals;

json Policy(const std::string& name = "release", bool generate = true) {
  json object = {{"metadata", {{"name", name}}},
                 {"spec",
                  {{"key", {{"uri", "pkcs11:token=prod;object=" + name}}},
                   {"algorithms", {"ECDSAWithSHA256"}},
                   {"subjects", {{{"kind", "ServiceAccount"}, {"namespace", "ci"}, {"name", "builder"}}}}}}};
  if (generate) object["spec"]["key"]["generate"] = {{"algorithm", "ECDSA"}, {"size", 256}};
  return object;
}

class PolicyReconcilerTest : public ::testing::Test {
 protected:
  PolicyReconcilerTest() : store_(clock_), policies_(clock_) { Start(); }
  ~PolicyReconcilerTest() override { loop_.Flush(); }

  void Start(PolicyReconciler::Options options = {}) {
    reconciler_ = std::make_unique<PolicyReconciler>(options, Dependencies());
  }
  PolicyReconciler::Dependencies Dependencies() {
    PolicyReconciler::Dependencies deps;
    deps.reactor = &loop_;
    deps.clock = &clock_;
    deps.store = &store_;
    deps.hsm = &hsm_;
    deps.journal = &journal_;
    deps.policies = &policies_;
    deps.events = &events_;
    deps.cached = [this](std::string_view name) -> std::shared_ptr<const json> {
      const auto it = cache_.find(std::string(name));
      return it == cache_.end() ? nullptr : it->second;
    };
    deps.leads = [this] { return leader_; };
    deps.enqueue = [this](const std::string& name) { enqueued_.insert(name); };
    deps.published = [this](const std::string& name) { published_.push_back(name); };
    return deps;
  }
  void Apply(const json& object) {
    ASSERT_THAT(store_.Create(SigningPolicies(), "", object), testing::IsOk());
    Sync(object["metadata"]["name"]);
  }
  void Edit(const std::string& name, const std::function<void(json&)>& change) {
    json object = Now(name);
    change(object["spec"]);
    ASSERT_THAT(store_.Update(SigningPolicies(), "", name, object), testing::IsOk());
  }
  void Sync(const std::string& name) { cache_[name] = std::make_shared<const json>(Now(name)); }
  json Now(const std::string& name = "release") { return store_.Revisions(SigningPolicies(), "", name).back(); }
  Outcome Reconcile(const std::string& name = "release") {
    auto outcome = reconciler_->Reconcile(name);
    loop_.Flush();
    if (cache_.contains(name)) Sync(name);
    return outcome;
  }
  std::string Reason(const std::string& name = "release", std::string_view type = "Ready") {
    const json condition = ConditionOf(Now(name), type);
    return condition.is_null() ? "" : condition["reason"].get<std::string>();
  }
  std::string Status(const std::string& name = "release", std::string_view type = "Ready") {
    const json condition = ConditionOf(Now(name), type);
    return condition.is_null() ? "" : condition["status"].get<std::string>();
  }
  std::string Message(const std::string& name = "release") { return ConditionOf(Now(name), "Ready")["message"]; }
  bool Usable(const std::string& name = "release") {
    const auto active = policies_.Peek(name);
    return active != nullptr && active->key.has_value();
  }
  std::vector<std::string> JournalTypes() {
    std::vector<std::string> out;
    for (const auto& line : journal_.lines) out.push_back(line.type);
    return out;
  }
  void HaveKey(const std::string& name, std::string_view pem = kPemA) { hsm_.keys[name] = {GoodKey(pem)}; }
  std::size_t Writes() const { return store_.CountCalls("PatchStatus"); }

  FakeClock clock_;
  FakeStore store_;
  testing::LoopThread loop_;
  testing::KeyRing hsm_;
  testing::Ledger journal_;
  testing::EventList events_;
  ClusterPolicies policies_;
  bool leader_ = true;
  std::map<std::string, std::shared_ptr<const json>> cache_;
  std::set<std::string> enqueued_;
  std::vector<std::string> published_;
  std::unique_ptr<PolicyReconciler> reconciler_;
};

// ---- keys ------------------------------------------------------------------------------

TEST_F(PolicyReconcilerTest, FindsTheKeyAndShowsIt) {
  HaveKey("release");
  Apply(Policy("release", false));
  EXPECT_EQ(Reconcile().kind, Kind::kAfter);
  EXPECT_EQ(Status(), "True");
  EXPECT_EQ(Reason(), "KeyAvailable");
  EXPECT_EQ(Message(), "ECDSA P-256 key in token prod");
  const json key = Now()["status"]["key"];
  const auto public_key = testing::KeyFromPem(kPemA);
  EXPECT_EQ(key, (json{{"keyID", public_key.keyID()},
                       {"algorithm", "ECDSA"},
                       {"size", 256},
                       {"publicKey", public_key.pem()},
                       {"sensitive", true},
                       {"extractable", false},
                       {"neverExtractable", true},
                       {"local", true}}));
  EXPECT_EQ(Now()["status"]["observedGeneration"], 1);
  EXPECT_EQ(ConditionOf(Now(), "Ready")["observedGeneration"], 1);
  EXPECT_EQ(Status("release", "KeyProtected"), "True");
  EXPECT_TRUE(ConditionOf(Now(), "KeyShared").is_null());
  EXPECT_TRUE(Usable());
  EXPECT_THAT(events_.Reasons(), ElementsAre("KeyFound"));
  EXPECT_EQ(hsm_.generated, 0);
}

TEST_F(PolicyReconcilerTest, WritesNothingWhenNothingChanged) {
  HaveKey("release");
  Apply(Policy());
  for (int i = 0; i < 5; ++i) {
    Reconcile();
    clock_.Advance(5min);
  }
  EXPECT_EQ(Writes(), 1U);
  EXPECT_THAT(events_.Reasons(), ElementsAre("KeyFound"));
}

TEST_F(PolicyReconcilerTest, GeneratesTheKeyOnce) {
  Apply(Policy());
  Reconcile();
  EXPECT_EQ(hsm_.generated, 1);
  EXPECT_EQ(Reason(), "KeyAvailable");
  EXPECT_THAT(events_.Reasons(), Contains("KeyGenerated"));
  EXPECT_THAT(JournalTypes(), Contains("keyGenerated"));
  EXPECT_EQ(journal_.lines.back().fields["keyID"], testing::KeyFromPem(kPemA).keyID());
  clock_.Advance(1h);
  Reconcile();
  EXPECT_EQ(hsm_.generated, 1);
}

TEST_F(PolicyReconcilerTest, GeneratesOnlyWhenThePolicySaysSo) {
  Apply(Policy("release", false));
  EXPECT_EQ(Reconcile().kind, Kind::kAfter);
  EXPECT_EQ(Reason(), "KeyNotFound");
  EXPECT_EQ(Status(), "False");
  EXPECT_EQ(hsm_.generated, 0);
  EXPECT_FALSE(Usable());
}

// ---- replicas that do not lead -----------------------------------------------------------

/// `reconciler_` leads; `follower_` is another replica on the same store, with an HSM session of its own.
class FollowerTest : public PolicyReconcilerTest {
 protected:
  FollowerTest() {
    auto deps = Dependencies();
    deps.hsm = &its_hsm_;
    deps.policies = &its_policies_;
    deps.events = &its_events_;
    deps.leads = [this] { return follower_leads_; };
    deps.enqueue = [](const std::string&) {};
    deps.published = [](const std::string&) {};
    follower_ = std::make_unique<PolicyReconciler>(PolicyReconciler::Options{}, std::move(deps));
  }
  Outcome Follow(const std::string& name = "release") {
    Sync(name);
    auto outcome = follower_->Reconcile(name);
    loop_.Flush();
    return outcome;
  }
  std::string Standing(const std::string& name = "release") {
    const auto active = its_policies_.Peek(name);
    if (active == nullptr) return "unknown";
    return active->key ? active->key->public_key.keyID() : active->not_ready_reason;
  }
  static std::string Id(std::string_view pem) { return testing::KeyFromPem(pem).keyID(); }

  testing::KeyRing its_hsm_;
  ClusterPolicies its_policies_{clock_};
  testing::EventList its_events_;
  bool follower_leads_ = false;
  std::unique_ptr<PolicyReconciler> follower_;
};

TEST_F(FollowerTest, MakesNothingAndWritesNothing) {
  Apply(Policy());
  EXPECT_EQ(Follow().kind, Kind::kAfter);
  EXPECT_EQ(Standing(), "KeyNotReady") << "nobody has said which key it is";
  its_hsm_.keys["release"] = {GoodKey(kPemA)};
  clock_.Advance(10s);
  Follow();
  EXPECT_EQ(Standing(), "KeyNotReady") << "the first key that turns up is for the leader to pin";
  EXPECT_EQ(its_hsm_.generated, 0);
  EXPECT_EQ(Writes(), 0U);
  EXPECT_THAT(its_events_.Reasons(), IsEmpty());
}

TEST_F(FollowerTest, TakesTheKeyThatTheLeaderHasPublished) {
  its_hsm_.keys["release"] = {GoodKey(kPemA, 77)};
  Apply(Policy());
  Follow();
  Reconcile();
  const auto writes = Writes();
  EXPECT_EQ(Follow().kind, Kind::kAfter);
  EXPECT_EQ(Standing(), Id(kPemA));
  EXPECT_EQ(its_policies_.Peek("release")->key->ref, 77U) << "found in this replica's own session";
  EXPECT_EQ(Writes(), writes);
  const auto finds = its_hsm_.finds;
  Follow();
  EXPECT_EQ(its_hsm_.finds, finds) << "not looked up at every turn";
  clock_.Advance(2min);
  Follow();
  EXPECT_GT(its_hsm_.finds, finds) << "but again after a while";
}

TEST_F(FollowerTest, TakesNoOtherKey) {
  its_hsm_.keys["release"] = {GoodKey(kPemB)};
  Apply(Policy());
  Reconcile();
  Follow();
  EXPECT_EQ(Standing(), "KeyChanged");
  its_hsm_.keys.clear();
  Follow();
  EXPECT_EQ(Standing(), "KeyLost");
  its_hsm_.keys["release"] = {GoodKey(kPemA), GoodKey(kPemB)};
  Follow();
  EXPECT_EQ(Standing(), "KeyAmbiguous");
  its_hsm_.keys["release"] = {GoodKey(kPemA)};
  Follow();
  EXPECT_EQ(Standing(), Id(kPemA));
}

TEST_F(FollowerTest, WaitsForTheLeaderAfterAnEdit) {
  HaveKey("release");
  its_hsm_.keys = {{"release", {GoodKey(kPemA)}}, {"newer", {GoodKey(kPemB)}}};
  Apply(Policy("release", false));
  Reconcile();
  Follow();
  Edit("release", [](json& spec) { spec["key"]["uri"] = "pkcs11:token=prod;object=newer"; });
  Follow();
  EXPECT_EQ(Standing(), "KeyNotReady");
  HaveKey("newer", kPemB);
  Reconcile();
  Follow();
  EXPECT_EQ(Standing(), Id(kPemB));
  its_hsm_.reachable = base::MakeError(Code::kUnavailable, "HSMUnavailable", "no worker");
  clock_.Advance(2min);
  Follow();
  EXPECT_EQ(Standing(), Id(kPemB)) << "an HSM that is away changes no key";
}

TEST_F(FollowerTest, GoesOnWhenItComesToLeadAndWhenItDoesNotAnyMore) {
  its_hsm_.keys["release"] = {GoodKey(kPemA)};
  Apply(Policy());
  Reconcile();
  Follow();
  follower_leads_ = true;
  leader_ = false;
  const auto writes = Writes();
  Follow();
  EXPECT_EQ(Standing(), Id(kPemA));
  EXPECT_EQ(Writes(), writes) << "the status says it already";
  Edit("release", [](json& spec) { spec["suspend"] = true; });
  Sync("release");
  Reconcile();
  EXPECT_EQ(Writes(), writes) << "the old leader leaves the status alone";
  Follow();
  EXPECT_EQ(Writes(), writes + 1);
  EXPECT_EQ(Reason(), "Suspended");
  EXPECT_TRUE(Usable()) << "and keeps its key";
}

TEST_F(FollowerTest, LeavesTheStatusOfAnInvalidPolicyToTheLeader) {
  Apply(Policy());
  Edit("release", [](json& spec) { spec["algorithms"] = json::array(); });
  EXPECT_EQ(Follow().kind, Kind::kDone);
  EXPECT_EQ(Writes(), 0U);
}

// ---- keys, again -------------------------------------------------------------------------

TEST_F(PolicyReconcilerTest, GeneratesNothingWithoutARecord) {
  journal_.writable = false;
  Apply(Policy());
  Reconcile();
  EXPECT_EQ(hsm_.generated, 0);
  EXPECT_EQ(Reason(), "AuditUnavailable");
}

TEST_F(PolicyReconcilerTest, CallsAnAbsentKeyLostWhenTheStatusNamesOne) {
  Apply(Policy());
  Reconcile();
  hsm_.keys.clear();
  Start();
  Reconcile();
  EXPECT_EQ(hsm_.generated, 1);
  EXPECT_EQ(Reason(), "KeyLost");
  EXPECT_FALSE(Usable());
  EXPECT_EQ(Now()["status"]["key"]["keyID"], testing::KeyFromPem(kPemA).keyID()) << "the pin stays";
  EXPECT_THAT(events_.Reasons(), Contains("KeyLost"));
  HaveKey("release");
  Reconcile();
  EXPECT_EQ(Reason(), "KeyAvailable");
}

TEST_F(PolicyReconcilerTest, CallsAnAbsentKeyLostWhenTheRecordNamesOne) {
  journal_.ever_named = {"5f0c"};
  Apply(Policy());
  Reconcile();
  EXPECT_EQ(hsm_.generated, 0);
  EXPECT_EQ(Reason(), "KeyLost");
}

TEST_F(PolicyReconcilerTest, ReadsTheStatusLiveBeforeItGenerates) {
  Apply(Policy());
  const auto stale = cache_["release"];
  // Another replica has generated and pinned a key meanwhile; its token has not synchronised yet.
  const json theirs = {{"key", {{"keyID", "5f0c"}}}};
  ASSERT_THAT(store_.PatchStatus(SigningPolicies(), "", "release", Now()["metadata"]["uid"].get<std::string>(),
                                 Now()["metadata"]["resourceVersion"].get<std::string>(), theirs),
              testing::IsOk());
  cache_["release"] = stale;
  reconciler_->Reconcile("release");
  EXPECT_EQ(hsm_.generated, 0);
}

TEST_F(PolicyReconcilerTest, PinsTheKey) {
  HaveKey("release", kPemA);
  Apply(Policy());
  Reconcile();
  HaveKey("release", kPemB);
  clock_.Advance(5min);
  Reconcile();
  EXPECT_EQ(Reason(), "KeyChanged");
  EXPECT_FALSE(Usable());
  EXPECT_EQ(Now()["status"]["key"]["keyID"], testing::KeyFromPem(kPemA).keyID());
  EXPECT_THAT(events_.Reasons(), Contains("KeyChanged"));
  Start();  // a restart does not forget
  Reconcile();
  EXPECT_EQ(Reason(), "KeyChanged");
  EXPECT_FALSE(Usable());
}

TEST_F(PolicyReconcilerTest, TakesAnotherKeyAfterThePolicyWasEdited) {
  HaveKey("release", kPemA);
  Apply(Policy());
  Reconcile();
  HaveKey("release", kPemB);
  clock_.Advance(5min);
  Reconcile();
  Edit("release", [](json& spec) { spec["description"] = "rotated on purpose"; });
  Sync("release");
  Reconcile();
  EXPECT_EQ(Reason(), "KeyAvailable");
  EXPECT_TRUE(Usable());
  EXPECT_EQ(Now()["status"]["key"]["keyID"], testing::KeyFromPem(kPemB).keyID());
  EXPECT_THAT(events_.Reasons(), Contains("KeyReplaced"));
}

TEST_F(PolicyReconcilerTest, TakesAnotherKeyAfterAnEditWhileTheHsmWasAway) {
  HaveKey("release", kPemA);
  Apply(Policy());
  Reconcile();
  hsm_.reachable = base::MakeError(Code::kUnavailable, "HSMUnavailable", "no worker");
  Edit("release", [](json& spec) { spec["key"]["uri"] = "pkcs11:token=prod;object=next"; });
  Sync("release");
  Reconcile();
  EXPECT_EQ(Reason(), "HSMUnavailable");
  EXPECT_EQ(Now()["status"]["observedGeneration"], 2);
  hsm_.reachable = {};
  HaveKey("next", kPemB);
  Reconcile();
  EXPECT_EQ(Reason(), "KeyAvailable");
  EXPECT_EQ(Now()["status"]["key"]["keyID"], testing::KeyFromPem(kPemB).keyID());
}

TEST_F(PolicyReconcilerTest, UsesNoKeyBeforeItsPinIsWritten) {
  HaveKey("release");
  Apply(Policy());
  store_.set_fault([](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
    if (call.verb == "PatchStatus") return FakeStore::Fault{base::MakeError(Code::kUnavailable, "down")};
    return std::nullopt;
  });
  EXPECT_EQ(Reconcile().kind, Kind::kRetry);
  EXPECT_FALSE(Usable());
  store_.set_fault({});
  Reconcile();
  EXPECT_TRUE(Usable());
}

TEST_F(PolicyReconcilerTest, RefusesAnAmbiguousUri) {
  hsm_.keys["release"] = {GoodKey(kPemA), GoodKey(kPemB)};
  Apply(Policy());
  Reconcile();
  EXPECT_EQ(Reason(), "KeyAmbiguous");
  EXPECT_FALSE(Usable());
}

TEST_F(PolicyReconcilerTest, RefusesAKeyThatMayNotSign) {
  auto key = GoodKey(kPemA);
  key.can_sign = false;
  hsm_.keys["release"] = {key};
  Apply(Policy());
  Reconcile();
  EXPECT_EQ(Reason(), "KeyNotUsable");
}

TEST_F(PolicyReconcilerTest, WarnsOfAnExtractableKeyAndUsesIt) {
  auto key = GoodKey(kPemA);
  key.extractable = true;
  key.never_extractable = false;
  hsm_.keys["release"] = {key};
  Apply(Policy());
  Reconcile();
  EXPECT_EQ(Status(), "True");
  EXPECT_THAT(Message(), HasSubstr("extractable"));
  EXPECT_EQ(Status("release", "KeyProtected"), "False");
  EXPECT_EQ(Reason("release", "KeyProtected"), "KeyExtractable");
  EXPECT_THAT(events_.Reasons(), Contains("KeyExtractable"));
  EXPECT_TRUE(Usable());
}

TEST_F(PolicyReconcilerTest, SaysWhenTheKeyCannotDoTheAlgorithms) {
  HaveKey("release");
  json object = Policy("release", false);
  object["spec"]["algorithms"] = {"SHA256WithRSA"};
  Apply(object);
  Reconcile();
  EXPECT_EQ(Reason(), "MechanismMissing");
  EXPECT_THAT(Message(), HasSubstr("SHA256WithRSA"));
}

TEST_F(PolicyReconcilerTest, TellsBothPoliciesThatTheyShareAKey) {
  HaveKey("a");
  HaveKey("b");
  Apply(Policy("a"));
  Apply(Policy("b"));
  Reconcile("a");
  EXPECT_TRUE(ConditionOf(Now("a"), "KeyShared").is_null());
  Reconcile("b");
  EXPECT_EQ(enqueued_, (std::set<std::string>{"a"}));
  Reconcile("a");
  EXPECT_EQ(Status("a", "KeyShared"), "True");
  EXPECT_EQ(Status("b", "KeyShared"), "True");
  EXPECT_THAT(ConditionOf(Now("a"), "KeyShared")["message"].get<std::string>(), HasSubstr("named by b"));
  EXPECT_EQ(Status("a"), "True");
  EXPECT_THAT(events_.Reasons(), Contains("KeyShared"));

  enqueued_.clear();
  ASSERT_THAT(store_.Delete(SigningPolicies(), "", "b", ""), testing::IsOk());
  cache_.erase("b");
  Reconcile("b");
  EXPECT_EQ(enqueued_, (std::set<std::string>{"a"}));
  Reconcile("a");
  EXPECT_EQ(Status("a", "KeyShared"), "False");
}

TEST_F(PolicyReconcilerTest, WaitsForTheHsmAndRecovers) {
  hsm_.reachable = base::MakeError(Code::kUnavailable, "HSMUnavailable", "no worker");
  Apply(Policy());
  EXPECT_EQ(Reconcile().kind, Kind::kAfter);
  EXPECT_EQ(Reason(), "HSMUnavailable");
  EXPECT_THAT(Message(), HasSubstr("put the token back"));
  EXPECT_FALSE(Usable());
  Reconcile();
  EXPECT_EQ(Writes(), 1U);
  hsm_.reachable = {};
  Reconcile();
  EXPECT_EQ(Reason(), "KeyAvailable");
  EXPECT_TRUE(Usable());
  EXPECT_THAT(published_, Contains("release"));
}

TEST_F(PolicyReconcilerTest, KeepsAKnownKeyWhileTheHsmIsAway) {
  HaveKey("release");
  Apply(Policy());
  Reconcile();
  hsm_.reachable = base::MakeError(Code::kUnavailable, "HSMUnavailable", "no worker");
  clock_.Advance(5min);
  Reconcile();
  EXPECT_EQ(Reason(), "HSMUnavailable");
  EXPECT_TRUE(Usable()) << "SigningService says HSMUnavailable by itself";
}

// ---- revisions -------------------------------------------------------------------------

TEST_F(PolicyReconcilerTest, NamesThePathOfAnInvalidField) {
  json object = Policy();
  object["spec"]["algorithms"] = {"MD5WithRSA"};
  Apply(object);
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(Reason(), "Invalid");
  EXPECT_THAT(Message(), HasSubstr("spec.algorithms"));
  EXPECT_EQ(policies_.Peek("release"), nullptr);
}

TEST_F(PolicyReconcilerTest, StopsSigningUnderAPolicyThatBecameInvalid) {
  HaveKey("release");
  Apply(Policy());
  Reconcile();
  const auto before = cache_["release"];
  Edit("release", [](json& spec) { spec["algorithms"] = {"MD5WithRSA"}; });
  Sync("release");
  Reconcile();
  EXPECT_FALSE(Usable());
  EXPECT_EQ(policies_.Peek("release")->not_ready_reason, "Invalid");
  EXPECT_EQ(Reason(), "Invalid");
  // A late copy of the valid revision does not bring it back.
  reconciler_->Observe(*before, ClusterPolicies::Origin::kCache);
  EXPECT_FALSE(Usable());

  Edit("release", [](json& spec) { spec["algorithms"] = {"ECDSAWithSHA256"}; });
  Sync("release");
  Reconcile();
  EXPECT_TRUE(Usable());
}

TEST_F(PolicyReconcilerTest, PutsASuspensionInForceByTheLiveReadAlone) {
  HaveKey("release");
  Apply(Policy());
  Reconcile();
  Edit("release", [](json& spec) { spec["suspend"] = true; });
  ASSERT_FALSE(policies_.Peek("release")->compiled->policy().spec.suspend);
  ASSERT_THAT(reconciler_->Refresh("release"), testing::IsOk());
  EXPECT_TRUE(policies_.Peek("release")->compiled->policy().spec.suspend);
  EXPECT_TRUE(Usable()) << "the key is carried over";
  EXPECT_THAT(enqueued_, Contains("release"));
  // The cache is behind: it must not undo the stop.
  reconciler_->Reconcile("release");
  EXPECT_TRUE(policies_.Peek("release")->compiled->policy().spec.suspend);
  Sync("release");
  Reconcile();
  EXPECT_EQ(Reason(), "Suspended");
  EXPECT_EQ(Status(), "False");
}

TEST_F(PolicyReconcilerTest, TakesADeletedPolicyOutOfForce) {
  HaveKey("release");
  Apply(Policy());
  Reconcile();
  const auto late = cache_["release"];
  ASSERT_THAT(store_.Delete(SigningPolicies(), "", "release", ""), testing::IsOk());
  ASSERT_THAT(reconciler_->Refresh("release"), testing::IsOk());
  EXPECT_EQ(policies_.Peek("release"), nullptr);
  reconciler_->Observe(*late, ClusterPolicies::Origin::kCache);
  EXPECT_EQ(policies_.Peek("release"), nullptr) << "a late cache does not bring it back";
  cache_.erase("release");
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(hsm_.keys["release"].size(), 1U) << "the HSM is never touched";
}

TEST_F(PolicyReconcilerTest, SaysThatQuotasAreLocal) {
  HaveKey("release");
  json object = Policy();
  object["spec"]["quota"] = {{"perSecond", 5}};
  Apply(object);
  Reconcile();
  EXPECT_THAT(Message(), HasSubstr("this operator process alone"));
}

TEST_F(PolicyReconcilerTest, RecordsEveryChangeOfAPolicyOnce) {
  HaveKey("release");
  Apply(Policy());
  Reconcile();
  Reconcile();
  Edit("release", [](json& spec) { spec["suspend"] = true; });
  Sync("release");
  Reconcile();
  ASSERT_THAT(JournalTypes(), ElementsAre("policyChanged", "policyChanged"));
  EXPECT_EQ(journal_.lines[0].fields["oldHash"], "");
  EXPECT_EQ(journal_.lines[1].fields["oldHash"], journal_.lines[0].fields["newHash"]);
  EXPECT_NE(journal_.lines[1].fields["newHash"], journal_.lines[0].fields["newHash"]);
}

TEST_F(PolicyReconcilerTest, KeepsTheTransitionTimeWhileTheStatusStays) {
  Apply(Policy("release", false));
  Reconcile();
  const auto since = ConditionOf(Now(), "Ready")["lastTransitionTime"];
  clock_.Advance(1min);
  hsm_.reachable = base::MakeError(Code::kUnavailable, "HSMUnavailable", "no worker");
  Reconcile();
  EXPECT_EQ(Reason(), "HSMUnavailable");
  EXPECT_EQ(ConditionOf(Now(), "Ready")["lastTransitionTime"], since);
  hsm_.reachable = {};
  HaveKey("release");
  Reconcile();
  EXPECT_NE(ConditionOf(Now(), "Ready")["lastTransitionTime"], since);
}

}  // namespace
}  // namespace signet::reconcile
