// A signature on its way into the status: conflicts, lost answers, and what earlier processes left.
#include "request_fixture.hpp"

namespace signet::reconcile {
namespace {

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

TEST_F(RequestReconcilerTest, JudgesAgainBeforeItWritesAfterAConflict) {
  Start();
  Apply();
  service_.script.push_back({base::MakeError(Code::kInternal, "Sign", ""), std::nullopt, {}});
  service_.always = Refuse(Code::kPermissionDenied, "Suspended");
  BeforeFirstPatch([this] {
    Label("once");
    service_.explained = policy::Decision{};
    service_.explained->reason = policy::Reason::kSuspended;
  });
  Reconcile();
  EXPECT_THAT(service_.settled, ElementsAre("OP1 discarded PolicyChanged"));
  EXPECT_EQ(Writes(), 1U) << "what was refused cannot arrive: nothing to fence off";
  Sync();
  Reconcile();
  EXPECT_EQ(Reason("Denied"), "Suspended");
  EXPECT_FALSE(Now()["status"].contains("signature"));
}

TEST_F(RequestReconcilerTest, GivesTheWriteOfASignatureLittleTime) {
  Start();
  Apply();
  std::vector<std::chrono::milliseconds> limits;
  store_.set_fault([&](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
    if (call.verb == "PatchStatus") limits.push_back(call.limit);
    return std::nullopt;
  });
  Reconcile();
  EXPECT_THAT(limits, ElementsAre(3s));
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

TEST_F(RequestReconcilerTest, PublishesNothingLateWhenTheRequestCannotBeReadAgain) {
  Start();
  Apply();
  FailPatches(1, Code::kUnavailable, false);
  EXPECT_EQ(Reconcile().kind, Kind::kRetry);
  service_.explained = policy::Decision{};
  service_.explained->reason = policy::Reason::kSuspended;
  service_.always = Refuse(Code::kPermissionDenied, "Suspended");
  for (int broken = 1; broken <= 2; ++broken) {
    FailGet(broken);
    Reconcile();
    EXPECT_FALSE(Now().value("status", json::object()).contains("signature")) << "GET " << broken;
  }
  store_.set_fault({});
  Reconcile();
  EXPECT_THAT(service_.settled, ElementsAre("OP1 discarded PolicyChanged"));
}

TEST_F(RequestReconcilerTest, DiscardsALostSignatureWhenTheSpecReadsNoLonger) {
  Start();
  Apply();
  FailPatches(1, Code::kUnavailable, false);
  EXPECT_EQ(Reconcile().kind, Kind::kRetry);
  store_.set_fault({});
  // As a conversion or an edit of the stored object may do it: no new generation.
  ASSERT_THAT(store_.MergePatch(SigningRequests(), "ci", "app",
                                {{"spec", {{"digest", 5}}}, {"metadata", {{"labels", {{"a", "b"}}}}}}),
              testing::IsOk());
  Sync();
  Reconcile();
  EXPECT_THAT(service_.settled, ElementsAre("OP1 discarded Invalid"));
  EXPECT_EQ(Reason("Failed"), "Invalid");
}

TEST_F(RequestReconcilerTest, DoesNotDenyALostSignatureOfADeletedRequest) {
  Start();
  Apply();
  FailPatches(1, Code::kUnavailable, false);
  Reconcile();
  ASSERT_THAT(store_.Delete(SigningRequests(), "ci", "app", ""), testing::IsOk());
  cache_ = nullptr;
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_THAT(service_.settled, ElementsAre("OP1 unknown DeliveryUnknown"));
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

TEST_F(RequestReconcilerTest, LeavesOpenWhatBecameOfASignatureForARequestThatIsGone) {
  Start({{"OLD", "controller", "release", "ci", "app", "uid-gone", "aa", true}});
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_THAT(service_.settled, ElementsAre("OLD unknown DeliveryUnknown"));
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(service_.settled.size(), 1U);
}

// ---- replicas that do not lead ---------------------------------------------------------

TEST_F(RequestReconcilerTest, SettlesAPublishedSignatureWithoutTheLease) {
  Start();
  Apply();
  FailPatches(1, Code::kDeadlineExceeded, true);
  EXPECT_EQ(Reconcile().kind, Kind::kRetry);
  EXPECT_THAT(reconciler_->Unsettled(), ElementsAre(kKey));
  Sync();
  EXPECT_EQ(Settle().kind, Kind::kDone);
  EXPECT_THAT(service_.settled, ElementsAre("OP1 released"));
  EXPECT_THAT(reconciler_->Unsettled(), IsEmpty());
  ASSERT_THAT(store_.Delete(SigningRequests(), "ci", "app", ""), testing::IsOk());
  cache_ = nullptr;
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(service_.settled.size(), 1U) << "leading again adds nothing";
}

TEST_F(RequestReconcilerTest, WithoutTheLeaseSettlesWhatIsGoneOrDecidedOtherwise) {
  Start({{"OLD", "controller", "release", "ci", "app", "uid-gone", "aa", true}});
  EXPECT_EQ(Settle().kind, Kind::kDone);
  EXPECT_THAT(service_.settled, ElementsAre("OLD unknown DeliveryUnknown"));

  service_.settled.clear();
  Apply();
  Start({{"A", "controller", "release", "ci", "app", "uid-before", "aa", true},
         {"B", "controller", "release", "ci", "app", Now()["metadata"]["uid"].get<std::string>(), "aa", true}});
  ASSERT_THAT(
      store_.PatchStatus(SigningRequests(), "ci", "app", Now()["metadata"]["uid"].get<std::string>(),
                         Now()["metadata"]["resourceVersion"].get<std::string>(),
                         {{"record", "OTHER"}, {"conditions", json::array({{{"type", "Ready"}, {"status", "True"}}})}}),
      testing::IsOk());
  Sync();
  EXPECT_EQ(Settle().kind, Kind::kDone);
  EXPECT_THAT(service_.settled,
              ::testing::UnorderedElementsAre("A unknown DeliveryUnknown", "B discarded AlreadyDecided"));
}

TEST_F(RequestReconcilerTest, WithoutTheLeaseLeavesUndecidedRequestsAlone) {
  Apply();
  Start({{"OLD", "controller", "release", "ci", "app", Now()["metadata"]["uid"].get<std::string>(), "aa", true}});
  EXPECT_EQ(Settle().kind, Kind::kDone);
  EXPECT_EQ(store_.CountCalls("Get"), 0U) << "the copy says enough";
  cache_ = nullptr;  // behind
  EXPECT_EQ(Settle().kind, Kind::kDone);
  FailGet(1);
  EXPECT_EQ(Settle().kind, Kind::kRetry);
  EXPECT_THAT(service_.settled, IsEmpty());
  EXPECT_EQ(Writes(), 0U);
  EXPECT_THAT(service_.calls, IsEmpty());
  EXPECT_THAT(reconciler_->Unsettled(), ElementsAre(kKey)) << "looked after for as long as it takes";
}

TEST_F(RequestReconcilerTest, OneThreadAtATimeSettlesOneRequest) {
  Start();
  Apply();
  FailPatches(1, Code::kDeadlineExceeded, true);
  EXPECT_EQ(Reconcile().kind, Kind::kRetry);
  Outcome inside_settle;
  Outcome inside_reconcile;
  store_.set_fault([&](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
    if (call.verb != "Get") return std::nullopt;
    inside_settle = reconciler_->SettleByReading(kKey);
    inside_reconcile = reconciler_->Reconcile(kKey);
    return std::nullopt;
  });
  EXPECT_EQ(Reconcile().kind, Kind::kDone);
  EXPECT_EQ(inside_settle.kind, Kind::kDone);
  EXPECT_EQ(inside_reconcile.kind, Kind::kAfter);
  EXPECT_EQ(store_.CountCalls("Get"), 1U);
  EXPECT_THAT(service_.settled, ElementsAre("OP1 released"));
}

// ---- a write that is late --------------------------------------------------------------

TEST_F(RequestReconcilerTest, FindsALateWriteThatComesBeforeTheDiscard) {
  Start();
  Apply();
  HoldFirstPatch();
  EXPECT_EQ(Reconcile().kind, Kind::kRetry);
  service_.explained = policy::Decision{};
  service_.explained->reason = policy::Reason::kSuspended;
  service_.always = Refuse(Code::kPermissionDenied, "Suspended");
  BeforeFirstPatch([this] { EXPECT_THAT(LandHeldPatch(), testing::IsOk()); });
  Reconcile();
  EXPECT_THAT(service_.settled, ElementsAre("OP1 released"));
  EXPECT_EQ(Now()["status"]["record"], "OP1");
}

TEST_F(RequestReconcilerTest, DiscardsOnlyWhatCanNoLongerArrive) {
  Start();
  Apply();
  HoldFirstPatch();
  EXPECT_EQ(Reconcile().kind, Kind::kRetry);
  service_.explained = policy::Decision{};
  service_.explained->reason = policy::Reason::kSuspended;
  service_.always = Refuse(Code::kPermissionDenied, "Suspended");
  FailPatches(1, Code::kUnavailable, false);  // the write that fences it off
  EXPECT_EQ(Reconcile().kind, Kind::kRetry);
  EXPECT_THAT(service_.settled, IsEmpty());
  FailPatches(1, Code::kUnavailable, true);  // once more, and it took effect
  EXPECT_EQ(Reconcile().kind, Kind::kRetry);
  EXPECT_THAT(service_.settled, IsEmpty());
  EXPECT_THAT(LandHeldPatch(), testing::IsErr(Code::kAborted));
  Sync();
  Reconcile();
  EXPECT_THAT(service_.settled, ElementsAre("OP1 discarded PolicyChanged"));
  EXPECT_EQ(Reason("Denied"), "Suspended");
}

TEST_F(RequestReconcilerTest, FindsALateWriteOfAnEarlierProcess) {
  Start();
  Apply();
  HoldFirstPatch();
  EXPECT_EQ(Reconcile().kind, Kind::kRetry);  // and dies
  Start({{"OP1", "controller", "release", "ci", "app", Now()["metadata"]["uid"].get<std::string>(), "aa", true}});
  BeforeFirstPatch([this] { EXPECT_THAT(LandHeldPatch(), testing::IsOk()); });
  Reconcile();
  EXPECT_THAT(service_.settled, ElementsAre("OP1 released"));
  EXPECT_EQ(service_.signatures, 1);
}

TEST_F(RequestReconcilerTest, FencesOffALateWriteOfAnEarlierProcessEachTime) {
  Apply();
  for (int restart = 0; restart < 2; ++restart) {
    Start({{"OLD", "controller", "release", "ci", "app", Now()["metadata"]["uid"].get<std::string>(), "aa", true}});
    service_.always = Refuse(Code::kUnavailable, "Busy");
    service_.settled.clear();
    const json before = Now();
    EXPECT_EQ(Reconcile().kind, Kind::kAfter);
    EXPECT_THAT(service_.settled, ElementsAre("OLD discarded Interrupted"));
    EXPECT_NE(Now()["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]) << restart;
    EXPECT_EQ(Reason("Ready"), "Interrupted");
  }
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
