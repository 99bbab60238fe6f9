// What turns or fails while a signature is being made, and what many at once come to.
#include "service_fixture.hpp"

namespace signet::testing {
namespace {

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
    caller_ = Through(door);
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

// ---- what the record says of the call ---------------------------------------------------

TEST_F(SigningServiceTest, RecordsThePodAndTheIdempotencyKey) {
  auto call = Call();
  call.idempotency_key = "job-7/1";
  caller_ = Through(Door::kGateway);
  ASSERT_TRUE(Sign(call));
  const auto with = Records();
  const nlohmann::json pod = {{"name", "build-7"}, {"namespace", "ci"}, {"uid", "uid-7"}, {"node", "node-1"}};
  EXPECT_EQ(with[with.size() - 2]["pod"], pod);
  EXPECT_EQ(with[with.size() - 2]["idempotencyKey"], "job-7/1");
  EXPECT_EQ(with.back()["idempotencyKey"], "job-7/1");
  caller_ = Through(Door::kSocket);
  ASSERT_TRUE(Sign(Call()));
  const auto without = Records();
  for (const auto* name : {"pod", "idempotencyKey"}) {
    EXPECT_FALSE(without[without.size() - 2].contains(name)) << "left over from the call before: " << name;
    EXPECT_FALSE(without.back().contains(name));
  }
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
  caller_ = Through(Door::kController);
  auto call = Call();
  call.request_name = "req";
  call.request_uid = "uid-1";
  const auto answer = Sign(call);
  ASSERT_TRUE(answer);
  EXPECT_EQ(Records()[1]["requestName"], "req");
  files_.write_error = ENOSPC;
  bool settled = false;
  service_->Settle({answer->record, audit::Released::kYes, {}}, [&] { settled = true; });
  reactor_.Advance(10s);
  EXPECT_FALSE(settled);
  files_.write_error = 0;
  reactor_.Advance(10s);
  EXPECT_TRUE(settled);
  EXPECT_EQ(Last()["type"], "release");
  EXPECT_EQ(Last()["released"], true);
  service_->Settle({answer->record, audit::Released::kYes, {}}, {});  // twice: the record refuses, nothing breaks
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
