// How a request ends without a signature, and what it waits for.
#include "request_fixture.hpp"

namespace signet::reconcile {
namespace {

// ---- terminal ends ---------------------------------------------------------------------

TEST_F(RequestReconcilerTest, NeverSignsAChangedSpec) {
  Start();
  Apply();
  json object = *cache_;
  object["spec"]["digest"] = "sha256:" + std::string(64, 'a');
  ASSERT_THAT(store_.Update(SigningRequests(), "ci", "app", object), testing::IsOk());
  Sync();
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(Reason("Ready"), "Failed");
  EXPECT_EQ(Reason("Failed"), "SpecChanged");
  EXPECT_THAT(service_.calls, IsEmpty());
  EXPECT_THAT(events_.Reasons(), ElementsAre("Failed"));
}

TEST_F(RequestReconcilerTest, FailsAnInvalidSpecWithItsPath) {
  Start();
  Apply(Request({{"digest", "sha256:xyz"}}));
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(Reason("Failed"), "Invalid");
  EXPECT_THAT(Message("Ready"), HasSubstr("spec.digest"));
  EXPECT_THAT(service_.calls, IsEmpty());
}

// Issue 11, row 15. The webhook refuses such a text; this request is from before it did.
TEST_F(RequestReconcilerTest, FailsATextThatATerminalObeys) {
  Start();
  Apply(Request({{"artifact", {{"name", "app"}, {"annotations", {{"log", "ok\u001b[1A"}}}}}}));
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(Reason("Failed"), "Invalid");
  EXPECT_THAT(Message("Ready"), HasSubstr("spec.artifact.annotations[\"log\"]: character 3 is U+001B"));
  EXPECT_THAT(service_.calls, IsEmpty());
}

struct Denial {
  const char* reason;
  policy::Reason decision;
};
class DenialTest : public RequestReconcilerTest, public ::testing::WithParamInterface<Denial> {};

TEST_P(DenialTest, IsWrittenAfterALiveReadOfThePolicy) {
  Start();
  service_.always = Refuse(Code::kPermissionDenied, GetParam().reason, "do this instead");
  service_.explained = policy::Decision{};
  service_.explained->reason = GetParam().decision;
  service_.explained->message = "do this instead";
  Apply();
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(refreshed_, 1);
  EXPECT_EQ(Reason("Denied"), GetParam().reason);
  EXPECT_EQ(ConditionOf(Now(), "Denied")["status"], "True");
  EXPECT_EQ(Reason("Ready"), "Denied");
  EXPECT_EQ(ConditionOf(Now(), "Ready")["status"], "False");
  EXPECT_TRUE(ConditionOf(Now(), "Approved").is_null());
  EXPECT_FALSE(Now()["status"].contains("signature"));
  EXPECT_TRUE(Now()["status"].contains("finishedAt"));
  EXPECT_EQ(Writes(), 1U);
  EXPECT_THAT(events_.Reasons(), ElementsAre("Denied"));
  // Denied for ever, whatever the policy says later.
  service_.always.reset();
  service_.explained.reset();
  Sync();
  Reconcile();
  EXPECT_EQ(Reason("Denied"), GetParam().reason);
  EXPECT_EQ(service_.signatures, 0);
}
INSTANTIATE_TEST_SUITE_P(Reasons, DenialTest,
                         ::testing::Values(Denial{"NotAllowed", policy::Reason::kNotAllowed},
                                           Denial{"AlgorithmNotAllowed", policy::Reason::kAlgorithmNotAllowed},
                                           Denial{"ArtifactNotAllowed", policy::Reason::kArtifactNotAllowed},
                                           Denial{"ImageNotAllowed", policy::Reason::kImageNotAllowed},
                                           Denial{"Suspended", policy::Reason::kSuspended}),
                         [](const auto& test) { return std::string(test.param.reason); });

TEST_F(RequestReconcilerTest, DoesNotDenyWhileThePolicyCannotBeRead) {
  Start();
  service_.always = Refuse(Code::kPermissionDenied, "NotAllowed");
  service_.explained = policy::Decision{};
  refresh_ = base::MakeError(Code::kUnavailable, "no connection");
  Apply();
  EXPECT_EQ(Reconcile().kind, Kind::kRetry);
  EXPECT_EQ(Writes(), 0U);
}

TEST_F(RequestReconcilerTest, SignsWhenOnlyTheCacheForbadeIt) {
  Start();
  service_.script.push_back(Refuse(Code::kPermissionDenied, "NotAllowed"));
  Apply();
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(refreshed_, 1);
  EXPECT_EQ(Reason("Ready"), "Signed");
}

TEST_F(RequestReconcilerTest, HidesWhetherThePolicyExists) {
  Start();
  service_.explained = policy::Decision{};
  std::vector<std::string> messages;
  for (const char* text : {"there is no such policy", "you are no subject of it"}) {
    service_.always = Refuse(Code::kPermissionDenied, "NotAllowed", text);
    service_.explained->message = text;
    Apply();
    Reconcile();
    messages.push_back(Message("Denied"));
    ASSERT_THAT(store_.Delete(SigningRequests(), "ci", "app", ""), testing::IsOk());
    cache_ = nullptr;
    Reconcile();
  }
  EXPECT_EQ(messages[0], messages[1]);
}

class FailureTest : public RequestReconcilerTest, public ::testing::WithParamInterface<const char*> {};
TEST_P(FailureTest, IsTerminal) {
  Start();
  service_.always = Refuse(Code::kInternal, GetParam());
  Apply();
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  const std::string reason = GetParam();
  EXPECT_EQ(Reason("Failed"), reason.empty() ? "SigningFailed" : reason);
  EXPECT_EQ(Reason("Ready"), "Failed");
  EXPECT_EQ(service_.calls.size(), 1U);
  Sync();
  service_.always.reset();
  Reconcile();
  EXPECT_EQ(service_.signatures, 0);
}
INSTANTIATE_TEST_SUITE_P(Reasons, FailureTest,
                         ::testing::Values("VerificationFailed", "MechanismMissing", "DigestMismatch", ""),
                         [](const auto& test) {
                           const std::string name = test.param;
                           return name.empty() ? std::string("UnknownErrorCode") : name;
                         });

TEST_F(RequestReconcilerTest, TriesAgainWithANewIntentWhenTheHsmLeftItOpen) {
  Start();
  service_.script.push_back(Refuse(Code::kDeadlineExceeded, "HSMUnavailable"));
  Apply();
  EXPECT_EQ(Reconcile().kind, Kind::kAfter);
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(service_.calls.size(), 2U);
  EXPECT_EQ(Reason("Ready"), "Signed");
}

TEST_F(RequestReconcilerTest, FailsWhenTheHsmLeavesItOpenTooOften) {
  Start();
  service_.always = Refuse(Code::kDeadlineExceeded, "HSMUnavailable");
  Apply();
  int rounds = 0;
  while (Reconcile().kind == Kind::kAfter && rounds < 50) ++rounds;
  EXPECT_EQ(service_.calls.size(), 6U);
  EXPECT_EQ(Reason("Failed"), "OutcomeUnknown");
}

// ---- waiting ---------------------------------------------------------------------------

struct Waiting {
  const char* refused;
  const char* shown;
  Code code;
};
class WaitingTest : public RequestReconcilerTest, public ::testing::WithParamInterface<Waiting> {};

TEST_P(WaitingTest, IsShownOnceAndThenSigned) {
  Start();
  service_.always = Refuse(GetParam().code, GetParam().refused, "wait");
  Apply();
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(Reconcile().kind, Kind::kAfter);
    clock_.Advance(2s);
    if (i % 2 == 1) Sync();
  }
  EXPECT_EQ(Reason("Ready"), GetParam().shown);
  EXPECT_EQ(ConditionOf(Now(), "Ready")["status"], "False");
  EXPECT_TRUE(ConditionOf(Now(), "Denied").is_null());
  EXPECT_EQ(Writes(), 1U);
  EXPECT_THAT(reconciler_->WaitingFor("release"), ElementsAre(kKey));
  EXPECT_THAT(reconciler_->WaitingFor("other"), IsEmpty());

