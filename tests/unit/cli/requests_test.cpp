#include "cli/requests.hpp"

#include <gmock/gmock.h>

#include "api/json.hpp"
#include "cli/cluster.hpp"
#include "cli/decide.hpp"
#include "cli/request_text.hpp"
#include "cli/statement.hpp"
#include "support/matchers.hpp"
#include "support/ssh_keygen.hpp"

namespace signet::cli {
namespace {

using nlohmann::json;
using signet::testing::IsErr;
using signet::testing::IsOk;
using ::testing::HasSubstr;
using ::testing::Not;

json Request(json status = json::object()) {
  json object = json::parse(R"({
    "apiVersion": "signet.dev/v1alpha1", "kind": "SigningRequest",
    "metadata": {"name": "api-1", "namespace": "ci", "uid": "u-1", "creationTimestamp": "2026-11-23T09:00:00Z"},
    "spec": {"policyRef": {"name": "release"}, "artifact": {"name": "registry.example.com/api", "mediaType": "a/b"},
             "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
             "requester": {"username": "system:serviceaccount:ci:builder"}}})");
  object["status"] = std::move(status);
  return object;
}

json Waiting() {
  return json::parse(R"({"conditions": [{"type": "Ready", "status": "False", "reason": "AwaitingApproval",
      "message": "1 of 2 approvals", "lastTransitionTime": "2026-11-23T09:00:00Z"}],
    "approvals": [{"name": "a", "approver": "alice", "decision": "Approve", "time": "2026-11-23T09:01:00Z",
      "counts": true, "reason": "Counts"},
      {"name": "m", "approver": "mallory", "decision": "Approve", "time": "2026-11-23T09:02:00Z", "counts": false,
       "reason": "NotAnApprover", "message": "not named"}]})");
}

api::SigningPolicy Policy(bool is_signed = false) {
  json object = json::parse(R"({"apiVersion": "signet.dev/v1alpha1", "kind": "SigningPolicy",
    "metadata": {"name": "release", "uid": "p-1", "generation": 3},
    "spec": {"key": {"uri": "pkcs11:token=t;object=o"}, "algorithms": ["ECDSAWithSHA256"],
      "subjects": [{"kind": "User", "name": "alice"}],
      "approvals": {"required": 2, "approvers": [{"kind": "Group", "name": "managers"}]}}})");
  object["spec"]["approvals"]["requireSigned"] = is_signed;
  auto policy = api::PolicyFromJson(object);
  EXPECT_THAT(policy, IsOk());
  return *policy;
}

api::SigningRequest Read(const json& object) {
  auto request = api::RequestFromJson(object);
  EXPECT_THAT(request, IsOk());
  return *request;
}

const base::TimePoint kNow = *base::ParseTime("2026-11-23T09:10:00Z");

TEST(StateOf, ReadsTheConditions) {
  using Kind = RequestState::Kind;
  EXPECT_EQ(StateOf(Read(Request())).kind, Kind::kWaiting);
  EXPECT_EQ(StateOf(Read(Request())).reason, "Pending");
  EXPECT_EQ(StateOf(Read(Request(Waiting()))).reason, "AwaitingApproval");
  const auto with = [](const char* type, const char* reason) {
    return StateOf(Read(Request({{"conditions", {{{"type", type}, {"status", "True"}, {"reason", reason}}}}})));
  };
  EXPECT_EQ(with("Ready", "Signed").kind, Kind::kSigned);
  EXPECT_EQ(with("Denied", "NotAllowed").kind, Kind::kDenied);
  EXPECT_EQ(with("Failed", "SpecChanged").kind, Kind::kFailed);
}

TEST(WaitingLine, NamesThoseWhoseApprovalCounts) {
  const auto request = Read(Request(Waiting()));
  EXPECT_EQ(WaitingLine(request, StateOf(request)), "AwaitingApproval: 1 of 2 approvals; approved by alice");
}

TEST(ReadLeniently, TakesWhatItCanOfAnObjectThatIsNotValid) {
  json object = Request(Waiting());
  object["spec"]["surprise"] = 1;
  const auto request = ReadLeniently(object);
  EXPECT_EQ(request.metadata.name, "api-1");
  EXPECT_EQ(request.spec.policy_name, "release");
  EXPECT_EQ(StateOf(request).reason, "AwaitingApproval");
}

