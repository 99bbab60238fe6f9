#include "service_fixture.hpp"

namespace signet::testing {
namespace {

TEST_F(SigningServiceTest, SignsWhatThePolicyAllows) {
  const auto call = Call();
  const auto answer = Sign(call);
  ASSERT_TRUE(answer) << answer.error().error.message;
  EXPECT_THAT(answer->public_key.Verify(answer->algorithm, call.digest->value, answer->signature), IsOk());
  EXPECT_EQ(answer->policy_generation, 3);
  EXPECT_EQ(answer->signed_at, clock_.Now());
  const auto records = Records();
  ASSERT_THAT(records, SizeIs(3));
  const auto& intent = records[1];
  EXPECT_EQ(intent["operation"], answer->record);
  EXPECT_EQ(intent["door"], "socket");
  EXPECT_EQ(intent["principal"], caller_.principal.username);
  EXPECT_EQ(intent["identity"], "asserted");
  EXPECT_EQ(intent["peerUID"], 1000);
  EXPECT_EQ(intent["keyID"], answer->public_key.keyID());
  EXPECT_EQ(intent["digest"], "sha256:" + encoding::ToHex(call.digest->value));
  EXPECT_EQ(intent["policyHash"], policies_.all["release"]->hash);
  EXPECT_EQ(records[2]["operation"], answer->record);
  EXPECT_EQ(records[2]["signatureSha256"], crypto::Sha256Hex(answer->signature));
  EXPECT_EQ(service_->in_flight(), 0U);
}

TEST_F(SigningServiceTest, WritesTheIntentBeforeItAsksTheHsm) {
  hsm_.before_sign = [this] { EXPECT_THAT(Types(), ElementsAre("stream", "intent")); };
  ASSERT_TRUE(Sign(Call()));
  EXPECT_EQ(hsm_.signs, 1);
}

TEST_F(SigningServiceTest, WritesTheOutcomeBeforeItAnswers) {
  bool answered = false;
  service_->Sign(caller_, Call(), [&](const SigningService::Answer& answer) {
    answered = true;
    EXPECT_TRUE(answer);
    EXPECT_THAT(Types(), ElementsAre("stream", "intent", "outcome"));
  });
  reactor_.RunReady();
  EXPECT_TRUE(answered);
}

TEST_F(SigningServiceTest, SignsMessagesOfEveryKind) {
  const base::Bytes message = base::ToBytes(base::AsBytes("what is signed"));
  Put("ed", MakePolicy("ed"), hsm_.Add(TestKey::Ed25519()));
  Change([](auto& policy) { policy.spec.algorithms = {SignatureAlgorithm::kPureEd25519}; }, "ed");
  Put("rsa", MakePolicy("rsa"), hsm_.Add(TestKey::Rsa()));
  Change(
      [](auto& policy) {
        policy.spec.algorithms = {SignatureAlgorithm::kSha256WithRsa, SignatureAlgorithm::kSha512WithRsaPss};
      },
      "rsa");
  SignCall call;
  call.message = message;
  call.policy = "ed";
  auto answer = Sign(call);
  ASSERT_TRUE(answer) << answer.error().error.message;
  EXPECT_THAT(answer->public_key.Verify(answer->algorithm, message, answer->signature), IsOk());
  EXPECT_EQ(Records()[1]["digest"], "sha256:" + crypto::Sha256Hex(message));
  EXPECT_EQ(Records()[1]["message"], true);
  call.policy = "rsa";
  call.algorithm = SignatureAlgorithm::kSha512WithRsaPss;
  answer = Sign(call);
  ASSERT_TRUE(answer) << answer.error().error.message;
  EXPECT_THAT(answer->public_key.Verify(answer->algorithm, crypto::Hash(encoding::HashAlgorithm::kSha512, message),
                                        answer->signature),
              IsOk());
}

// ---- refusals ---------------------------------------------------------------------------

TEST_F(SigningServiceTest, AnswersAlikeForUnknownPoliciesAndStrangers) {
  const auto unknown = Sign(Call("no-such-policy"));
  const auto stranger = Sign(Stranger(), Call());
  Change([](auto& policy) { policy.spec.suspend = true; });
  const auto suspended = Sign(Stranger(), Call());
  clock_.Advance(1h);
  const auto stale = Sign(Stranger(), Call());
  for (const auto* answer : {&unknown, &stranger, &suspended, &stale}) {
    ASSERT_FALSE(*answer);
    EXPECT_EQ(answer->error().error.reason, "NotAllowed");
    EXPECT_EQ(answer->error().error.code, unknown.error().error.code);
    EXPECT_EQ(answer->error().error.message, unknown.error().error.message);
    EXPECT_EQ(answer->error().retry_after, unknown.error().retry_after);
  }
  EXPECT_EQ(service_->Explain(Stranger(), Call()).message, service_->Explain(caller_, Call("none")).message);
  EXPECT_EQ(hsm_.signs, 0);
}

TEST_F(SigningServiceTest, JudgesThePodsImagesAtTheGatewayOnly) {
  Change([](auto& policy) { policy.spec.pod = api::PodRule{{"sha256:builder"}}; });
  Caller pod = Through(Door::kGateway);
  const auto pending = Sign(pod, Call());
  EXPECT_EQ(ReasonOf(pending), "PodPending");
  EXPECT_EQ(pending.error().error.code, Code::kUnavailable);
  EXPECT_EQ(pending.error().retry_after, base::Duration(1s));
  const auto runs = [&pod](std::vector<std::string> digests) {
    pod.images = std::make_shared<const identity::PodImages>(identity::PodImages{std::move(digests), true});
  };
  runs({"sha256:builder", "sha256:other"});
  EXPECT_EQ(ReasonOf(Sign(pod, Call())), "ImageNotAllowed");
  runs({"sha256:builder"});
  EXPECT_TRUE(Sign(pod, Call()));
  for (const auto door : {Door::kSocket, Door::kController}) {
    const auto refused = Sign(Through(door), Call());
    EXPECT_EQ(ReasonOf(refused), "ImageNotAllowed") << Name(door);
    EXPECT_THAT(refused.error().error.message, HasSubstr("only callers of the gateway"));
  }
  hsm_.before_sign = [this] { Change([](auto& policy) { policy.spec.pod->image_digests = {"sha256:newer"}; }); };
  EXPECT_EQ(ReasonOf(Sign(pod, Call())), "ImageNotAllowed") << "the list changed while the HSM signed";
  EXPECT_EQ(Last()["result"], "discarded");
}

TEST_F(SigningServiceTest, SignsWithTheTokensThatAreThereWhileAnotherIsAway) {
  const auto elsewhere = hsm_.Add(TestKey::Ec());
  Put("elsewhere", MakePolicy("elsewhere"), elsewhere);
  hsm_.states[policies_.all["release"]->key->ref] = {true, "", "", 1, 1};
  hsm_.states[elsewhere.ref] = hsm_.state = {false, "TokenNotFound", "", 2, 1};
  EXPECT_TRUE(Sign(Call()));
  EXPECT_EQ(ReasonOf(Sign(Call("elsewhere"))), "HSMUnavailable");
  EXPECT_EQ(hsm_.signs, 1);
}

TEST_F(SigningServiceTest, RecordsTheArtifactsAnnotations) {
  auto call = Call();
  call.artifact = api::Artifact{"registry.example.com/app", "", {{"org.opencontainers.image.revision", "4f2c"}}};
  ASSERT_TRUE(Sign(call));
  ASSERT_TRUE(Sign(Call()));
  std::vector<nlohmann::json> intents;
  for (auto& record : Records()) {
    if (record["type"] == "intent") intents.push_back(std::move(record));
  }
  ASSERT_EQ(intents.size(), 2U);
  EXPECT_EQ(intents[0]["artifactAnnotations"],
            nlohmann::json::parse(R"([{"key":"org.opencontainers.image.revision","value":"4f2c"}])"));
  EXPECT_FALSE(intents[1].contains("artifactAnnotations")) << "those of the call before are gone";
}

TEST_F(SigningServiceTest, GivesEveryReasonToSubjects) {
  const auto ec = policies_.all["release"]->key;
  Change([](auto& policy) { policy.spec.suspend = true; });
  EXPECT_EQ(ReasonOf(Sign(Call())), "Suspended");
  Change([](auto& policy) { policy.spec.suspend = false; });

  auto call = Call();
  call.algorithm = SignatureAlgorithm::kSha256WithRsa;
  EXPECT_EQ(ReasonOf(Sign(call)), "AlgorithmNotAllowed");

  Change([](auto& policy) { policy.spec.artifacts.push_back({"registry.example.com/**", {}}); });
  EXPECT_EQ(ReasonOf(Sign(Call())), "ArtifactNotAllowed");
  Change([](auto& policy) { policy.spec.artifacts.clear(); });

  Change([](auto& policy) { policy.spec.approvals = api::Approvals{1, {}, std::nullopt, false}; });
  EXPECT_EQ(ReasonOf(Sign(Call())), "ApprovalRequired");
  EXPECT_EQ(ReasonOf(Sign(Through(Door::kController), Call())), "AwaitingApproval");
  Change([](auto& policy) { policy.spec.approvals.reset(); });

  // The fake clock stands at 09:00 on a Monday.
  Change([](auto& policy) { policy.spec.windows = {{{2}, {0}, {60}, "UTC"}}; });
  const auto outside = Sign(Call());
  EXPECT_EQ(ReasonOf(outside), "OutsideWindow");
  EXPECT_EQ(outside.error().retry_after, base::Duration(15h));
  Change([](auto& policy) { policy.spec.windows.clear(); });

  call = Call();
  call.digest = api::Digest{encoding::HashAlgorithm::kSha512, base::Bytes(64)};
  EXPECT_EQ(ReasonOf(Sign(call)), "DigestMismatch");
  call.digest = api::Digest{encoding::HashAlgorithm::kSha256, base::Bytes(31)};
  EXPECT_EQ(ReasonOf(Sign(call)), "DigestMismatch");

  call = Call();
  call.message = base::Bytes(1);
  EXPECT_EQ(ReasonOf(Sign(call)), "Malformed");
  call.digest.reset();
  call.message = base::Bytes(api::kMaxMessageBytes + 1);
  EXPECT_EQ(ReasonOf(Sign(call)), "Malformed");

  Put("release", MakePolicy("release"), std::nullopt, "KeyLost");
  EXPECT_EQ(ReasonOf(Sign(Call())), "KeyNotReady");
  Put("release", MakePolicy("release"), std::nullopt, "HSMUnavailable");
  EXPECT_EQ(ReasonOf(Sign(Call())), "HSMUnavailable");
  auto weak = *ec;
  weak.mechanisms.clear();
  Put("release", MakePolicy("release"), weak);
  EXPECT_EQ(ReasonOf(Sign(Call())), "MechanismMissing");
  Put("release", MakePolicy("release"), hsm_.Add(TestKey::Rsa()));
  EXPECT_EQ(ReasonOf(Sign(Call())), "MechanismMissing");

  Put("release", MakePolicy("release"), ec);
  hsm_.state = {false, "PinRefused", "", 1, 0};
  EXPECT_EQ(ReasonOf(Sign(Call())), "HSMUnavailable");
  hsm_.state.ready = true;

  EXPECT_TRUE(Sign(Call()));
  clock_.Advance(options_.policy_max_age + 1s);
  const auto stale = Sign(Call());
  EXPECT_EQ(ReasonOf(stale), "PolicyStale");
  EXPECT_TRUE(stale.error().retry_after);
  EXPECT_EQ(hsm_.signs, 1);
}

TEST_F(SigningServiceTest, SignsInDirectModeOnlyWhereThePolicySaysSo) {
  options_.direct_mode = true;
  Start();
  EXPECT_EQ(ReasonOf(Sign(Call())), "NotAllowed");
  EXPECT_EQ(service_->Explain(caller_, Call()).reason, policy::Reason::kNotAllowed);
  const auto subject = Sign(Call());
  const auto stranger = Sign(Stranger(), Call());
  EXPECT_THAT(subject.error().error.message, HasSubstr("allowDirect"));
  EXPECT_THAT(stranger.error().error.message, Not(HasSubstr("allowDirect")));
  Change([](auto& policy) {
    policy.spec.allow_direct = true;
    policy.spec.subjects.push_back({api::Subject::Kind::kGroup, "everyone", "", std::nullopt});
  });
  EXPECT_TRUE(Sign(Call()));
  Caller grouped = Stranger();
  grouped.principal.groups = {"everyone"};
  EXPECT_EQ(ReasonOf(Sign(grouped, Call())), "NotAllowed") << "groups prove nothing in direct mode";
}

TEST_F(SigningServiceTest, HoldsQuotasPerOperation) {
  Change([](auto& policy) { policy.spec.quota = api::Quota{2, std::nullopt, api::Quota::Scope::kPolicy}; });
  EXPECT_TRUE(Sign(Call()));
  auto wrong = Call();
  wrong.algorithm = SignatureAlgorithm::kSha256WithRsa;
  EXPECT_FALSE(Sign(wrong)) << "what is refused costs nothing";
  EXPECT_TRUE(Sign(Call()));
  const auto answer = Sign(Call());
  EXPECT_EQ(ReasonOf(answer), "QuotaExceeded");
  EXPECT_EQ(answer.error().error.code, Code::kResourceExhausted);
  ASSERT_TRUE(answer.error().retry_after);
  clock_.Advance(*answer.error().retry_after);
  EXPECT_TRUE(Sign(Call()));
}

TEST_F(SigningServiceTest, RemembersTheDaysQuotaAcrossRestarts) {
  Change([](auto& policy) { policy.spec.quota = api::Quota{std::nullopt, 3, api::Quota::Scope::kPolicy}; });
  EXPECT_TRUE(Sign(Call()));
  EXPECT_TRUE(Sign(Call()));
  service_.reset();
  journal_.reset();
  journal_ = Open();
  quotas_ = std::make_unique<policy::QuotaLedger>(clock_);
  Start();
  EXPECT_TRUE(Sign(Call()));
  EXPECT_EQ(ReasonOf(Sign(Call())), "QuotaExceeded");
}

TEST_F(SigningServiceTest, SaysBusyBeyondItsLimit) {
  options_.max_in_flight = 2;
  Start();
  hsm_.hold = true;
  int answers = 0;
  for (int i = 0; i < 2; ++i) service_->Sign(caller_, Call(), [&](const auto&) { ++answers; });
  reactor_.RunReady();
  EXPECT_EQ(service_->in_flight(), 2U);
  const auto busy = Sign(Call());
  EXPECT_EQ(ReasonOf(busy), "Busy");
  EXPECT_TRUE(busy.error().retry_after);
  hsm_.ReleaseHeld();
  reactor_.RunReady();
  EXPECT_EQ(answers, 2);
  EXPECT_EQ(service_->in_flight(), 0U);
}

TEST_F(SigningServiceTest, PutsRefusalsOnRecord) {
  Sign(Stranger(), Call());
  Sign(Stranger(), Call());
  Sign(Call("unknown"));
  reactor_.Advance(10s);
  std::map<std::string, int> counts;
  for (const auto& record : Records()) {
    if (record["type"] == "refused")
      counts[record["principal"].get<std::string>() + record["policy"].get<std::string>()] = record["count"];
  }
  EXPECT_EQ(counts.size(), 2U);
  EXPECT_EQ(counts["system:serviceaccount:ci:strangerrelease"], 2);
  EXPECT_THAT(obs::RenderMetrics(), HasSubstr("signet_refusals_total{policy=\"\",reason=\"NotAllowed\"}"));
}

// ---- who asks, and how that is known ------------------------------------------------------

TEST_F(SigningServiceTest, SignsNothingForACallerThatLostItsDoorProofOrPod) {
  const auto refuses = [this](const Caller& caller, const char* what) {
    const auto answer = Sign(caller, Call());
    EXPECT_EQ(ReasonOf(answer), "Internal") << what;
    if (answer) return;
    EXPECT_EQ(answer.error().error.code, Code::kInternal) << what;
    EXPECT_FALSE(answer.error().retry_after) << what;
  };
  for (const auto door : {Door::kSocket, Door::kController, Door::kGateway}) {
    const Caller whole = Through(door);
    EXPECT_TRUE(Sign(whole, Call())) << Name(door);
    for (const auto other : {Door{}, Door::kSocket, Door::kController, Door::kGateway, Door{4}}) {
      Caller damaged = whole;
      damaged.door = other;
      if (other != door) refuses(damaged, "another door");
    }
    for (const auto proof : {identity::Proof::kAsserted, identity::Proof::kAdmission, identity::Proof::kTokenReview}) {
      Caller damaged = whole;
      damaged.principal.proof = proof;
      const bool folder = door == Door::kController && proof == identity::Proof::kAsserted;
      if (proof != whole.principal.proof && !folder) refuses(damaged, "another proof");
    }
    Caller damaged = whole;
    damaged.pod = whole.pod ? std::nullopt : std::optional(identity::PodIdentity{"ci", "p", "u", ""});
    refuses(damaged, "a pod gained or lost");
    damaged = whole;
    if (damaged.pod) damaged.pod->uid.clear();
    if (damaged.pod) refuses(damaged, "the pod's uid lost");
    damaged = whole;
    damaged.images = std::make_shared<const identity::PodImages>();
    if (door != Door::kGateway) refuses(damaged, "images of a pod gained");
    damaged = whole;
    damaged.peer = identity::PeerInfo{1000, 1000, 42};
    if (door != Door::kSocket) refuses(damaged, "a peer gained");
  }
  EXPECT_EQ(hsm_.signs, 3);
}

// ---- what the HSM does -------------------------------------------------------------------

struct HsmCase {
  Code code;
  const char* result;
  const char* reason;  ///< to the caller
  bool again;          ///< asking again makes sense
};

class HsmFailureTest : public SigningServiceTest, public ::testing::WithParamInterface<HsmCase> {};

TEST_P(HsmFailureTest, EndsOnRecordAndInARefusal) {
  hsm_.error = base::MakeError(GetParam().code, "Whatever", "it broke");
  const auto answer = Sign(Call());
  EXPECT_EQ(ReasonOf(answer), GetParam().reason);
  EXPECT_EQ(answer.error().retry_after.has_value(), GetParam().again);
  EXPECT_THAT(Results(), ElementsAre(GetParam().result));
  EXPECT_TRUE(Verify().ok());
}

INSTANTIATE_TEST_SUITE_P(Codes, HsmFailureTest,
                         ::testing::Values(HsmCase{Code::kUnavailable, "failed", "HSMUnavailable", true},
                                           HsmCase{Code::kResourceExhausted, "failed", "Busy", true},
                                           HsmCase{Code::kFailedPrecondition, "failed", "MechanismMissing", false},
                                           HsmCase{Code::kDeadlineExceeded, "unknown", "HSMUnavailable", true},
                                           HsmCase{Code::kInternal, "unknown", "SigningFailed", false}));

TEST_F(SigningServiceTest, NeverReleasesASignatureThatDoesNotVerify) {
  hsm_.spoil = true;
  const auto answer = Sign(Call());
  EXPECT_EQ(ReasonOf(answer), "VerificationFailed");
  EXPECT_FALSE(answer.error().retry_after);
  EXPECT_EQ(Last()["result"], "failed");
  EXPECT_EQ(Last()["reason"], "VerificationFailed");
}

TEST_F(SigningServiceTest, VerifiesUnlessAnEcPolicyOnTheSocketSaysNo) {
  hsm_.spoil = true;
  Change([](auto& policy) { policy.spec.verify_signatures = false; });
  EXPECT_TRUE(Sign(Call()));
  EXPECT_EQ(ReasonOf(Sign(Through(Door::kController), Call())), "VerificationFailed");
  Put("rsa", MakePolicy("rsa"), hsm_.Add(TestKey::Rsa()));
  Change(
      [](auto& policy) {
        policy.spec.algorithms = {SignatureAlgorithm::kSha256WithRsa};
        policy.spec.verify_signatures = false;
      },
      "rsa");
  EXPECT_EQ(ReasonOf(Sign(Call("rsa"))), "VerificationFailed");
}

}  // namespace
}  // namespace signet::testing
