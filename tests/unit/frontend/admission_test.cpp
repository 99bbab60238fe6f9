#include "frontend/admission.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "admission_fixture.hpp"
#include "api/json.hpp"

namespace signet::testing {
namespace {

using base::Code;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using namespace std::chrono_literals;

class AdmissionTest : public AdmissionFixture {
 protected:
  static json CreateRequest(json object = Request()) {
    return Review("CREATE", "SigningRequest", "signingrequests", std::move(object));
  }
  static json CreateApproval(json object = Approval()) {
    return Review("CREATE", "SigningApproval", "signingapprovals", std::move(object));
  }
};

// ---- stamping ----------------------------------------------------------------------------

TEST_F(AdmissionTest, StampsTheCallerIntoARequest) {
  const json review = CreateRequest();
  const json object = Patched(review, Mutate(review));
  EXPECT_EQ(object["spec"]["requester"], review["request"]["userInfo"]);
  EXPECT_TRUE(sealer_.Verifies("SigningRequest", "ci", object["spec"]));
  EXPECT_THAT(api::RequestFromJson(object), IsOk());
  EXPECT_EQ(object["spec"]["digest"], kDigest);
}

TEST_F(AdmissionTest, LeavesOutWhatTheCallerHasNot) {
  json review = CreateRequest();
  review["request"]["userInfo"] = {{"username", "bob"}, {"uid", ""}, {"groups", nullptr}};
  EXPECT_EQ(Patched(review, Mutate(review))["spec"]["requester"], json({{"username", "bob"}}));
}

TEST_F(AdmissionTest, ARequesterOtherThanTheCallerIsRefused) {
  for (const json& requester : std::vector<json>{
           {{"username", "bob"}},
           {{"username", "alice"}, {"groups", {"admins"}}},
           {{"username", "alice"}, {"uid", "u-b"}},
           {{"username", "alice"}, {"extra", {{"other", {"x"}}}}},
           {{"groups", {"dev", "system:authenticated"}}},
           "alice",
           nullptr,
       }) {
    json object = Request();
    object["spec"]["requester"] = requester;
    EXPECT_THAT(Refusal(Mutate(CreateRequest(object))), HasSubstr("spec.requester is stamped by Signet")) << requester;
  }
  json object = Request();
  object["spec"]["requester"] = {{"username", "alice"}};
  EXPECT_EQ(Mutate(CreateRequest(object))["allowed"], true) << "a caller may name themselves";
}

TEST_F(AdmissionTest, AStampOfTheClientIsRefused) {
  json object = Stamped(CreateRequest())["request"]["object"];
  object["spec"].erase("requester");
  EXPECT_THAT(Refusal(Mutate(CreateRequest(object))), HasSubstr("spec.stamp is made by Signet"));
  object["spec"]["stamp"] = nullptr;
  EXPECT_THAT(Refusal(Mutate(CreateRequest(object))), HasSubstr("spec.stamp"));
}

TEST_F(AdmissionTest, ValidatesWhatItStamped) { EXPECT_THAT(Warnings(Validate(Stamped(CreateRequest()))), IsEmpty()); }

TEST_F(AdmissionTest, ARequestThatWasNotStampedHereIsRefused) {
  EXPECT_THAT(Refusal(Validate(CreateRequest())), HasSubstr("not stamped"));
  json review = Stamped(CreateRequest());
  review["request"]["object"]["spec"]["artifact"] = {{"name", "x"}};
  EXPECT_THAT(Refusal(Validate(review)), HasSubstr("seal does not fit"));
}

TEST_F(AdmissionTest, AStampOfAnotherCallerOrMomentIsRefused) {
  // What somebody could send past a missing mutating webhook: an honest object's spec.
  json review = Stamped(CreateRequest());
  json stolen = review;
  stolen["request"]["userInfo"]["username"] = "mallory";
  EXPECT_THAT(Refusal(Validate(stolen)), HasSubstr("leave them out"));
  clock_.Advance(61s);
  EXPECT_THAT(Refusal(Validate(review)), HasSubstr("leave them out"));
}

TEST_F(AdmissionTest, AStampDoesNotTravelToAnotherNamespaceOrKind) {
  json review = Stamped(CreateRequest());
  review["request"]["namespace"] = "other";
  EXPECT_THAT(Refusal(Validate(review)), HasSubstr("seal"));
}

TEST_F(AdmissionTest, AnInvalidRequestIsToldByTheCodeThatReadsItLater) {
  json object = Request();
  object["spec"]["digest"] = "sha256:zz";
  const json response = Validate(Stamped(CreateRequest(object)));
  EXPECT_THAT(Refusal(response), HasSubstr("spec.digest"));
  EXPECT_EQ(response["status"]["code"], 422);
  object = Request();
  object.erase("spec");
  EXPECT_THAT(Refusal(Mutate(CreateRequest(object))), HasSubstr("spec"));
}

TEST_F(AdmissionTest, SpecsAreImmutableAndMetadataIsNot) {
  const json before = Stamped(CreateRequest())["request"]["object"];
  json after = before;
  after["metadata"]["labels"] = {{"a", "b"}};
  EXPECT_EQ(Validate(Review("UPDATE", "SigningRequest", "signingrequests", after, before))["allowed"], true);
  after["spec"]["requester"]["username"] = "bob";
  const json response = Validate(Review("UPDATE", "SigningRequest", "signingrequests", after, before));
  EXPECT_THAT(Refusal(response), HasSubstr("immutable"));
  after.erase("spec");
  EXPECT_THAT(Refusal(Validate(Review("UPDATE", "SigningApproval", "signingapprovals", after, before))),
              HasSubstr("immutable"));
}

TEST_F(AdmissionTest, OnlyTheOperatorWritesStatuses) {
  for (const auto& [kind, resource] : std::vector<std::pair<std::string, std::string>>{
           {"SigningRequest", "signingrequests"}, {"SigningPolicy", "signingpolicies"}}) {
    json object = Request();
    object["kind"] = kind;
    json review = Review("UPDATE", kind, resource, object, object);
    review["request"]["subResource"] = "status";
    EXPECT_THAT(Refusal(Validate(review)), HasSubstr("written by Signet's operator alone")) << kind;
    review["request"]["userInfo"] = {{"username", kOperator}};
    EXPECT_EQ(Validate(review)["allowed"], true) << kind;
  }
}

TEST_F(AdmissionTest, OtherKindsAndOperationsPass) {
  json review = CreateRequest();
  review["request"]["kind"]["group"] = "other.dev";
  EXPECT_FALSE(Mutate(review).contains("patch"));
  EXPECT_EQ(Validate(review)["allowed"], true);
  EXPECT_EQ(Validate(Review("DELETE", "SigningRequest", "signingrequests", nullptr, Request()))["allowed"], true);
}

// ---- dry runs ----------------------------------------------------------------------------

TEST_F(AdmissionTest, ADryRunSaysWhatThePolicyWouldDecide) {
  json review = Stamped(CreateRequest());
  review["request"]["dryRun"] = true;
  service_.policies = {MakePolicy("release")};
  service_.explain = [](const signing::Caller& caller, const signing::SignCall& call) {
    EXPECT_EQ(caller.principal.username, "alice");
    EXPECT_EQ(caller.principal.proof, identity::Proof::kAdmission);
    EXPECT_THAT(caller.principal.groups, ElementsAre("dev", "system:authenticated"));
    EXPECT_EQ(call.policy, "release");
    EXPECT_TRUE(call.digest.has_value());
    return policy::Decision{policy::Reason::kAllowed, encoding::SignatureAlgorithm::kEcdsaWithSha256, {}, {}, {}};
  };
  EXPECT_THAT(Warnings(Validate(review)),
              ElementsAre(HasSubstr("would be signed now under policy release with ECDSAWithSHA256")));
  service_.policies = {MakePolicy("release", false)};
  EXPECT_THAT(Warnings(Validate(review)), ElementsAre(HasSubstr("KeyNotFound")));
  service_.explain = [](const auto&, const auto&) {
    return policy::Decision{policy::Reason::kOutsideWindow, {}, "it is night", base::TimePoint(1s), {}};
  };
  EXPECT_THAT(Warnings(Validate(review)), ElementsAre("dry run: would not be signed now (OutsideWindow): it is night",
                                                      HasSubstr("1970-01-01T00:00:01Z")));
}

TEST_F(AdmissionTest, AnHonestRunHasNoSuchWarnings) {
  service_.explain = [](const auto&, const auto&) -> policy::Decision {
    ADD_FAILURE();
    return {};
  };
  EXPECT_THAT(Warnings(Validate(Stamped(CreateRequest()))), IsEmpty());
}

// ---- approvals ---------------------------------------------------------------------------

TEST_F(AdmissionTest, StampsTheApproverAndTheRevisionInForce) {
  const json review = CreateApproval();
  const json object = Patched(review, Mutate(review));
  EXPECT_EQ(object["spec"]["approver"], review["request"]["userInfo"]);
  EXPECT_EQ(object["spec"]["policy"], json({{"uid", "uid-p"}, {"generation", 3}}));
  EXPECT_TRUE(sealer_.Verifies("SigningApproval", "ci", object["spec"])) << "the seal covers the revision too";
  EXPECT_THAT(asked_, ElementsAre(std::pair(std::string("ci/r1/uid-r"), false)));
  json validated = review;
  validated["request"]["object"] = object;
  EXPECT_THAT(Warnings(Validate(validated)), IsEmpty());
  EXPECT_EQ(judged_, object);
}

TEST_F(AdmissionTest, AnApproverOtherThanTheCallerIsRefused) {
  json object = Approval();
  object["spec"]["approver"] = {{"username", "bob"}};
  EXPECT_THAT(Refusal(Mutate(CreateApproval(object))), HasSubstr("spec.approver is stamped by Signet"));
}

TEST_F(AdmissionTest, AnApprovalOfAnEditedPolicyIsRefused) {
  json object = Approval();
  object["spec"]["policy"] = {{"uid", "uid-p"}, {"generation", 2}};
  const json review = Stamped(CreateApproval(object));
  EXPECT_EQ(review["request"]["object"]["spec"]["policy"]["generation"], 2) << "what the approver says stays";
  const json response = Validate(review);
  EXPECT_THAT(Refusal(response), HasSubstr("the policy was edited since you looked at it"));
  EXPECT_EQ(response["status"]["code"], 409);
  EXPECT_TRUE(asked_.back().second) << "not refused from a cache";
}

TEST_F(AdmissionTest, ACacheThatLagsBehindTheApproverIsNotBelieved) {
  json object = Approval();
  object["spec"]["policy"] = {{"uid", "uid-p"}, {"generation", 4}};
  live_ = api::PolicyRevision{"uid-p", 4};
  EXPECT_THAT(Warnings(Validate(Stamped(CreateApproval(object)))), IsEmpty());
}

TEST_F(AdmissionTest, ARequestThatIsNotThereCannotBeApproved) {
  cached_ = live_ = base::MakeError(Code::kNotFound, "no such request");
  const json without = Stamped(CreateApproval());
  EXPECT_FALSE(without["request"]["object"]["spec"].contains("policy"));
  EXPECT_EQ(Refusal(Validate(without)), frontend::Admission::kNothingToApprove);
  json object = Approval();
  object["spec"]["policy"] = {{"uid", "uid-p"}, {"generation", 4}};
  EXPECT_EQ(Refusal(Validate(Stamped(CreateApproval(object)))), frontend::Admission::kNothingToApprove);
}

TEST_F(AdmissionTest, AStoreThatIsAwayIsTold) {
  cached_ = base::MakeError(Code::kUnavailable, "Busy", "try again shortly");
  const json response = Mutate(CreateApproval());
  EXPECT_THAT(Refusal(response), HasSubstr("try again"));
  EXPECT_EQ(response["status"]["code"], 503);
}

TEST_F(AdmissionTest, AnApprovalThatWouldNotCountIsRefusedAtOnce) {
  counts_ = base::MakeError(Code::kPermissionDenied, "NotAnApprover", "you are not one of the approvers");
  EXPECT_EQ(Refusal(Validate(Stamped(CreateApproval()))), "you are not one of the approvers");
  EXPECT_EQ(asked_.size(), 1U) << "somebody who is no approver learns nothing of the policy's revision";
}

TEST_F(AdmissionTest, ASignedApprovalStatesItsRevisionItself) {
  json object = Approval();
  object["spec"]["signed"] = {{"issuedAt", "2026-11-23T09:00:00Z"},
                              {"expiresAt", "2026-11-23T10:00:00Z"},
                              {"signature", "-----BEGIN SSH SIGNATURE-----"}};
  const json review = Stamped(CreateApproval(object));
  EXPECT_FALSE(review["request"]["object"]["spec"].contains("policy"));
  EXPECT_THAT(Refusal(Validate(review)), HasSubstr("which revision"));
}

TEST_F(AdmissionTest, ANoThatStandsIsNotDeleted) {
  removable_ = base::MakeError(Code::kFailedPrecondition, "DenialStands", "this no still stands");
  json denial = Approval();
  denial["spec"]["decision"] = "Deny";
  json review = Review("DELETE", "SigningApproval", "signingapprovals", nullptr, denial);
  const json response = Validate(review);
  EXPECT_EQ(Refusal(response), "this no still stands");
  EXPECT_EQ(response["status"]["code"], 403);
  EXPECT_EQ(judged_, denial);
  review["request"]["name"] = "";
  EXPECT_EQ(Validate(review)["allowed"], false) << "one of a collection";
  review["request"]["userInfo"] = {{"username", "system:serviceaccount:kube-system:generic-garbage-collector"}};
  EXPECT_EQ(Validate(review)["allowed"], false) << "anybody can write an owner that is not there";
  review["request"]["userInfo"] = {{"username", "system:serviceaccount:kube-system:namespace-controller"}};
  EXPECT_EQ(Validate(review)["allowed"], true) << "its namespace goes";
  EXPECT_EQ(Validate(Review("DELETE", "SigningApproval", "signingapprovals", nullptr, Approval()))["allowed"], true);
  removable_ = base::MakeError(Code::kUnavailable, "Busy", "try again");
  EXPECT_EQ(Validate(Review("DELETE", "SigningApproval", "signingapprovals", nullptr, denial))["status"]["code"], 503);
  removable_ = {};
  EXPECT_EQ(Validate(Review("DELETE", "SigningApproval", "signingapprovals", nullptr, denial))["allowed"], true);
}

TEST_F(AdmissionTest, AnInvalidApprovalIsToldAtValidation) {
  json object = Approval();
  object["spec"]["decision"] = "Maybe";
  EXPECT_THAT(Refusal(Validate(Stamped(CreateApproval(object)))), HasSubstr("spec.decision"));
  object = Approval();
  object["spec"].erase("requestRef");
  EXPECT_THAT(Refusal(Validate(Stamped(CreateApproval(object)))), HasSubstr("requestRef"));
}

// Issue 11, row 15: kubectl prints these texts as they are.
TEST_F(AdmissionTest, TextsThatATerminalObeysAreRefused) {
  json object = Approval();
  object["spec"]["comment"] = "looks good\u001b[2K";
  const json refused = Validate(Stamped(CreateApproval(object)));
  EXPECT_THAT(Refusal(refused), HasSubstr("spec.comment: character 11 is U+001B"));
  EXPECT_EQ(refused["status"]["code"], 422);
  object["spec"]["comment"] = "looks good\nsee the ticket";
  EXPECT_EQ(Validate(Stamped(CreateApproval(object)))["allowed"], true);

  json review = CreateApproval();
  review["request"]["userInfo"]["username"] = "\u202eecila";
  EXPECT_THAT(Refusal(Validate(Stamped(review))), HasSubstr("spec.approver.username: character 1 is U+202E"));
  review = Review("CREATE", "SigningRequest", "signingrequests", Request());
  review["request"]["userInfo"]["username"] = "eve\u009b1A";
  EXPECT_THAT(Refusal(Validate(Stamped(review))), HasSubstr("spec.requester.username: character 4 is U+009B"));
}

// ---- HTTP --------------------------------------------------------------------------------

class AdmissionHttpTest : public AdmissionTest {
 protected:
  http::Response Send(std::string_view method, std::string_view target, std::string_view body,
                      std::string_view content_type = "application/json") {
    http::Request request;
    request.method = method;
    request.target = target;
    request.body = body;
    request.content_type = content_type;
    http::Response got;
    got.status = 0;
    admission_->Handle(request, [&](http::Response response) { got = std::move(response); });
    return got;
  }
};

TEST_F(AdmissionHttpTest, GarbageIsATypedProblem) {
  const auto with = [](const char* member, const json& value) {
    json review = CreateRequest();
    review["request"][member] = value;
    return review.dump();
  };
  const auto without = [](const char* member) {
    json review = CreateRequest();
    review["request"].erase(member);
    return review.dump();
  };
  for (const std::string& body : std::vector<std::string>{
           "",
           "{",
           "[]",
           "null",
           "{}",
           R"({"kind":"AdmissionReview"})",
           R"({"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{}})",
           R"({"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"})",
           R"({"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":7})",
           R"({"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"a","uid":"b"}})",
           with("uid", ""),
           with("uid", 7),
           with("kind", "SigningRequest"),
           with("operation", "PATCH"),
           with("userInfo", "alice"),
           with("userInfo", json::object()),
           with("object", "x"),
           with("object", nullptr),
           with("dryRun", "yes"),
           without("uid"),
           without("kind"),
           without("resource"),
           without("operation"),
           without("userInfo"),
           without("object")}) {
    const auto response = Send("POST", "/mutate", body);
    EXPECT_EQ(response.status, 400) << body;
    EXPECT_EQ(response.content_type, "application/problem+json");
    EXPECT_EQ(json::parse(response.body)["code"], "Malformed") << body;
  }
}

