#include "reconcile/request_reconciler.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

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
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Kind = Outcome::Kind;
using namespace std::chrono_literals;

const RequestKey kKey{"ci", "app"};

json Request(const json& extra = json::object()) {
  json object = {{"metadata", {{"name", "app"}}},
                 {"spec",
                  {{"policyRef", {{"name", "release"}}},
                   {"digest", "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
                   {"requester", {{"username", "system:serviceaccount:ci:builder"}}}}}};
  object["spec"].update(extra);
  return object;
}

class RequestReconcilerTest : public ::testing::Test {
 protected:
  explicit RequestReconcilerTest(bool trusts = true) : store_(clock_, trusts) {}
  ~RequestReconcilerTest() override { loop_.Flush(); }

  void Start(const std::vector<audit::OpenOperation>& unsettled = {}, RequestReconciler::Options options = {}) {
    RequestReconciler::Dependencies deps;
    deps.reactor = &loop_;
    deps.clock = &clock_;
    deps.store = &store_;
    deps.service = &service_;
    deps.events = &events_;
    deps.cached = [this](const RequestKey&) { return cache_; };
    deps.ensure_fresh = [this](const std::string&) { ++ensured_; };
    deps.refresh_policy = [this](const std::string&) {
      ++refreshed_;
      if (on_refresh_) on_refresh_();
      return refresh_;
    };
    deps.stamped = stamped_;
    deps.approvals = [this](const RequestKey&) { return approvals_; };
    reconciler_ = std::make_unique<RequestReconciler>(options, std::move(deps), unsettled);
  }
  /// Creates the object and lets the informer's copy follow.
  void Apply(const json& object = Request()) {
    ASSERT_THAT(store_.Create(SigningRequests(), "ci", object), testing::IsOk());
    Sync();
  }
  void Sync() {
    const auto now = store_.Revisions(SigningRequests(), "ci", "app");
    cache_ = now.empty() ? nullptr : std::make_shared<const json>(now.back());
  }
  Outcome Reconcile() {
    auto outcome = reconciler_->Reconcile(kKey);
    loop_.Flush();
    return outcome;
  }
  /// The object as the store has it, without a counted call.
  json Now() { return store_.Revisions(SigningRequests(), "ci", "app").back(); }
  std::string Reason(std::string_view type) {
    const json condition = ConditionOf(Now(), type);
    return condition.is_null() ? "" : condition["reason"].get<std::string>();
  }
  std::string Message(std::string_view type) { return ConditionOf(Now(), type)["message"].get<std::string>(); }
  std::size_t Writes() const { return store_.CountCalls("PatchStatus"); }
  static testing::ScriptedService::Step Refuse(Code code, std::string reason, std::string message = "because") {
    return {base::MakeError(code, std::move(reason), std::move(message)), std::nullopt, {}};
  }
  void Label(const char* value) {
    json object = *store_.Get(SigningRequests(), "ci", "app");
    object["metadata"]["labels"] = {{"touched", value}};
    ASSERT_THAT(store_.Update(SigningRequests(), "ci", "app", object), testing::IsOk());
  }
  /// Runs `act` in front of the first status write.
  void BeforeFirstPatch(std::function<void()> act) {
    auto pending = std::make_shared<std::function<void()>>(std::move(act));
    store_.set_fault([pending](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
      if (call.verb == "PatchStatus" && *pending) std::exchange(*pending, nullptr)();
      return std::nullopt;
    });
  }
  /// The first `count` status writes end with `code`; with `applied` they take effect all the same.
  void FailPatches(int count, Code code, bool applied) {
    auto left = std::make_shared<int>(count);
    store_.set_fault([left, code, applied](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
      if (call.verb != "PatchStatus" || (*left)-- <= 0) return std::nullopt;
      return FakeStore::Fault{base::MakeError(code, "no answer"), applied};
    });
  }

  FakeClock clock_;
  FakeStore store_;
  testing::LoopThread loop_;
  testing::ScriptedService service_;
  testing::EventList events_;
  std::shared_ptr<const json> cache_;
  std::function<base::Status(const json&)> stamped_;
  std::vector<policy::Approval> approvals_;
  base::Status refresh_;
  std::function<void()> on_refresh_;
  int ensured_ = 0;
  int refreshed_ = 0;
  std::unique_ptr<RequestReconciler> reconciler_;
};

class UntrustedRequestReconcilerTest : public RequestReconcilerTest {
 protected:
  UntrustedRequestReconcilerTest() : RequestReconcilerTest(false) {}
};

// ---- the happy path --------------------------------------------------------------------

TEST_F(RequestReconcilerTest, SignsWithOneWriteAndNoOtherCall) {
  Start();
  Apply();
  EXPECT_EQ(Reconcile().kind, Kind::kDone);

  EXPECT_EQ(Writes(), 1U);
  EXPECT_EQ(store_.CountCalls("Get"), 0U);
  EXPECT_EQ(refreshed_, 0);
  EXPECT_EQ(ensured_, 1);
  const json status = Now()["status"];
  EXPECT_EQ(ConditionOf(Now(), "Ready")["status"], "True");
  EXPECT_EQ(Reason("Ready"), "Signed");
  EXPECT_EQ(ConditionOf(Now(), "Approved")["status"], "True");
  EXPECT_EQ(Reason("Approved"), "PolicyAllows");
  EXPECT_TRUE(ConditionOf(Now(), "Denied").is_null());
  EXPECT_EQ(status["signature"], "AQIDAQ==");
  EXPECT_EQ(status["algorithm"], "ECDSAWithSHA256");
  EXPECT_EQ(status["keyID"], testing::KeyFromPem(testing::kPemA).keyID());
  EXPECT_EQ(status["publicKey"], testing::KeyFromPem(testing::kPemA).pem());
  EXPECT_EQ(status["policy"], (json{{"name", "release"}, {"uid", "policy-uid"}, {"generation", 3}}));
  EXPECT_EQ(status["record"], "OP1");
  EXPECT_EQ(status["signedAt"], "2026-11-23T09:00:00Z");
  EXPECT_EQ(status["finishedAt"], "2026-11-23T09:00:00Z");
  EXPECT_EQ(status["observedGeneration"], 1);
  EXPECT_THAT(service_.settled, ElementsAre("OP1 released"));
  EXPECT_THAT(events_.Reasons(), IsEmpty());
}

TEST_F(RequestReconcilerTest, TellsTheServiceWhoAsksAndForWhat) {
  Start();
  Apply(Request({{"algorithm", "ECDSAWithSHA256"}, {"artifact", {{"name", "app/api:1"}}}}));
  Reconcile();
  ASSERT_EQ(service_.calls.size(), 1U);
  const auto& call = service_.calls[0];
  EXPECT_EQ(call.policy, "release");
  EXPECT_EQ(call.digest->value.size(), 32U);
  EXPECT_EQ(call.artifact->name, "app/api:1");
  EXPECT_EQ(call.request_namespace, "ci");
  EXPECT_EQ(call.request_name, "app");
  EXPECT_EQ(call.request_uid, Now()["metadata"]["uid"]);
  EXPECT_EQ(service_.callers[0].principal.username, "system:serviceaccount:ci:builder");
  EXPECT_EQ(service_.callers[0].principal.proof, identity::Proof::kAsserted);
  EXPECT_EQ(service_.callers[0].door, signing::Door::kController);
}

TEST_F(RequestReconcilerTest, SignsOnceWhileTheCacheIsBehind) {
  Start();
  Apply();
  Reconcile();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Reconcile().kind, Kind::kDone);
  Sync();
  Reconcile();
  EXPECT_EQ(service_.signatures, 1);
  EXPECT_EQ(Writes(), 1U);
}

