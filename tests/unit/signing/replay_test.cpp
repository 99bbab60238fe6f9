// What was signed before is given out again only if it would be signed now, and on record.
#include "policy/approval_roots.hpp"
#include "service_fixture.hpp"
#include "signing/key_proofs.hpp"

namespace signet::testing {
namespace {

class ReplayTest : public SigningServiceTest {
 protected:
  std::vector<signing::Replayed> One() {
    SignCall call = Call();
    call.idempotency_key = "k1";
    const auto made = Sign(call);
    EXPECT_TRUE(made.has_value());
    return {{call, made->record, made->public_key.keyID(), made->algorithm}};
  }
  std::string Replay(std::vector<signing::Replayed> items) { return Replay(caller_, std::move(items)); }
  std::string Replay(const Caller& caller, std::vector<signing::Replayed> items) {
    std::optional<std::string> reason;
    service_->Replay(caller, std::move(items), [&](const std::optional<Refused>& refused) {
      EXPECT_FALSE(reason.has_value()) << "answered twice";
      reason = refused ? refused->error.reason : "released";
    });
    EXPECT_FALSE(reason.has_value()) << "the callback ran before the call returned";
    reactor_.RunUntil([&] { return reason.has_value(); });
    return reason.value_or("no answer");
  }
  [[nodiscard]] int Lines(const std::string& type) const {
    int count = 0;
    for (const auto& record : Records()) count += record["type"] == type ? 1 : 0;
    return count;
  }
};

TEST_F(ReplayTest, IsOnRecord) {
  const auto items = One();
  EXPECT_EQ(Replay(items), "released");
  const auto line = Last();
  EXPECT_EQ(line["type"], "replayed");
  EXPECT_EQ(line["record"], items[0].record);
  EXPECT_EQ(line["principal"], caller_.principal.username);
  EXPECT_EQ(line["policy"], "release");
  EXPECT_EQ(line["policyGeneration"], "3");
  EXPECT_EQ(line["idempotencyKey"], "k1");
  EXPECT_EQ(line["door"], "socket");
  EXPECT_EQ(hsm_.signs, 1) << "nothing is signed for it";
}

TEST_F(ReplayTest, IsDecidedByThePolicyAsItIsNow) {
  const auto items = One();
  Change([](auto& policy) { policy.spec.suspend = true; });
  EXPECT_EQ(Replay(items), "Suspended");
  Change([](auto& policy) { policy.spec.suspend = false; });
  EXPECT_EQ(Replay(items), "released");
  Change([](auto& policy) { policy.spec.algorithms = {SignatureAlgorithm::kEcdsaWithSha384}; });
  EXPECT_EQ(Replay(items), "AlgorithmNotAllowed") << "the algorithm of the signature counts";
  Change([](auto& policy) { policy.spec.algorithms = {SignatureAlgorithm::kEcdsaWithSha256}; });
  EXPECT_EQ(Replay(Stranger(), items), "NotAllowed");
  Change([](auto& policy) { policy.spec.subjects[0].name = "somebody-else"; });
  EXPECT_EQ(Replay(items), "NotAllowed");
  policies_.all.erase("release");
  EXPECT_EQ(Replay(items), "NotAllowed") << "deleted";
  EXPECT_EQ(Lines("replayed"), 1);
}

TEST_F(ReplayTest, NeedsAFreshPolicyAndItsKey) {
  const auto items = One();
  auto policy = policies_.all.at("release")->compiled->policy();
  Put("release", policy, std::nullopt, "KeyChanged");
  EXPECT_EQ(Replay(items), "KeyNotReady");
  Put("release", policy, hsm_.Add(TestKey::Ec()));
  EXPECT_EQ(Replay(items), "IdempotencyConflict");
  clock_.Advance(options_.policy_max_age + 1s);
  EXPECT_EQ(Replay(items), "PolicyStale");
  EXPECT_EQ(Lines("replayed"), 0);
}

TEST_F(ReplayTest, NeedsNoHsmAndNoBudget) {
  Change([](auto& policy) {
    policy.spec.quota.emplace();
    policy.spec.quota->per_day = 1;
  });
  const auto items = One();
  EXPECT_EQ(ReasonOf(Sign(Call())), "QuotaExceeded");
  hsm_.state = {false, "TokenNotFound", "", 1, 0};
  EXPECT_EQ(Replay(items), "released");
}

TEST_F(ReplayTest, RefusesAllForOne) {
  auto items = One();
  items.push_back(items[0]);
  EXPECT_EQ(Replay(items), "released");
  EXPECT_EQ(Lines("replayed"), 2) << "a line for each signature";
  items[1].call.policy = "unknown";
  EXPECT_EQ(Replay(items), "NotAllowed");
  EXPECT_EQ(Lines("replayed"), 2);
}

TEST_F(ReplayTest, ReleasesNothingWhenThePolicyTurnsWhileTheLineIsWritten) {
  const auto items = One();
  std::optional<std::string> reason;
  service_->Replay(caller_, items, [&](const std::optional<Refused>& refused) {
    reason = refused ? refused->error.reason : "released";
  });
  Change([](auto& policy) { policy.spec.suspend = true; });
  reactor_.RunUntil([&] { return reason.has_value(); });
  EXPECT_EQ(reason, "Suspended");
}

TEST_F(ReplayTest, GivesOutNothingThatIsNotOnRecord) {
  const auto items = One();
  files_.write_error = ENOSPC;
  EXPECT_EQ(Replay(items), "AuditUnavailable") << "the write fails";
  EXPECT_EQ(Replay(items), "AuditUnavailable") << "and the record is known to be away";
  files_.write_error = 0;
  EXPECT_EQ(Lines("replayed"), 0);
}

TEST_F(ReplayTest, CountsEachRefusal) {
  const auto items = One();
  Change([](auto& policy) { policy.spec.suspend = true; });
  EXPECT_EQ(Replay(items), "Suspended");
  Change([](auto& policy) { policy.spec.suspend = false; });
  std::optional<std::string> reason;
  service_->Replay(caller_, items, [&](const std::optional<Refused>& refused) {
    reason = refused ? refused->error.reason : "released";
  });
  Change([](auto& policy) { policy.spec.suspend = true; });  // while the line is written
  reactor_.RunUntil([&] { return reason.has_value(); });
  reactor_.Advance(10s);
  ASSERT_EQ(Last()["type"], "refused");
  EXPECT_EQ(Last()["reason"], "Suspended");
  EXPECT_EQ(Last()["count"], 2);
}

TEST_F(ReplayTest, NamesThePodThatAsked) {
  caller_ = Through(Door::kGateway);
  EXPECT_EQ(Replay(One()), "released");
  EXPECT_EQ(Last()["door"], "gateway");
  EXPECT_EQ(Last()["podUID"], caller_.pod->uid);
}

TEST_F(ReplayTest, GivesOutNothingToACallerThatLostItsDoorProofOrPod) {
  const auto items = One();
  Caller damaged = Through(Door::kGateway);
  damaged.door = Door::kSocket;
  EXPECT_EQ(Replay(damaged, items), "Internal");
  damaged = Through(Door::kGateway);
  damaged.pod.reset();
  EXPECT_EQ(Replay(damaged, items), "Internal");
  EXPECT_EQ(Lines("replayed"), 0);
}

// One reason for policies and requests, and nothing that ends a request for good.
TEST_F(ReplayTest, WaitsForTheKeyWhenAWorkerFindsItChanged) {
  for (const char* trouble : {"KeyChanged", "KeyMismatch", "KeyAmbiguous", "KeyNotUsable"}) {
    hsm_.error = base::MakeError(Code::kFailedPrecondition, trouble, "see the token");
    const auto answer = Sign(Call());
    ASSERT_EQ(ReasonOf(answer), "KeyNotReady") << trouble;
    EXPECT_TRUE(answer.error().retry_after.has_value());
    EXPECT_THAT(answer.error().error.message, HasSubstr(std::string(trouble) + ": see the token"));
    EXPECT_EQ(Last()["result"], "failed");
  }
}

TEST_F(ReplayTest, SaysMechanismMissingForAKeyThatCannotSign) {
  Put("release", policies_.all.at("release")->compiled->policy(), std::nullopt, "MechanismMissing");
  const auto answer = Sign(Call());
  EXPECT_EQ(ReasonOf(answer), "MechanismMissing");
  EXPECT_FALSE(answer.error().retry_after.has_value());
}

TEST_F(ReplayTest, VerifiesAlwaysWhereRootsCountApprovals) {
  Change([](auto& policy) { policy.spec.verify_signatures = false; });
  hsm_.spoil = true;
  EXPECT_EQ(ReasonOf(Sign(Call())), "signed") << "the policy's choice";
  options_.approval_roots = std::make_shared<policy::ApprovalRoots>(std::vector<policy::RootRule>{});
  Start();
  EXPECT_EQ(ReasonOf(Sign(Call())), "VerificationFailed");
}

TEST_F(ReplayTest, ProofsOfPossessionAreOnRecord) {
  const auto key = TestKey::Ec().public_key();
  bool done = false;
  signing::RecordProofsIn (*journal_)({true, key, "token", "label", SignatureAlgorithm::kEcdsaWithSha256, "aa", "bb"},
                                      [&](const base::Status& status) { done = status.has_value(); });
  reactor_.RunUntil([&] { return done; });
  EXPECT_EQ(Last()["type"], "keyProven");
  EXPECT_EQ(Last()["keyID"], key.keyID());
  EXPECT_EQ(Last()["token"], "token");
  EXPECT_EQ(Last()["signatureSha256"], "bb");
}

TEST_F(ReplayTest, ProofsThatFailAreOnRecordToo) {
  const auto key = TestKey::Ec().public_key();
  bool done = false;
  signing::RecordProofsIn (*journal_)({false, key, "token", "label", SignatureAlgorithm::kEcdsaWithSha256, "aa", "bb"},
                                      [&](const base::Status& status) { done = status.has_value(); });
  reactor_.RunUntil([&] { return done; });
  EXPECT_EQ(Last()["type"], "keyNotProven");
  EXPECT_EQ(Last()["keyID"], key.keyID());
  EXPECT_EQ(Last()["signatureSha256"], "bb");
}

}  // namespace
}  // namespace signet::testing
