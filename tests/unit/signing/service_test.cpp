#include "signing/service.hpp"

#include <gmock/gmock.h>

#include "api/json.hpp"
#include "crypto/digest.hpp"
#include "encoding/text.hpp"
#include "fakes/fake_hsm.hpp"
#include "obs/metrics.hpp"
#include "support/journal_fixture.hpp"

namespace signet::testing {
namespace {

using base::Code;
using encoding::SignatureAlgorithm;
using signing::ActivePolicy;
using signing::Caller;
using signing::Door;
using signing::Refused;
using signing::SignCall;
using signing::Signed;
using signing::SigningService;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using namespace std::chrono_literals;

class FakePolicies final : public signing::PolicySource {
 public:
  [[nodiscard]] std::shared_ptr<const ActivePolicy> Find(std::string_view name) const override {
    const auto it = all.find(std::string(name));
    return it == all.end() ? nullptr : it->second;
  }
  [[nodiscard]] std::vector<std::shared_ptr<const ActivePolicy>> All() const override {
    std::vector<std::shared_ptr<const ActivePolicy>> list;
    for (const auto& [name, policy] : all) list.push_back(policy);
    return list;
  }
  std::map<std::string, std::shared_ptr<const ActivePolicy>> all;
};

class SigningServiceTest : public JournalFixture {
 protected:
  void SetUp() override {
    journal_ = Open();
    Put("release", MakePolicy("release"), hsm_.Add(TestKey::Ec()));
    caller_.principal.username = "system:serviceaccount:ci:builder";
    caller_.peer = identity::PeerInfo{1000, 1000, 42};
    Start();
  }
  void Start() {
    signing::SigningService::Dependencies dependencies;
    dependencies.reactor = &reactor_;
    dependencies.clock = &clock_;
    dependencies.hsm = &hsm_;
    dependencies.journal = journal_.get();
    dependencies.policies = &policies_;
    dependencies.quotas = quotas_.get();
    service_ = SigningService::Create(options_, std::move(dependencies));
  }

  static api::SigningPolicy MakePolicy(const std::string& name) {
    api::SigningPolicy policy;
    policy.metadata.name = name;
    policy.metadata.uid = "uid-" + name;
    policy.metadata.generation = 3;
    policy.spec.algorithms = {SignatureAlgorithm::kEcdsaWithSha256};
    policy.spec.subjects.push_back({api::Subject::Kind::kServiceAccount, "builder", "ci", std::nullopt});
    return policy;
  }
  void Put(const std::string& name, api::SigningPolicy policy, std::optional<token::KeyInfo> key,
           const std::string& why = "KeyNotFound") {
    ActivePolicy active;
    active.hash = crypto::Sha256Hex(base::AsBytes(std::to_string(++revision_)));
    active.compiled = *policy::CompiledPolicy::Compile(std::move(policy));
    active.key = std::move(key);
    if (!active.key) active.not_ready_reason = why;
    active.confirmed_at = clock_.Steady();
    policies_.all[name] = std::make_shared<const ActivePolicy>(std::move(active));
  }
  void Change(const std::function<void(api::SigningPolicy&)>& change, const std::string& name = "release") {
    auto policy = policies_.all.at(name)->compiled->policy();
    change(policy);
    Put(name, std::move(policy), policies_.all.at(name)->key);
  }

  static SignCall Call(const std::string& policy = "release") {
    SignCall call;
    call.policy = policy;
    call.digest = api::Digest{encoding::HashAlgorithm::kSha256, crypto::Hash(encoding::HashAlgorithm::kSha256, {})};
    return call;
  }
  SigningService::Answer Sign(SignCall call) { return Sign(caller_, std::move(call)); }
  SigningService::Answer Sign(const Caller& caller, SignCall call) {
    std::optional<SigningService::Answer> answer;
    service_->Sign(caller, std::move(call), [&](SigningService::Answer a) {
      EXPECT_FALSE(answer.has_value()) << "answered twice";
      answer = std::move(a);
    });
    EXPECT_FALSE(answer.has_value()) << "the callback ran before the call returned";
    reactor_.RunUntil([&] { return answer.has_value(); });
    if (!answer) return tl::make_unexpected(Refused{base::MakeError(Code::kInternal, "no answer"), std::nullopt});
    return *std::move(answer);
  }
  static std::string ReasonOf(const SigningService::Answer& answer) {
    return answer ? "signed" : answer.error().error.reason;
  }
  [[nodiscard]] nlohmann::json Last() const { return Records().back(); }
  [[nodiscard]] std::vector<std::string> Results() const {
    std::vector<std::string> results;
    for (const auto& record : Records()) {
      if (record["type"] == "outcome") results.push_back(record["result"]);
    }
    return results;
  }
  static Caller Stranger() {
    Caller caller;
    caller.principal.username = "system:serviceaccount:ci:stranger";
    return caller;
  }