TEST_F(RequestReconcilerTest, LeavesDecidedRequestsAloneAfterARestart) {
  Start();
  Apply();
  Reconcile();
  Sync();
  Start();
  const json before = Now();
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  service_.always = Refuse(Code::kPermissionDenied, "Suspended");
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(Now(), before);
  EXPECT_EQ(Writes(), 1U);
  EXPECT_EQ(store_.CountCalls("Get"), 0U);
}

TEST_F(RequestReconcilerTest, IgnoresAnObjectThatIsGone) {
  Start();
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(service_.calls.size(), 0U);
}

// ---- who asks --------------------------------------------------------------------------

TEST_F(UntrustedRequestReconcilerTest, LeavesUnstampedRequestsUnsignedAndSaysSoOnce) {
  Start();
  Apply();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Reconcile().kind, Kind::kAfter);
    Sync();
  }
  EXPECT_EQ(Reason("Ready"), "RequesterUnknown");
  EXPECT_EQ(ConditionOf(Now(), "Ready")["status"], "False");
  EXPECT_EQ(Writes(), 1U);
  EXPECT_THAT(service_.calls, IsEmpty());
}

TEST_F(UntrustedRequestReconcilerTest, SignsForWhoeverTheStampProves) {
  stamped_ = [](const json&) { return base::Status{}; };
  Start();
  Apply();
  Reconcile();
  EXPECT_EQ(Reason("Ready"), "Signed");
  EXPECT_EQ(service_.callers[0].principal.proof, identity::Proof::kAdmission);
}

