// The pipeline's quota step when a day's budget is shared: waiting for a lease, and not waiting too long.
#include <deque>

#include "service_fixture.hpp"

namespace signet::testing {
namespace {

class SlowLender final : public policy::BudgetLender {
 public:
  void Ask(policy::LeaseAsk, Done done) override { dones_.push_back(std::move(done)); }
  void Answer(const base::Result<policy::Lease>& lease) {
    const auto dones = std::exchange(dones_, {});
    for (const auto& done : dones) done(lease);
  }
  [[nodiscard]] std::size_t waiting() const { return dones_.size(); }

 private:
  std::vector<Done> dones_;
};

class SharedQuotaServiceTest : public SigningServiceTest {
 protected:
  void SetUp() override {
    SigningServiceTest::SetUp();
    quotas_->ShareThrough(&lender_);
    Change([](auto& policy) { policy.spec.quota = api::Quota{std::nullopt, 1000, api::Quota::Scope::kPolicy}; });
  }
  void StartSigning(int count = 1) {
    for (int i = 0; i < count; ++i) {
      service_->Sign(caller_, Call(), [this](SigningService::Answer answer) { answers_.push_back(ReasonOf(answer)); });
    }
    reactor_.RunReady();
  }
  SlowLender lender_;
  std::vector<std::string> answers_;
};

TEST_F(SharedQuotaServiceTest, WaitsForTheLeaseAndSigns) {
  StartSigning(3);
  EXPECT_TRUE(answers_.empty());
  EXPECT_EQ(service_->in_flight(), 3U);
  EXPECT_EQ(hsm_.signs, 0);
  clock_.Advance(1s);
  lender_.Answer(policy::Lease{2, false});
  reactor_.RunReady();
  EXPECT_THAT(answers_, ElementsAre("signed", "signed"));
  lender_.Answer(policy::Lease{50, false});
  reactor_.RunReady();
  EXPECT_THAT(answers_, ElementsAre("signed", "signed", "signed"));
  EXPECT_EQ(service_->in_flight(), 0U);
  EXPECT_LE(reactor_.timers(), 1U) << "no wait is left behind; the journal has a timer of its own";
}

TEST_F(SharedQuotaServiceTest, GivesUpBeforeTheCallerDoes) {
  StartSigning();
  reactor_.Advance(1999ms);
  EXPECT_TRUE(answers_.empty());
  reactor_.Advance(1ms);
  EXPECT_THAT(answers_, ElementsAre("QuotaUnavailable"));
  lender_.Answer(policy::Lease{50, false});
  reactor_.RunReady();
  EXPECT_EQ(hsm_.signs, 0) << "an operation that was refused is not signed later";
  StartSigning();
  EXPECT_THAT(answers_, ElementsAre("QuotaUnavailable", "signed"));
}

TEST_F(SharedQuotaServiceTest, KeepsNothingOfAnOperationThatGaveUp) {
  auto held = std::make_shared<const identity::PodImages>();
  const std::weak_ptr<const identity::PodImages> watch = held;
  auto caller = Through(Door::kGateway);
  caller.images = held;
  service_->Sign(caller, Call(), [this](SigningService::Answer answer) { answers_.push_back(ReasonOf(answer)); });
  caller.images.reset();
  held.reset();
  reactor_.RunReady();
  EXPECT_FALSE(watch.expired());
  reactor_.Advance(2s);
  EXPECT_THAT(answers_, ElementsAre("QuotaUnavailable"));
  EXPECT_EQ(lender_.waiting(), 1U);
  EXPECT_TRUE(watch.expired()) << "the lender that hangs holds the operation";
  lender_.Answer(policy::Lease{50, false});
  reactor_.RunReady();
  EXPECT_THAT(answers_, ElementsAre("QuotaUnavailable"));
}

TEST_F(SharedQuotaServiceTest, RefusesAtOnceWhenTooManyWait) {
  StartSigning(4096);
  EXPECT_TRUE(answers_.empty());
  reactor_.Advance(2s);
  ASSERT_EQ(answers_.size(), 4096U);
  StartSigning();
  ASSERT_EQ(answers_.size(), 4097U) << "nothing bounds who waits for a lender that hangs";
  EXPECT_EQ(answers_.back(), "QuotaUnavailable");
  lender_.Answer(policy::Lease{50, false});
  StartSigning();
  EXPECT_EQ(answers_.back(), "signed");
}

TEST_F(SharedQuotaServiceTest, SaysUnavailableNotUsedUpWhenNobodyLends) {
  StartSigning();
  lender_.Answer(base::MakeError(Code::kUnavailable, "QuotaUnavailable", "down"));
  reactor_.RunReady();
  EXPECT_THAT(answers_, ElementsAre("QuotaUnavailable"));
  const auto answer = Sign(Call());
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().error.code, Code::kUnavailable);
  EXPECT_EQ(answer.error().retry_after, base::Duration(1s));
}

TEST_F(SharedQuotaServiceTest, IsUsedUpWhenEverythingIsLent) {
  StartSigning();
  lender_.Answer(policy::Lease{0, true});
  reactor_.RunReady();
  EXPECT_THAT(answers_, ElementsAre("QuotaExceeded"));
}

TEST_F(SharedQuotaServiceTest, LooksAtThePolicyAgainAfterTheWait) {
  StartSigning();
  Change([](auto& policy) { policy.spec.suspend = true; });
  lender_.Answer(policy::Lease{50, false});
  reactor_.RunReady();
  EXPECT_THAT(answers_, ElementsAre("Suspended"));
  EXPECT_EQ(hsm_.signs, 0);
  Change([](auto& policy) {
    policy.spec.suspend = false;
    policy.spec.quota->per_day = 10;
  });
  StartSigning();
  Change([](auto& policy) { policy.metadata.generation = 8; });
  lender_.Answer(policy::Lease{1, false});
  reactor_.RunReady();
  EXPECT_THAT(answers_, ElementsAre("Suspended", "signed"));
  const auto records = Records();
  EXPECT_EQ(records[records.size() - 2]["policyGeneration"], 8) << "the revision under which it was signed";
}

TEST_F(SharedQuotaServiceTest, TheControllersRequestsCountInTheSameBudget) {
  caller_ = Through(Door::kController);
  StartSigning();
  EXPECT_EQ(lender_.waiting(), 1U);
  lender_.Answer(policy::Lease{1, true});
  reactor_.RunReady();
  caller_ = Through(Door::kGateway);
  EXPECT_EQ(ReasonOf(Sign(Call())), "QuotaExceeded");
}

TEST_F(SharedQuotaServiceTest, EndsWhileOperationsWait) {
  StartSigning();
  service_.reset();
  lender_.Answer(policy::Lease{50, false});
  reactor_.Advance(3s);
  EXPECT_TRUE(answers_.empty());
}

}  // namespace
}  // namespace signet::testing