  FakePolicies policies_;
  FakeHsm hsm_{reactor_};
  std::unique_ptr<policy::QuotaLedger> quotas_ = std::make_unique<policy::QuotaLedger>(clock_);
  SigningService::Options options_;
  std::unique_ptr<audit::Journal> journal_;
  std::unique_ptr<SigningService> service_;
  Caller caller_;
  int revision_ = 0;
};

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
  Caller controller = caller_;
  controller.door = Door::kController;
  EXPECT_EQ(ReasonOf(Sign(controller, Call())), "AwaitingApproval");
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
  Caller controller = caller_;
  controller.door = Door::kController;
  EXPECT_EQ(ReasonOf(Sign(controller, Call())), "VerificationFailed");
  Put("rsa", MakePolicy("rsa"), hsm_.Add(TestKey::Rsa()));
  Change(
      [](auto& policy) {
        policy.spec.algorithms = {SignatureAlgorithm::kSha256WithRsa};
        policy.spec.verify_signatures = false;
      },
      "rsa");
  EXPECT_EQ(ReasonOf(Sign(Call("rsa"))), "VerificationFailed");
}

// ---- the policy turns -------------------------------------------------------------------

TEST_F(SigningServiceTest, DiscardsWhatAPolicyNoLongerAllows) {
  const auto key = *policies_.all["release"]->key;
  const std::vector<std::pair<std::string, std::function<void()>>> turns = {
      {"Suspended", [&] { Change([](auto& policy) { policy.spec.suspend = true; }); }},
      {"NotAllowed", [&] { Change([](auto& policy) { policy.spec.subjects.clear(); }); }},
      {"AlgorithmNotAllowed",
       [&] { Change([](auto& policy) { policy.spec.algorithms = {SignatureAlgorithm::kEcdsaWithSha384}; }); }},
      {"NotAllowed", [&] { policies_.all.clear(); }},
      {"KeyNotReady", [&] { Put("release", MakePolicy("release"), hsm_.Add(TestKey::Ec())); }},
      {"KeyNotReady", [&] { Put("release", MakePolicy("release"), std::nullopt, "KeyChanged"); }},
      {"PolicyStale", [&] { clock_.Advance(10min); }},
  };
  for (const auto& [reason, turn] : turns) {
    Put("release", MakePolicy("release"), key);
    hsm_.before_sign = turn;
    const auto answer = Sign(Call());
    EXPECT_EQ(ReasonOf(answer), reason);
    EXPECT_EQ(Last()["result"], "discarded");
    EXPECT_EQ(Last()["reason"], "PolicyChanged");
    EXPECT_TRUE(Last().contains("signatureSha256"));
  }
  EXPECT_TRUE(Verify().ok()) << Explain(Verify());
}

TEST_F(SigningServiceTest, DiscardsWhatAPolicyTurnsAgainstAfterTheOutcome) {
  for (const auto door : {Door::kSocket, Door::kController}) {
    Change([](auto& policy) { policy.spec.suspend = false; });
    caller_.door = door;
    hsm_.hold = true;
    std::optional<SigningService::Answer> answer;
    service_->Sign(caller_, Call(), [&](SigningService::Answer a) { answer = std::move(a); });
    reactor_.RunReady();
    hsm_.hold = false;
    hsm_.ReleaseHeld();  // the outcome is composed, not yet written
    Change([](auto& policy) { policy.spec.suspend = true; });
    reactor_.RunReady();
    ASSERT_TRUE(answer);
    EXPECT_EQ(ReasonOf(*answer), "Suspended");
    const auto records = Records();
    EXPECT_EQ(records[records.size() - 2]["result"], "signed");
    EXPECT_EQ(records.back()["type"], "release");
    EXPECT_EQ(records.back()["released"], false);
    EXPECT_EQ(records.back()["reason"], "PolicyChanged");
  }
  EXPECT_TRUE(Verify().ok()) << Explain(Verify());
  service_.reset();
  journal_.reset();
  EXPECT_TRUE(Open()->unsettled().empty());
}

TEST_F(SigningServiceTest, KeepsSigningThroughHarmlessEdits) {
  hsm_.before_sign = [this] { Change([](auto& policy) { policy.spec.description = "new words"; }); };
  EXPECT_TRUE(Sign(Call()));
  hsm_.before_sign = [this] {
    Change([](auto& policy) {
      policy.spec.algorithms = {SignatureAlgorithm::kEcdsaWithSha384, SignatureAlgorithm::kEcdsaWithSha256};
    });
  };
  EXPECT_TRUE(Sign(Call())) << "the default changed; what was asked for is still allowed";
}

// ---- the record fails -------------------------------------------------------------------

TEST_F(SigningServiceTest, SignsNothingWithoutARecord) {
  files_.write_error = ENOSPC;
  const auto answer = Sign(Call());
  EXPECT_EQ(ReasonOf(answer), "AuditUnavailable");
  EXPECT_TRUE(answer.error().retry_after);
  EXPECT_EQ(ReasonOf(Sign(Call())), "AuditUnavailable");
  EXPECT_EQ(hsm_.signs, 0);
  files_.write_error = 0;
  reactor_.Advance(10s);
  EXPECT_TRUE(Sign(Call())) << "heals by itself";
}

TEST_F(SigningServiceTest, ReleasesNothingWithoutAnOutcomeAndRecordsItLater) {
  hsm_.before_sign = [this] { files_.write_error = ENOSPC; };
  const auto answer = Sign(Call());
  EXPECT_EQ(ReasonOf(answer), "AuditUnavailable");
  EXPECT_EQ(hsm_.signs, 1);
  files_.write_error = 0;
  reactor_.Advance(10s);
  EXPECT_THAT(Results(), ElementsAre("discarded"));
  EXPECT_EQ(Records().back()["reason"], "AuditUnavailable");
  EXPECT_TRUE(Records().back().contains("signatureSha256"));
  EXPECT_TRUE(Verify().ok()) << Explain(Verify());
}

TEST_F(SigningServiceTest, WaitsForTheDiskWithFsync) {
  service_.reset();
  journal_.reset();
  durability_ = audit::Durability::kFsync;
  journal_ = Open();
  Start();
  const int before = files_.syncs;
  ASSERT_TRUE(Sign(Call()));
  EXPECT_GE(files_.syncs, before + 2);
  files_.sync_error = EIO;
  EXPECT_EQ(ReasonOf(Sign(Call())), "AuditUnavailable");
  EXPECT_EQ(hsm_.signs, 1);
}

// ---- batches, settling, looking ----------------------------------------------------------

TEST_F(SigningServiceTest, AnswersEachItemOfABatch) {
  Change([](auto& policy) { policy.spec.quota = api::Quota{3, std::nullopt, api::Quota::Scope::kPolicy}; });
  auto wrong = Call();
  wrong.digest = api::Digest{encoding::HashAlgorithm::kSha512, base::Bytes(64)};
  const int before = files_.writes;
  hsm_.before_sign = [&, first = true]() mutable {
    if (first) {
      EXPECT_EQ(files_.writes, before + 1) << "all intents in one append";
    }
    first = false;
  };
  std::vector<SigningService::Answer> answers;
  service_->SignBatch(caller_, {Call(), wrong, Call(), Call(), Call()}, [&](auto all) { answers = std::move(all); });
  EXPECT_TRUE(answers.empty());
  reactor_.RunReady();
  ASSERT_THAT(answers, SizeIs(5));
  std::vector<std::string> reasons;
  for (const auto& answer : answers) reasons.push_back(ReasonOf(answer));
  EXPECT_THAT(reasons, ElementsAre("signed", "DigestMismatch", "signed", "signed", "QuotaExceeded"));
  EXPECT_TRUE(Verify().ok());
}

TEST_F(SigningServiceTest, RefusesBatchesOfWrongSize) {
  for (const std::size_t size : {0U, 257U}) {
    std::optional<std::size_t> answered;
    service_->SignBatch(caller_, std::vector<SignCall>(size, Call()), [&](const auto& all) { answered = all.size(); });
    reactor_.RunReady();
    EXPECT_EQ(answered, size);
  }
  EXPECT_EQ(hsm_.signs, 0);
}

TEST_F(SigningServiceTest, SettlesSoonOrLater) {
  caller_.door = Door::kController;
  auto call = Call();
  call.request_name = "req";
  call.request_uid = "uid-1";
  const auto answer = Sign(call);
  ASSERT_TRUE(answer);
  EXPECT_EQ(Records()[1]["requestName"], "req");
  files_.write_error = ENOSPC;
  bool settled = false;
  service_->Settle({answer->record, true, {}}, [&] { settled = true; });
  reactor_.Advance(10s);
  EXPECT_FALSE(settled);
  files_.write_error = 0;
  reactor_.Advance(10s);
  EXPECT_TRUE(settled);
  EXPECT_EQ(Last()["type"], "release");
  EXPECT_EQ(Last()["released"], true);
  service_->Settle({answer->record, true, {}}, {});  // twice: the record refuses, nothing breaks
  reactor_.Advance(10s);
  EXPECT_TRUE(Verify().ok()) << Explain(Verify());
}

TEST_F(SigningServiceTest, ShowsCallersTheirOwnPoliciesOnly) {
  auto other = MakePolicy("other");
  other.spec.subjects[0].name = "someone-else";
  Put("other", other, std::nullopt);
  EXPECT_THAT(service_->Visible(caller_), SizeIs(1));
  EXPECT_NE(service_->Visible(caller_, "release"), nullptr);
  EXPECT_EQ(service_->Visible(caller_, "other"), nullptr);
  EXPECT_EQ(service_->Visible(caller_, "none"), nullptr);
}

TEST_F(SigningServiceTest, DropsAnswersThatComeAfterItsEnd) {
  hsm_.hold = true;
  service_->Sign(caller_, Call(), [](const auto&) { FAIL() << "nobody is there any more"; });
  reactor_.RunReady();
  service_.reset();
  hsm_.ReleaseHeld();
  reactor_.RunReady();
  journal_.reset();
  journal_ = Open();
  EXPECT_THAT(Results(), ElementsAre("unknown"));
}

}  // namespace
}  // namespace signet::testing