TEST_F(AdmissionHttpTest, OtherPathsMethodsAndTypesAreRefused) {
  EXPECT_EQ(Send("POST", "/other", "{}").status, 404);
  EXPECT_EQ(Send("GET", "/mutate", "").status, 405);
  EXPECT_EQ(Send("POST", "/validate", "{}", "text/plain").status, 415);
}

TEST_F(AdmissionHttpTest, MembersOfLaterServersArePassedBy) {
  json review = CreateRequest();
  review["request"]["somethingNew"] = {{"a", 1}};
  review["request"]["userInfo"]["somethingNew"] = 7;
  const json object = Patched(review, Mutate(review));
  EXPECT_FALSE(object["spec"]["requester"].contains("somethingNew"));
  EXPECT_THAT(api::RequestFromJson(object), IsOk());
}

TEST_F(AdmissionHttpTest, ACallerBeyondTheSchemasLimitsIsRefusedClearly) {
  json review = CreateRequest();
  review["request"]["userInfo"]["username"] = std::string(1025, 'x');
  const auto response = Send("POST", "/mutate", review.dump());
  EXPECT_EQ(response.status, 400);
  EXPECT_THAT(response.body, HasSubstr("request.userInfo.username"));
}

TEST(AdmissionReviewTest, BoundsItsWarnings) {
  frontend::AdmissionVerdict verdict;
  for (int i = 0; i < 100; ++i) verdict.warnings.push_back(std::string(511, 'x') + "\xc3\xa4 and more");
  const auto answer = nlohmann::json::parse(frontend::RenderAdmissionReview("u", verdict));
  EXPECT_EQ(answer["response"]["warnings"].size(), frontend::kMostWarnings);
  EXPECT_EQ(answer["response"]["warnings"][0], std::string(511, 'x') + "...") << "cut between characters";
}

}  // namespace
}  // namespace signet::testing