  service_.always.reset();
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(Reason("Ready"), "Signed");
  EXPECT_EQ(Writes(), 2U);
  EXPECT_THAT(reconciler_->WaitingFor(""), IsEmpty());
}
INSTANTIATE_TEST_SUITE_P(Reasons, WaitingTest,
                         ::testing::Values(Waiting{"QuotaExceeded", "QuotaExceeded", Code::kResourceExhausted},
                                           Waiting{"OutsideWindow", "OutsideWindow", Code::kPermissionDenied},
                                           Waiting{"KeyNotReady", "KeyNotReady", Code::kFailedPrecondition},
                                           Waiting{"HSMUnavailable", "HSMUnavailable", Code::kUnavailable},
                                           Waiting{"ApprovalRequired", "AwaitingApproval", Code::kPermissionDenied},
                                           Waiting{"PolicyStale", "PolicyStale", Code::kUnavailable},
                                           Waiting{"AuditUnavailable", "AuditUnavailable", Code::kUnavailable},
                                           Waiting{"Busy", "Busy", Code::kResourceExhausted}),
                         [](const auto& test) { return std::string(test.param.shown); });

TEST_F(RequestReconcilerTest, SpendsNoWriteOnAHiccup) {
  Start();
  service_.script.push_back(Refuse(Code::kResourceExhausted, "Busy"));
  Apply();
  EXPECT_EQ(Reconcile().kind, Kind::kAfter);
  EXPECT_EQ(Writes(), 0U);
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(Writes(), 1U);
}

TEST_F(RequestReconcilerTest, WaitsAsLongAsItWasTold) {
  Start();
  auto step = Refuse(Code::kPermissionDenied, "OutsideWindow");
  step.retry_after = 90s;
  service_.always = step;
  Apply(Request({{"expiresAfter", "2m"}}));
  EXPECT_EQ(Reconcile().after, base::Duration(90s));
  clock_.Advance(90s);
  EXPECT_EQ(Reconcile().after, base::Duration(30s)) << "and not beyond expiresAfter";
}

TEST_F(RequestReconcilerTest, DeniesWhatExpiredUndecided) {
  Start();
  service_.always = Refuse(Code::kFailedPrecondition, "KeyNotReady");
  Apply(Request({{"expiresAfter", "1h"}}));
  Reconcile();
  clock_.Advance(1h);
  Sync();
  service_.always.reset();
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(Reason("Denied"), "Expired");
  EXPECT_EQ(Reason("Ready"), "Denied");
  EXPECT_EQ(service_.signatures, 0);
}

}  // namespace
}  // namespace signet::reconcile
