#include "policy/approvals.hpp"

#include "policy/approval_roots.hpp"
#include "policy/approval_statement.hpp"
#include "policy/decide.hpp"
#include "support/matchers.hpp"
#include "support/ssh_keygen.hpp"

namespace signet::policy {
namespace {

using api::Subject;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

const base::TimePoint kNow = *base::ParseTime("2026-11-23T12:00:00Z");
const std::string kKeyId(64, 'a');

Subject User(std::string name) { return {Subject::Kind::kUser, std::move(name), "", std::nullopt}; }

/// The policy wants two of alice, bob and the group managers; carol asks.
class ApprovalsTest : public ::testing::Test {
 protected:
  ApprovalsTest() {
    policy_.metadata.name = "release";
    policy_.metadata.uid = "policy-uid";
    policy_.metadata.generation = 3;
    policy_.spec.algorithms = {encoding::SignatureAlgorithm::kEcdsaWithSha256};
    policy_.spec.subjects = {User("carol")};
    policy_.spec.approvals = api::Approvals{
        2, {User("alice"), User("bob"), {Subject::Kind::kGroup, "managers", "", std::nullopt}}, std::nullopt, false};
    requester_.username = "carol";
    artifact_.name = "registry/app:1";
    context_.cluster_id = "cluster-uid";
    context_.request_namespace = "ci";
    context_.request_name = "app";
    context_.request_uid = "request-uid";
    context_.digest = "sha256:" + std::string(64, '9');
    context_.given = &given_;
    context_.key_id = kKeyId;
  }

  Approval By(const std::string& user) {
    Approval approval;
    approval.name = "app-" + user + std::to_string(given_.size());
    approval.spec.request_name = "app";
    approval.spec.request_uid = "request-uid";
    approval.spec.policy = api::PolicyRevision{"policy-uid", 3};
    approval.spec.approver = api::UserInfo{user, "", {}, {}};
    approval.vouched = true;
    approval.time = kNow - 1h;
    return approval;
  }
  Approval& Give(Approval approval) {
    given_.push_back(std::move(approval));
    return given_.back();
  }
  Decision Decide() {
    auto compiled = CompiledPolicy::Compile(policy_);
    Facts facts;
    facts.principal = &requester_;
    facts.artifact = &artifact_;
    facts.now = kNow;
    facts.approvals = &context_;
    return (*compiled)->Decide(facts);
  }
  /// The reason of the approval given last.
  std::string Last() {
    const auto decision = Decide();
    return decision.approvals ? decision.approvals->approvals.back().reason : "none";
  }
  void Sign(Approval& approval, const testing::SshSigner& signer,
            const std::function<void(ApprovalStatement&)>& change = {}) {
    approval.spec.signed_by_approver = api::ApprovalSignature{kNow - 1h, kNow + 1h, ""};
    ApprovalStatement statement{"cluster-uid",
                                "ci",
                                "app",
                                "request-uid",
                                context_.digest,
                                "ECDSAWithSHA256",
                                artifact_.name,
                                "",
                                "release",
                                "policy-uid",
                                3,
                                approval.spec.decision,
                                kNow - 1h,
                                kNow + 1h};
    if (change) change(statement);
    approval.spec.signed_by_approver->signature = signer.Sign(Render(statement), std::string(kApprovalNamespace));
  }
  void Root(int required, std::string key_id = "") {
    const auto person = [](const char* name, const testing::SshSigner& signer) {
      return RootApprover{name, {*crypto::SshPublicKey::Parse(signer.public_key())}};
    };
    context_.roots = std::make_shared<const ApprovalRoots>(std::vector<RootRule>{
        {"release", std::move(key_id), required, {person("alice", alice_), person("bob", bob_)}}});
  }

