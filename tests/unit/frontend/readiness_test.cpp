#include "frontend/readiness.hpp"

#include <cerrno>

#include "fakes.hpp"
#include "fakes/fake_hsm.hpp"
#include "fakes/fake_policies.hpp"
#include "support/journal_fixture.hpp"

namespace signet::frontend {
namespace {

using signing::ActivePolicy;
using namespace std::chrono_literals;

class ReadinessTest : public testing::JournalFixture {
 protected:
  void SetUp() override {
    journal_ = Open();
    Put("release", "");
    readiness_ = StandardReadiness({&hsm_, journal_.get(), &policies_, &clock_, 120s});
  }
  /// `reason`: why it has no key; empty: it has one.
  void Put(const std::string& name, const std::string& reason) {
    auto policy = *testing::MakePolicy(name, reason.empty());
    policy.not_ready_reason = reason;
    policy.confirmed_at = clock_.Steady();
    policies_.all[name] = std::make_shared<const ActivePolicy>(std::move(policy));
  }
  /// What failed, as "name: reason"; empty: ready.
  std::string Failed() {
    for (const auto& check : readiness_()) {
      if (!check.ok) return check.name + ": " + check.reason;
    }
    return {};
  }

  testing::FakeHsm hsm_{reactor_};
  std::unique_ptr<audit::Journal> journal_;
  testing::FakePolicies policies_;
  Readiness readiness_;
};

TEST_F(ReadinessTest, AsksForTokenRecordPoliciesAndKeys) {
  EXPECT_EQ(Failed(), "");

  hsm_.state = {false, "PinRefused", "correct the PIN file", 1, 0};
  EXPECT_EQ(Failed(), "hsm: PinRefused");
  hsm_.state = {true, "", "", 1, 1};

  files_.write_error = ENOSPC;
  EXPECT_FALSE(Append(*journal_, MakeIntent()));
  EXPECT_EQ(Failed(), "audit: AuditUnavailable");
  files_.write_error = 0;
  reactor_.Advance(10s);
  ASSERT_TRUE(reactor_.RunUntil([&] { return journal_->available(); }));

  clock_.Advance(120s);
  Put("release", "");
  EXPECT_EQ(Failed(), "");
  clock_.Advance(121s);
  EXPECT_EQ(Failed(), "policies: PolicyStale");
  policies_.all.clear();
  EXPECT_EQ(Failed(), "policies: NoPolicies");
}

TEST_F(ReadinessTest, WaitsForKeysToBeLookedForAndNeedsOne) {
  for (const char* looking : {"", "KeyNotReady", "HSMUnavailable"}) {
    Put("release", "");
    Put("other", "KeyNotFound");
    EXPECT_EQ(Failed(), "") << "a key that is missing for good holds up nobody";
    auto pending = *policies_.all["other"];
    pending.not_ready_reason = looking;
    policies_.all["other"] = std::make_shared<const ActivePolicy>(std::move(pending));
    EXPECT_EQ(Failed(), "keys: KeyNotReady") << looking;
  }
  Put("release", "KeyLost");
  Put("other", "KeyNotFound");
  EXPECT_EQ(Failed(), "keys: KeyNotFound");
}

// Replicas share their tokens: one that is away would take all of them out of the Service, and with them the keys of
// the tokens that are there.
TEST_F(ReadinessTest, IsReadyWhileOneOfSeveralTokensIsAwayAndSaysSo) {
  hsm_.state = {true, "TokenNotFound", "no token test", 2, 1};
  Put("test", "HSMUnavailable");
  EXPECT_EQ(Failed(), "");
  const auto response = ReadinessResponse(readiness_());
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(nlohmann::json::parse(response.body)["checks"][0],
            (nlohmann::json{{"name", "hsm"}, {"ok", true}, {"reason", "TokenNotFound"}, {"message", "no token test"}}));
  Put("release", "HSMUnavailable");
  EXPECT_EQ(Failed(), "keys: KeyNotFound") << "the token that is there has no key of ours";
}

}  // namespace
}  // namespace signet::frontend