TEST_F(UntrustedRequestReconcilerTest, NeverSignsWhatWasNotStampedWhenItWasMade) {
  stamped_ = [](const json&) -> base::Status {
    return base::MakeError(Code::kUnauthenticated, "StampNotFresh", "stamped an hour before it was made");
  };
  Start();
  Apply();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Reconcile().kind, Kind::kAfter);
    Sync();
  }
  EXPECT_EQ(Reason("Ready"), "RequesterUnknown");
  EXPECT_THAT(Message("Ready"), HasSubstr("stamped an hour before"));
  EXPECT_EQ(Writes(), 1U);
  EXPECT_THAT(service_.calls, IsEmpty());
}

// ---- who approves ----------------------------------------------------------------------

namespace approvals {

policy::Approval By(const char* name) {
  policy::Approval approval;
  approval.name = std::string("app-") + name;
  approval.spec.approver = api::UserInfo{name, "", {}, {}};
  return approval;
}
api::ApprovalStatus Line(const char* name, bool counts) {
  return {std::string("app-") + name,
          name,
          "Approve",
          *base::ParseTime("2026-11-23T09:00:00Z"),
          counts,
          "Counts",
          "",
          3,
          ""};
}

}  // namespace approvals

TEST_F(RequestReconcilerTest, ListsEachApprovalWithOneWrite) {
  Start();
  Apply();
  auto waiting = Refuse(Code::kPermissionDenied, "AwaitingApproval", "1 of 2 approvals");
  service_.always = waiting;
  Reconcile();
  Sync();
  EXPECT_EQ(Writes(), 1U);
  EXPECT_FALSE(Now()["status"].contains("approvals"));

  approvals_ = {approvals::By("alice")};
  waiting.approvals = {approvals::Line("alice", true)};
  service_.always = waiting;
  for (int i = 0; i < 3; ++i) {
    Reconcile();
    Sync();
  }
  EXPECT_EQ(Writes(), 2U);
  ASSERT_EQ(service_.calls.back().approvals.size(), 1U);
  EXPECT_EQ(Now()["status"]["approvals"], (json::array({{{"name", "app-alice"},
                                                         {"approver", "alice"},
                                                         {"decision", "Approve"},
                                                         {"time", "2026-11-23T09:00:00Z"},
                                                         {"counts", true},
                                                         {"reason", "Counts"},
                                                         {"policyGeneration", 3}}})));
  EXPECT_EQ(Reason("Ready"), "AwaitingApproval");

  service_.always.reset();
  Reconcile();
  EXPECT_EQ(Reason("Ready"), "Signed");
}

TEST_F(RequestReconcilerTest, EndsWithAnApproversNo) {
  Start();
  Apply();
  approvals_ = {approvals::By("bob")};
  service_.always = Refuse(Code::kPermissionDenied, "DeniedByApprover", "bob said no: not today");
  service_.explained =
      policy::Decision{policy::Reason::kDeniedByApprover, {}, "bob said no: not today", std::nullopt, std::nullopt};
  Reconcile();
  EXPECT_EQ(Reason("Denied"), "DeniedByApprover");
  EXPECT_THAT(Message("Denied"), HasSubstr("not today"));
}

TEST_F(RequestReconcilerTest, NeedsARequester) {
  Start();
  json object = Request();
  object["spec"].erase("requester");
  Apply(object);
  Reconcile();
  EXPECT_EQ(Reason("Ready"), "RequesterUnknown");
  EXPECT_THAT(service_.calls, IsEmpty());
}

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
                                           Denial{"Suspended", policy::Reason::kSuspended}),
                         [](const auto& info) { return std::string(info.param.reason); });

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
                         [](const auto& info) {
                           const std::string name = info.param;
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
                         [](const auto& info) { return std::string(info.param.shown); });

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

// ---- conflicts -------------------------------------------------------------------------

TEST_F(RequestReconcilerTest, WritesTheSameSignatureAfterAConflict) {
  Start();
  Apply();
  BeforeFirstPatch([this] { Label("once"); });
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(service_.signatures, 1);
  EXPECT_EQ(Now()["status"]["record"], "OP1");
  EXPECT_EQ(Now()["metadata"]["labels"]["touched"], "once");
  EXPECT_THAT(service_.settled, ElementsAre("OP1 released"));
}