TEST(RequestsTable, ShowsTheOldestFirst) {
  auto later = Request();
  later["metadata"]["name"] = "later";
  later["metadata"]["creationTimestamp"] = "2026-11-23T09:05:00Z";
  EXPECT_EQ(RequestsTable({Read(later), Read(Request(Waiting()))}, true, kNow, 0),
            "NAMESPACE   NAME    STATE     REASON             POLICY    ARTIFACT                   "
            "REQUESTER                          AGE\n"
            "ci          api-1   Waiting   AwaitingApproval   release   registry.example.com/api   "
            "system:serviceaccount:ci:builder   10m\n"
            "ci          later   Waiting   Pending            release   registry.example.com/api   "
            "system:serviceaccount:ci:builder   5m\n");
}

TEST(ShowText, SaysWhatIsMissingAndHowToApprove) {
  const auto policy = Policy(true);
  const auto text = ShowText(Read(Request(Waiting())), &policy, "kubectl signet", kNow);
  EXPECT_THAT(text, HasSubstr("Approve by alice, 9m ago: counts"));
  EXPECT_THAT(text, HasSubstr("Approve by mallory, 8m ago: NotAnApprover: not named"));
  EXPECT_THAT(text, HasSubstr("2, each signed, of: Group managers"));
  EXPECT_THAT(text, HasSubstr("kubectl signet approve api-1 -n ci --key"));
  EXPECT_THAT(ShowText(Read(Request()), nullptr, "signet", kNow), Not(HasSubstr("Approve with")));
}

TEST(ApprovalObject, BindsToRequestAndRevisionAndLeavesTheApproverToTheServer) {
  const auto policy = Policy();
  const api::ApprovalSignature signature{kNow, kNow + std::chrono::hours(1), "-----BEGIN SSH SIGNATURE-----\n"};
  const json object = ApprovalObject(Read(Request()), &policy, api::Decision::kDeny, "wrong branch", signature);
  EXPECT_THAT(api::ApprovalFromJson(object), IsOk());
  EXPECT_EQ(object["metadata"]["namespace"], "ci");
  EXPECT_THAT(object["metadata"]["name"].get<std::string>(), ::testing::StartsWith("api-1-"));
  EXPECT_EQ(object["spec"]["requestRef"]["uid"], "u-1");
  EXPECT_EQ(object["spec"]["policy"], (json{{"uid", "p-1"}, {"generation", 3}}));
  EXPECT_EQ(object["spec"]["decision"], "Deny");
  EXPECT_EQ(object["spec"]["signed"]["issuedAt"], "2026-11-23T09:10:00Z");
  EXPECT_FALSE(object["spec"].contains("approver"));
}

TEST(SignStatement, SignsWithAKeyAndWithACommand) {
  const auto policy = Policy();
  const auto statement = policy::Render(
      StatementOf(Read(Request()), policy, "cluster-uid", api::Decision::kApprove, kNow, kNow + std::chrono::hours(1)));
  EXPECT_THAT(statement, HasSubstr(R"("algorithm":"ECDSAWithSHA256")"));
  const signet::testing::SshSigner person;
  const auto by_command = SignStatement(
      statement, {"", "cat > /dev/null; printf '%s' '" + person.Sign(statement, "signet-approval@signet.dev") + "'"});
  EXPECT_THAT(by_command, IsOk());
  EXPECT_THAT(CheckSignature(statement, *by_command), IsOk());
  EXPECT_FALSE(CheckSignature(statement + " ", *by_command));
  EXPECT_THAT(SignStatement(statement, {"", "echo nothing"}), IsErr(base::Code::kFailedPrecondition, "SignerFailed"));
  EXPECT_THAT(SignStatement(statement, {"", "exit 3"}), IsErr(base::Code::kFailedPrecondition, "SignerFailed"));
}

TEST(Plainly, LeavesPathAndWebhookNameOut) {
  base::Error error;
  error.native = {"http", 403};
  error.message =
      "POST /apis/signet.dev/v1alpha1/namespaces/ci/signingapprovals: admission webhook \"validate.signet.dev\" denied "
      "the request: NotAnApprover: the policy does not\nname you";
  EXPECT_EQ(Plainly(error), "refused: NotAnApprover: the policy does not name you");
  error.message = "GET /api/v1/namespaces/kube-system: namespaces \"kube-system\" is forbidden";
  EXPECT_EQ(Plainly(error), "namespaces \"kube-system\" is forbidden");
}

}  // namespace
}  // namespace signet::cli
