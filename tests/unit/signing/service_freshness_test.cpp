// Invariant 10: every input of a decision is younger than a bound, or nothing is signed.
#include <gtest/gtest.h>

#include "service_fixture.hpp"
#include "support/matchers.hpp"

namespace signet::testing {
namespace {

class FreshInputsTest : public SigningServiceTest {
 protected:
  using Labels = std::map<std::string, std::string>;

  void SetUp() override {
    SigningServiceTest::SetUp();
    signing::SigningService::Dependencies dependencies;
    dependencies.reactor = &reactor_;
    dependencies.clock = &clock_;
    dependencies.hsm = &hsm_;
    dependencies.journal = journal_.get();
    dependencies.policies = &policies_;
    dependencies.quotas = quotas_.get();
    dependencies.namespace_labels = [this](std::string_view ns) -> const Labels* {
      return ns == "ci" ? &labels_ : nullptr;
    };
    dependencies.namespace_confirmed = [this](std::string_view) { return labels_read_; };
    options_.policy_max_age = 120s;
    service_ = SigningService::Create(options_, std::move(dependencies));
  }
  /// The subject is found by its namespace's labels.
  void SelectByLabels() {
    Change([](auto& policy) {
      api::LabelSelector selector;
      selector.match_labels = {{"tier", "prod"}};
      policy.spec.subjects = {{api::Subject::Kind::kServiceAccount, "builder", "", selector}};
    });
  }
  policy::Approval By(const std::string& user, api::Decision decision = api::Decision::kApprove) {
    policy::Approval approval;
    approval.name = "app-" + user;
    approval.vouched = true;
    approval.time = clock_.Now();
    approval.spec.request_uid = "request-uid";
    approval.spec.decision = decision;
    approval.spec.approver = api::UserInfo{user, "", {}, {}};
    approval.spec.policy = api::PolicyRevision{"uid-release", 3};
    return approval;
  }
  SignCall ApprovedCall(std::vector<policy::Approval> approvals, std::optional<base::SteadyPoint> read) {
    auto call = Call();
    call.request_uid = "request-uid";
    call.approvals = std::move(approvals);
    call.approvals_read = read;
    return call;
  }
  void WantApprovals(int required) {
    Change([required](auto& policy) {
      api::Approvals approvals;
      approvals.required = required;
      approvals.approvers = {{api::Subject::Kind::kUser, "*", "", std::nullopt}};
      policy.spec.approvals = approvals;
    });
    caller_ = Through(Door::kController);
  }

  Labels labels_{{"tier", "prod"}};
  std::optional<base::SteadyPoint> labels_read_;
};

TEST_F(FreshInputsTest, StopsWhenThePolicyIsTooOld) {
  EXPECT_TRUE(Sign(Call()));
  clock_.Advance(121s);
  EXPECT_EQ(ReasonOf(Sign(Call())), "PolicyStale");
}

TEST_F(FreshInputsTest, StopsWhenLabelsOfANamespaceAreTooOld) {
  SelectByLabels();
  EXPECT_EQ(ReasonOf(Sign(Call())), "PolicyStale") << "never read live";
  labels_read_ = clock_.Steady();
  EXPECT_TRUE(Sign(Call()));
  clock_.Advance(121s);
  SelectByLabels();  // the policy is confirmed again, the labels are not
  const auto stale = Sign(Call());
  EXPECT_EQ(ReasonOf(stale), "PolicyStale");
  EXPECT_EQ(stale.error().error.code, Code::kUnavailable);
  EXPECT_THAT(stale.error().error.message, HasSubstr("namespace ci"));
  labels_read_ = clock_.Steady();
  EXPECT_TRUE(Sign(Call()));
  EXPECT_EQ(hsm_.signs, 2);
}

TEST_F(FreshInputsTest, DiscardsWhatLabelsThatAreTooOldWouldAllowAgain) {
  SelectByLabels();
  labels_read_ = clock_.Steady();
  hsm_.before_sign = [this] {
    Change([](auto& policy) { policy.spec.description = "new words"; });  // decided again
    labels_read_ = clock_.Steady() - 121s;
  };
  EXPECT_EQ(ReasonOf(Sign(Call())), "PolicyStale");
  EXPECT_EQ(Last()["result"], "discarded");
}

TEST_F(FreshInputsTest, NeedsNoLabelsWhereNoSelectorAsksForThem) { EXPECT_TRUE(Sign(Call())); }

TEST_F(FreshInputsTest, SignsOnlyByApprovalsThatWereReadLive) {
  WantApprovals(1);
  const auto copy = Sign(ApprovedCall({By("alice")}, std::nullopt));
  EXPECT_EQ(ReasonOf(copy), "PolicyStale");
  ASSERT_FALSE(copy);
  EXPECT_TRUE(copy.error().wants_approvals);
  EXPECT_EQ(copy.error().error.code, Code::kUnavailable);
  EXPECT_EQ(copy.error().approvals.size(), 1U);
  EXPECT_EQ(ReasonOf(Sign(ApprovedCall({By("alice")}, clock_.Steady() - 121s))), "PolicyStale");
  EXPECT_EQ(ReasonOf(Sign(ApprovedCall({}, std::nullopt))), "AwaitingApproval") << "a copy is enough to wait by";
  EXPECT_EQ(hsm_.signs, 0);
  EXPECT_TRUE(Sign(ApprovedCall({By("alice")}, clock_.Steady())));
}

TEST_F(FreshInputsTest, LooksForANoEvenWhereNoYesIsRequired) {
  WantApprovals(0);
  const auto copy = Sign(ApprovedCall({}, std::nullopt));
  ASSERT_FALSE(copy);
  EXPECT_TRUE(copy.error().wants_approvals);
  EXPECT_EQ(ReasonOf(Sign(ApprovedCall({By("bob", api::Decision::kDeny)}, clock_.Steady()))), "DeniedByApprover");
  EXPECT_TRUE(Sign(ApprovedCall({}, clock_.Steady())));
  caller_ = Through(Door::kGateway);  // nobody approves there
  EXPECT_TRUE(Sign(Call()));
}

// Issue 11, row 19: a no among many.
TEST_F(FreshInputsTest, HearsANoBehindAnyNumberOfApprovals) {
  WantApprovals(1);
  std::vector<policy::Approval> given;
  for (int i = 0; i < 300; ++i) given.push_back(By("user-" + std::to_string(i)));
  EXPECT_TRUE(Sign(ApprovedCall(given, clock_.Steady())));
  EXPECT_EQ(Records()[1]["approvals"].size(), 64U) << "a record's line stays bounded";
  given.push_back(By("bob", api::Decision::kDeny));
  EXPECT_EQ(ReasonOf(Sign(ApprovedCall(given, clock_.Steady()))), "DeniedByApprover");
}

}  // namespace
}  // namespace signet::testing