TEST_F(RequestReconcilerTest, DiscardsWhenTheRequestWasDeleted) {
  Start();
  Apply();
  BeforeFirstPatch([this] { ASSERT_THAT(store_.Delete(SigningRequests(), "ci", "app", ""), testing::IsOk()); });
  Reconcile();
  EXPECT_THAT(service_.settled, ElementsAre("OP1 discarded RequestGone"));
}

TEST_F(RequestReconcilerTest, DiscardsWhenTheRequestWasReplaced) {
  Start();
  Apply();
  BeforeFirstPatch([this] {
    ASSERT_THAT(store_.Delete(SigningRequests(), "ci", "app", ""), testing::IsOk());
    ASSERT_THAT(store_.Create(SigningRequests(), "ci", Request()), testing::IsOk());
  });
  Reconcile();
  EXPECT_THAT(service_.settled, ElementsAre("OP1 discarded RequestReplaced"));
  EXPECT_FALSE(Now().contains("status"));
  Sync();
  Reconcile();
  EXPECT_EQ(Now()["status"]["record"], "OP2");
}

TEST_F(RequestReconcilerTest, DiscardsWhenTheSpecWasChanged) {
  Start();
  Apply();
  BeforeFirstPatch([this] {
    json object = *store_.Get(SigningRequests(), "ci", "app");
    object["spec"]["digest"] = "sha256:" + std::string(64, 'a');
    ASSERT_THAT(store_.Update(SigningRequests(), "ci", "app", object), testing::IsOk());
  });
  Reconcile();
  EXPECT_THAT(service_.settled, ElementsAre("OP1 discarded SpecChanged"));
  Sync();
  Reconcile();
  EXPECT_EQ(Reason("Failed"), "SpecChanged");
  EXPECT_EQ(service_.signatures, 1);
}

TEST_F(RequestReconcilerTest, NeverChangesAStatusThatAnotherReplicaWrote) {
  Start();
  Apply();
  const json theirs = {{"record", "OTHER"},
                       {"signature", "AAAA"},
                       {"conditions", json::array({{{"type", "Ready"}, {"status", "True"}, {"reason", "Signed"}}})}};
  BeforeFirstPatch([&] {
    const json now = *store_.Get(SigningRequests(), "ci", "app");
    ASSERT_THAT(store_.PatchStatus(SigningRequests(), "ci", "app", now["metadata"]["uid"].get<std::string>(),
                                   now["metadata"]["resourceVersion"].get<std::string>(), theirs),
                testing::IsOk());
  });
  Reconcile();
  EXPECT_THAT(service_.settled, ElementsAre("OP1 discarded AlreadyDecided"));
  EXPECT_EQ(Now()["status"], theirs);
  Sync();
  Reconcile();
  EXPECT_EQ(Now()["status"], theirs);
  EXPECT_EQ(service_.signatures, 1);
}

TEST_F(RequestReconcilerTest, GivesUpOnEndlessConflicts) {
  Start();
  Apply();
  FailPatches(100, Code::kAborted, false);
  EXPECT_EQ(Reconcile().kind, Kind::kAfter);
  EXPECT_EQ(Writes(), 6U);
  EXPECT_THAT(service_.settled, ElementsAre("OP1 discarded Conflict"));
}

// ---- answers that got lost -------------------------------------------------------------

TEST_F(RequestReconcilerTest, FindsOutThatALostWriteLanded) {
  Start();
  Apply();
  FailPatches(1, Code::kDeadlineExceeded, true);
  EXPECT_EQ(Reconcile().kind, Kind::kRetry);
  EXPECT_THAT(service_.settled, IsEmpty());
  const json landed = Now();
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_THAT(service_.settled, ElementsAre("OP1 released"));
  EXPECT_EQ(Now(), landed);
  EXPECT_EQ(service_.signatures, 1);
  EXPECT_EQ(Writes(), 1U);
}

TEST_F(RequestReconcilerTest, WritesTheSameSignatureWhenTheWriteWasLost) {
  Start();
  Apply();
  FailPatches(2, Code::kUnavailable, false);
  EXPECT_EQ(Reconcile().kind, Kind::kRetry);
  EXPECT_EQ(Reconcile().kind, Kind::kRetry);
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(Now()["status"]["record"], "OP1");
  EXPECT_EQ(service_.signatures, 1);
  EXPECT_THAT(service_.settled, ElementsAre("OP1 released"));
}

