#include "request_fixture.hpp"

namespace signet::reconcile {
namespace {

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

// Issue 11, row 5: nothing is signed, and nothing is denied for good, by a watch's copy.
TEST_F(RequestReconcilerTest, ReadsApprovalsLiveBeforeItSignsByThem) {
  Start();
  Apply();
  approvals_ = {approvals::By("alice")};
  live_approvals_ = {approvals::By("alice"), approvals::By("bob")};
  live_approvals_->back().spec.approver->username = "system:serviceaccount:release:bob";
  live_approvals_->back().vouched = true;
  auto ask_again = Refuse(Code::kUnavailable, "PolicyStale");
  ask_again.wants_approvals = true;
  service_.script = {ask_again};
  Reconcile();
  EXPECT_EQ(Reason("Ready"), "Signed");
  EXPECT_EQ(approval_reads_, 1);
  ASSERT_EQ(service_.calls.size(), 2U);
  EXPECT_EQ(service_.calls[0].approvals_read, std::nullopt);
  EXPECT_EQ(service_.calls[1].approvals_read, clock_.Steady());
  EXPECT_EQ(service_.calls[1].approvals.size(), 2U);
  EXPECT_THAT(namespaces_read_, ElementsAre("ci", "release"));
}

TEST_F(RequestReconcilerTest, WaitsWhileApprovalsCannotBeRead) {
  Start();
  Apply();
  approvals_ = {approvals::By("alice")};
  approvals_readable_ = base::MakeError(Code::kUnavailable, "no connection");
  auto ask_again = Refuse(Code::kUnavailable, "PolicyStale");
  ask_again.wants_approvals = true;
  service_.always = ask_again;
  Reconcile();
  clock_.Advance(2s);
  Reconcile();
  EXPECT_EQ(service_.calls.size(), 2U) << "asked once each time, by the copy alone";
  EXPECT_EQ(Reason("Ready"), "PolicyStale");
  service_.always = Refuse(Code::kPermissionDenied, "DeniedByApprover", "bob said no");
  Sync();
  EXPECT_EQ(Reconcile().kind, Kind::kRetry) << "no denial from a copy alone";
  EXPECT_EQ(Reason("Denied"), "");
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

// ---- what is remembered -----------------------------------------------------------------

TEST_F(RequestReconcilerTest, ReadsARequestLiveWhoseCopyIsAbridged) {
  Start();
  json object = Request();
  object["spec"].erase("digest");
  object["spec"]["message"] = "aGVsbG8=";
  Apply(object);
  json abridged = *cache_;
  abridged["spec"]["message"] = nullptr;
  cache_ = std::make_shared<const json>(abridged);
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(Reason("Ready"), "Signed");
  ASSERT_EQ(service_.calls.size(), 1U);
  EXPECT_EQ(base::AsText(*service_.calls[0].message), "hello");
}

TEST_F(RequestReconcilerTest, WaitsWhileAnAbridgedRequestCannotBeRead) {
  Start();
  Apply();
  json abridged = *cache_;
  abridged["spec"]["message"] = nullptr;
  cache_ = std::make_shared<const json>(abridged);
  FailGet(1);
  EXPECT_EQ(Reconcile().kind, Kind::kRetry);
  EXPECT_EQ(Writes(), 0U);
  ASSERT_THAT(store_.Delete(SigningRequests(), "ci", "app", ""), testing::IsOk());
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
}

TEST_F(RequestReconcilerTest, RemembersNothingOfARequestThatLeftTheCopy) {
  Start();
  service_.always = Refuse(Code::kUnavailable, "HSMUnavailable");
  Apply();
  Reconcile();
  EXPECT_THAT(reconciler_->WaitingFor(""), ElementsAre(kKey));
  reconciler_->Forget(kKey);
  EXPECT_THAT(reconciler_->WaitingFor(""), IsEmpty());
  // A signature whose delivery is open is no such thing.
  service_.always.reset();
  FailPatches(1, Code::kUnavailable, false);
  Reconcile();
  ASSERT_THAT(reconciler_->Unsettled(), ElementsAre(kKey));
  reconciler_->Forget(kKey);
  EXPECT_THAT(reconciler_->Unsettled(), ElementsAre(kKey));
}

}  // namespace
}  // namespace signet::reconcile
