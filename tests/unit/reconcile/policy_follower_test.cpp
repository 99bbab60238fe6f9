// Replicas that do not lead: they look the leader's key up for themselves, and write nothing.
#include "policy_fixture.hpp"

namespace signet::reconcile {
namespace {

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

}  // namespace
}  // namespace signet::reconcile