TEST_F(RequestReconcilerTest, TakesALostSignatureBackWhenThePolicyWasStoppedMeanwhile) {
  Start();
  Apply();
  FailPatches(1, Code::kUnavailable, false);
  Reconcile();
  service_.explained = policy::Decision{};
  service_.explained->reason = policy::Reason::kSuspended;
  service_.always = Refuse(Code::kPermissionDenied, "Suspended");
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_THAT(service_.settled, ElementsAre("OP1 discarded PolicyChanged"));
  EXPECT_EQ(Reason("Denied"), "Suspended");
  EXPECT_FALSE(Now()["status"].contains("signature"));
}

TEST_F(RequestReconcilerTest, DiscardsALostSignatureOfADeletedRequest) {
  Start();
  Apply();
  FailPatches(1, Code::kUnavailable, false);
  Reconcile();
  ASSERT_THAT(store_.Delete(SigningRequests(), "ci", "app", ""), testing::IsOk());
  cache_ = nullptr;
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_THAT(service_.settled, ElementsAre("OP1 discarded RequestGone"));
}

// ---- what earlier processes left -------------------------------------------------------

TEST_F(RequestReconcilerTest, SettlesAsReleasedWhatTheStatusCarries) {
  Start();
  Apply();
  Reconcile();
  service_.settled.clear();
  Sync();
  audit::OpenOperation open{"OP1", "controller", "release", "ci", "app", Now()["metadata"]["uid"].get<std::string>(),
                            "aa",  true};
  Start({open});
  EXPECT_THAT(reconciler_->Unsettled(), ElementsAre(kKey));
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_THAT(service_.settled, ElementsAre("OP1 released"));
  EXPECT_EQ(service_.signatures, 1);
  EXPECT_THAT(reconciler_->Unsettled(), IsEmpty());
}

TEST_F(RequestReconcilerTest, DiscardsWhatDiedBeforeTheWriteAndSignsAnew) {
  Apply();
  Start({{"OLD", "controller", "release", "ci", "app", Now()["metadata"]["uid"].get<std::string>(), "aa", true}});
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_THAT(service_.settled, ElementsAre("OLD discarded Interrupted", "OP1 released"));
  EXPECT_THAT(service_.signed_when_settled, ElementsAre(0, 1));
  EXPECT_EQ(Now()["status"]["record"], "OP1");
}

TEST_F(RequestReconcilerTest, DoesNotSignBeforeTheOldOperationIsSettled) {
  Apply();
  Start({{"OLD", "controller", "release", "ci", "app", Now()["metadata"]["uid"].get<std::string>(), "aa", true}});
  store_.set_fault([](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
    if (call.verb == "Get") return FakeStore::Fault{base::MakeError(Code::kUnavailable, "down")};
    return std::nullopt;
  });
  EXPECT_EQ(Reconcile().kind, Kind::kRetry);
  EXPECT_THAT(service_.calls, IsEmpty());
  EXPECT_THAT(service_.settled, IsEmpty());
  store_.set_fault({});
  Reconcile();
  EXPECT_THAT(service_.settled, ElementsAre("OLD discarded Interrupted", "OP1 released"));
}

TEST_F(RequestReconcilerTest, DiscardsWhatBelongsToARequestThatIsGone) {
  Start({{"OLD", "controller", "release", "ci", "app", "uid-gone", "aa", true}});
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_THAT(service_.settled, ElementsAre("OLD discarded RequestGone"));
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(service_.settled.size(), 1U);
}

// ---- ttl -------------------------------------------------------------------------------

TEST_F(RequestReconcilerTest, DeletesAfterTheTtl) {
  Start();
  Apply(Request({{"ttlSecondsAfterFinished", 60}}));
  Reconcile();
  Sync();
  EXPECT_EQ(Reconcile().after, base::Duration(60s));
  EXPECT_EQ(store_.CountCalls("Delete"), 0U);
  clock_.Advance(60s);
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(store_.CountCalls("Delete"), 1U);
  EXPECT_THAT(store_.Get(SigningRequests(), "ci", "app"), testing::IsErr(Code::kNotFound));
}

TEST_F(RequestReconcilerTest, KeepsRequestsWithoutTtl) {
  Start();
  Apply();
  Reconcile();
  Sync();
  clock_.Advance(24h * 365);
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(store_.CountCalls("Delete"), 0U);
}

}  // namespace
}  // namespace signet::reconcile
