#include <gmock/gmock.h>

#include "cli/policy_eval.hpp"
#include "cli/policy_test_file.hpp"
#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::cli {
namespace {

using signet::testing::IsErr;
using signet::testing::IsOk;
using signet::testing::TempFolder;
using ::testing::HasSubstr;

constexpr const char* kPolicy = R"(
apiVersion: signet.dev/v1alpha1
kind: SigningPolicy
metadata: {name: release}
spec:
  key: {uri: "pkcs11:token=t;object=o"}
  algorithms: [ECDSAWithSHA256]
  subjects:
  - {kind: ServiceAccount, namespace: ci, name: "ci-*"}
  - {kind: ServiceAccount, namespaceSelector: {matchLabels: {tier: production}}, name: bot}
  approvals: {required: 2, approvers: [{kind: User, name: alice}, {kind: User, name: bob}]}
)";

class PolicyTests : public ::testing::Test {
 protected:
  void SetUp() override { folder_.Write("policy.yaml", kPolicy); }
  base::Result<PolicyTestFile> Load(const std::string& text) {
    folder_.Write("tests.yaml", text);
    return LoadPolicyTests((folder_.path() / "tests.yaml").string());
  }
  std::string Problem(const std::string& text) {
    const auto loaded = Load(text);
    EXPECT_FALSE(loaded);
    return loaded ? "" : loaded.error().message;
  }
  TempFolder folder_;
};

constexpr const char* kHead = R"(
policies: [policy.yaml]
tests:
- name: one
  policy: release
  subject: {username: "system:serviceaccount:ci:ci-main"}
)";

TEST_F(PolicyTests, PassAndFail) {
  const auto file = Load(std::string(kHead) + "  approvals: 2\n  expect: Allowed\n" +
                         "- name: two\n  policy: release\n  subject: {username: alice}\n  expect: Allowed\n");
  ASSERT_THAT(file, IsOk());
  const auto results = RunPolicyTests(*file);
  ASSERT_EQ(results.size(), 2U);
  EXPECT_TRUE(results[0].passed) << results[0].got;
  EXPECT_FALSE(results[1].passed);
  EXPECT_THAT(results[1].got, HasSubstr("expected Allowed, got NotAllowed"));
}

TEST_F(PolicyTests, UnknownFieldsAreErrorsWithTheirPath) {
  EXPECT_THAT(Problem(std::string(kHead) + "  expects: Allowed\n"), HasSubstr("tests[0].expects"));
  EXPECT_THAT(Problem("policies: [policy.yaml]\ntest: []\n"), HasSubstr("test"));
  EXPECT_THAT(Problem(std::string(kHead) + "  expect: Alowed\n"), HasSubstr("tests[0].expect"));
  EXPECT_THAT(Problem(std::string(kHead)), HasSubstr("expect"));
  EXPECT_THAT(Problem("policies: [policy.yaml]\ntests: []\n"), HasSubstr("holds no test"));
  EXPECT_THAT(Problem("policies: [absent.yaml]\ntests: []\n"), HasSubstr("absent.yaml"));
}

TEST_F(PolicyTests, WindowsNeedATime) {
  folder_.Write("policy.yaml", std::string(kPolicy) + "  windows: [{from: \"09:00\", to: \"17:00\"}]\n");
  EXPECT_THAT(Problem(std::string(kHead) + "  expect: Allowed\n"), HasSubstr("tests[0].at"));
  const auto file =
      Load(std::string(kHead) + "  at: \"2026-11-23T03:00:00Z\"\n  approvals: 2\n  expect: OutsideWindow\n");
  ASSERT_THAT(file, IsOk());
  EXPECT_TRUE(RunPolicyTests(*file).front().passed);
}

TEST_F(PolicyTests, APolicyNamedTwiceIsRefused) {
  folder_.Write("again.yaml", kPolicy);
  EXPECT_THAT(LoadPolicies({folder_.path().string()}), IsErr(base::Code::kInvalidArgument, "ConfigInvalid"));
}

TEST_F(PolicyTests, EvaluateCountsApprovalsAndKnowsLabelsAndDigests) {
  const auto policies = LoadPolicies({(folder_.path() / "policy.yaml").string()});
  ASSERT_THAT(policies, IsOk());
  const auto& policy = policies->at("release");
  Question question;
  question.username = "system:serviceaccount:web:bot";
  EXPECT_EQ(Evaluate(policy, question)->reason, "NotAllowed");
  question.namespace_labels.emplace()["tier"] = "production";
  const auto waiting = Evaluate(policy, question);
  EXPECT_EQ(waiting->reason, "AwaitingApproval");
  question.approvals = 1;
  EXPECT_THAT(Evaluate(policy, question)->message, HasSubstr("requires 2 approvals, 1 are given"));
  question.approvals = 2;
  EXPECT_TRUE(Evaluate(policy, question)->allowed());
  question.digest = api::Digest{encoding::HashAlgorithm::kSha512, base::Bytes(64)};
  EXPECT_EQ(Evaluate(policy, question)->reason, "DigestMismatch");
  question.algorithm = encoding::SignatureAlgorithm::kPureEd25519;
  EXPECT_EQ(Evaluate(policy, question)->reason, "AlgorithmNotAllowed");
}

TEST_F(PolicyTests, TheExampleHolds) {
  const auto file = LoadPolicyTests(std::string(SIGNET_SOURCE_DIR) + "/examples/policy-tests.yaml");
  ASSERT_THAT(file, IsOk());
  for (const auto& result : RunPolicyTests(*file)) EXPECT_TRUE(result.passed) << result.name << ": " << result.got;
}

TEST(PolicyEvalTest, SaysThatAPodRuleIsJudgedElsewhere) {
  api::SigningPolicy policy;
  policy.spec.algorithms = {api::SignatureAlgorithm::kEcdsaWithSha256};
  policy.spec.subjects.push_back({api::Subject::Kind::kUser, "alice", "", std::nullopt});
  Question question;
  question.username = "alice";
  EXPECT_EQ(Evaluate(policy, question)->note, "");
  policy.spec.pod = api::PodRule{{"sha256:builder"}};
  const auto verdict = Evaluate(policy, question);
  ASSERT_THAT(verdict, IsOk());
  EXPECT_TRUE(verdict->allowed());
  EXPECT_THAT(verdict->note, HasSubstr("judged at the gateway"));
  question.username = "eve";
  EXPECT_EQ(Evaluate(policy, question)->reason, "NotAllowed");
}

}  // namespace
}  // namespace signet::cli
