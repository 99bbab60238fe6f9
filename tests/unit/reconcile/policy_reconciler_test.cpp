#include "policy_fixture.hpp"

namespace signet::reconcile {
namespace {

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
  hsm_.reachable = base::MakeError(Code::kUnavailable, "HSMUnavailable", "put the token back");
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