  api::SigningPolicy policy_;
  identity::Principal requester_;
  api::Artifact artifact_;
  ApprovalContext context_;
  std::vector<Approval> given_;
  testing::SshSigner alice_{"ed25519"}, bob_{"ecdsa"};
};

TEST_F(ApprovalsTest, CountsDifferentApprovers) {
  EXPECT_THAT(Decide().message, HasSubstr("0 of 2"));
  Give(By("alice"));
  EXPECT_EQ(Decide().reason, Reason::kAwaitingApproval);
  EXPECT_THAT(Decide().message, HasSubstr("1 of 2"));
  auto& dave = Give(By("dave"));
  dave.spec.approver->groups = {"managers"};
  EXPECT_EQ(Decide().reason, Reason::kAllowed);
  const auto lines = Decide().approvals->approvals;
  EXPECT_EQ(lines[0].reason, "Counts");
  EXPECT_TRUE(lines[1].counts);
  EXPECT_EQ(lines[1].approver, "dave");
  EXPECT_EQ(lines[1].policy_generation, 3);
}

TEST_F(ApprovalsTest, CountsNobodyTwice) {
  Give(By("alice"));
  Give(By("alice"));
  EXPECT_EQ(Decide().reason, Reason::kAwaitingApproval);
  EXPECT_EQ(Last(), "SamePerson");
  auto& robot = Give(By("bob"));
  robot.spec.approver->extra["signet.dev/acting-for"] = {"alice"};
  EXPECT_EQ(Last(), "SamePerson") << "an account that acts for alice is alice";
}

TEST_F(ApprovalsTest, NeverCountsTheRequester) {
  policy_.spec.approvals->approvers.push_back(User("carol"));
  Give(By("carol"));
  EXPECT_EQ(Last(), "RequesterCannotApprove");
  auto& robot = Give(By("alice"));
  robot.spec.approver->extra["originaluser.jetstack.io-user"] = {"carol"};
  EXPECT_EQ(Last(), "RequesterCannotApprove");
  Give(By("bob"));
  requester_.extra["signet.dev/acting-for"] = {"bob"};
  EXPECT_EQ(Last(), "RequesterCannotApprove");
}

TEST_F(ApprovalsTest, CountsNothingThatNobodyVouchesFor) {
  auto& forged = Give(By("alice"));
  forged.vouched = false;
  forged.not_vouched = "no stamp";
  EXPECT_EQ(Last(), "NotStamped");
  EXPECT_EQ(Decide().approvals->approvals[0].message, "no stamp");
  Give(By("bob")).spec.approver.reset();
  EXPECT_EQ(Last(), "NotStamped");
}

TEST_F(ApprovalsTest, HoldsApprovalsToRequestRevisionAndTime) {
  Give(By("mallory"));
  EXPECT_EQ(Last(), "NotAnApprover");
  Give(By("alice")).spec.request_uid = "another";
  EXPECT_EQ(Last(), "OtherRequest");
  Give(By("alice")).spec.policy->generation = 2;
  EXPECT_EQ(Last(), "PolicyChanged");
  Give(By("alice")).spec.policy->uid = "another";
  EXPECT_EQ(Last(), "PolicyChanged");
  Give(By("alice")).spec.policy.reset();
  EXPECT_EQ(Last(), "PolicyChanged");
  policy_.spec.approvals->valid_for = 1h;
  Give(By("alice"));
  EXPECT_EQ(Last(), "Expired") << "at the last moment it has expired";
  Give(By("alice")).time = kNow - 1h + 1us;
  EXPECT_EQ(Last(), "Counts");
  EXPECT_EQ(Decide().approvals->counted, 1);
}

TEST_F(ApprovalsTest, EndsWithOneApproversNo) {
  Give(By("alice"));
  Give(By("bob"));
  Give(By("mallory")).spec.decision = api::Decision::kDeny;
  EXPECT_EQ(Decide().reason, Reason::kAllowed) << "mallory is nobody";
  auto& no = Give(By("dave"));
  no.spec.decision = api::Decision::kDeny;
  no.spec.comment = "not on a Friday";
  no.spec.approver->groups = {"managers"};
  no.spec.policy->generation = 2;
  policy_.spec.windows = {{{0}, {0}, {60}, ""}};
  const auto decision = Decide();
  EXPECT_EQ(decision.reason, Reason::kDeniedByApprover) << "outside a window, and for an older revision, too";
  EXPECT_EQ(decision.message, "dave said no: not on a Friday");
}

TEST_F(ApprovalsTest, RendersTheStatementForEver) {
  const ApprovalStatement statement{
      "c-1",        "ci",      "app", "u-1", "sha256:ab",          "PureEd25519", "registry/\"x\"",
      "text/plain", "release", "p-1", 7,     api::Decision::kDeny, kNow,          kNow + 90min};
  EXPECT_EQ(Render(statement),
            R"({"type":"signet-approval/v1","cluster":"c-1","namespace":"ci","request":"app","requestUID":"u-1",)"
            R"("digest":"sha256:ab","algorithm":"PureEd25519","artifact":"registry/\"x\"","mediaType":"text/plain",)"
            R"("policy":"release","policyUID":"p-1","policyGeneration":7,"decision":"Deny",)"
            R"("issuedAt":"2026-11-23T12:00:00Z","expiresAt":"2026-11-23T13:30:00Z"})"
            "\n");
}

TEST_F(ApprovalsTest, CountsOnlySignedOnesWhereThePolicySaysSo) {
  policy_.spec.approvals->require_signed = true;
  Give(By("alice"));
  EXPECT_EQ(Last(), "NoApprovalRoots");
  Root(1);
  EXPECT_EQ(Last(), "NotSigned");
  Sign(given_.back(), alice_);
  EXPECT_EQ(Last(), "Counts");
  EXPECT_EQ(Decide().approvals->approvals[0].signed_by,
            crypto::SshPublicKey::Parse(alice_.public_key())->fingerprint());
  Sign(Give(By("bob")), bob_);
  EXPECT_EQ(Decide().reason, Reason::kAllowed);
}

TEST_F(ApprovalsTest, BindsTheSignatureToEverythingThatIsApproved) {
  Root(1);
  const std::vector<std::pair<const char*, std::function<void(ApprovalStatement&)>>> changes = {
      {"cluster", [](auto& s) { s.cluster = "another"; }},
      {"namespace", [](auto& s) { s.request_namespace = "another"; }},
      {"name", [](auto& s) { s.request_name = "another"; }},
      {"uid", [](auto& s) { s.request_uid = "another"; }},
      {"digest", [](auto& s) { s.digest.back() = '8'; }},
      {"algorithm", [](auto& s) { s.algorithm = "ECDSAWithSHA384"; }},
      {"artifact", [](auto& s) { s.artifact_name = "another"; }},
      {"media type", [](auto& s) { s.artifact_media_type = "text/plain"; }},
      {"policy", [](auto& s) { s.policy_name = "another"; }},
      {"policy uid", [](auto& s) { s.policy_uid = "another"; }},
      {"generation", [](auto& s) { s.policy_generation = 2; }},
      {"decision", [](auto& s) { s.decision = api::Decision::kDeny; }},
      {"issued", [](auto& s) { s.issued_at += 1s; }},
      {"expires", [](auto& s) { s.expires_at += 1s; }},
  };
  for (const auto& [what, change] : changes) {
    SCOPED_TRACE(what);
    Sign(Give(By("alice")), alice_, change);
    EXPECT_EQ(Last(), "SignatureInvalid");
  }
  Sign(Give(By("alice")), alice_);
  EXPECT_EQ(Last(), "Counts");
}

TEST_F(ApprovalsTest, CountsAKeyForItsOwnPersonOnly) {
  Root(1);
  Sign(Give(By("alice")), bob_);
  EXPECT_EQ(Last(), "UnknownKey");
  const testing::SshSigner stranger;
  Sign(Give(By("alice")), stranger);
  EXPECT_EQ(Last(), "UnknownKey");
  auto& other = Give(By("alice"));
  Sign(other, alice_);
  other.spec.signed_by_approver->signature = alice_.Sign("anything", "file");
  EXPECT_EQ(Last(), "SignatureInvalid");
  other.spec.signed_by_approver->signature = "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n";
  EXPECT_EQ(Last(), "SignatureInvalid");
}

TEST_F(ApprovalsTest, LetsSignedApprovalsExpire) {
  Root(1);
  auto& late = Give(By("alice"));
  Sign(late, alice_, [](auto& s) { s.expires_at = kNow; });
  late.spec.signed_by_approver->expires_at = kNow;
  EXPECT_EQ(Last(), "Expired");
  auto& early = Give(By("alice"));
  Sign(early, alice_, [](auto& s) { s.issued_at = kNow + 61s; });
  early.spec.signed_by_approver->issued_at = kNow + 61s;
  EXPECT_EQ(Last(), "SignatureInvalid");
  policy_.spec.approvals->valid_for = 1h;
  auto& old = Give(By("alice"));
  old.time = kNow;
  Sign(old, alice_);
  EXPECT_EQ(Last(), "Expired") << "validFor counts from the signature, too";
}

// A statement that named no cluster would be good in every cluster that does not know its name yet.
TEST_F(ApprovalsTest, CountsNoSignatureBeforeTheClusterHasAName) {
  Root(1);
  context_.cluster_id.clear();
  Sign(Give(By("alice")), alice_, [](auto& s) { s.cluster.clear(); });
  EXPECT_EQ(Last(), "NotReady");
}

TEST_F(ApprovalsTest, HoldsARuleWithoutAKeyToItsPolicyAlone) {
  Root(1);
  policy_.metadata.name = "another";
  policy_.spec.approvals.reset();
  context_.key_id.clear();  // a policy whose key is not there
  EXPECT_EQ(Decide().reason, Reason::kAllowed);
}

// What cluster-admin can do to the policy does not get past the roots.
TEST_F(ApprovalsTest, StaysFirmWhateverThePolicySays) {
  Root(2, kKeyId);
  Sign(Give(By("alice")), alice_);
  policy_.spec.approvals->required = 1;
  EXPECT_EQ(Decide().reason, Reason::kAwaitingApproval) << "required lowered";
  EXPECT_THAT(Decide().message, HasSubstr("1 of 2 signed approvals that the operator's approval roots want"));
  policy_.spec.approvals->approvers = {User("*")};
  Give(By("mallory"));
  EXPECT_EQ(Last(), "NotSigned") << "approvers widened";
  policy_.spec.approvals.reset();
  EXPECT_EQ(Decide().reason, Reason::kAwaitingApproval) << "approvals removed";
  policy_.metadata.name = "another";
  EXPECT_EQ(Decide().reason, Reason::kAwaitingApproval) << "another policy for the same key";
  context_.given = nullptr;
  EXPECT_EQ(Decide().reason, Reason::kAwaitingApproval) << "through a door without approvals";
  context_.key_id = std::string(64, 'b');
  EXPECT_EQ(Decide().reason, Reason::kAllowed) << "another key is not covered";
}

}  // namespace
}  // namespace signet::policy
