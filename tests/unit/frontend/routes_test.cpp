#include "frontend/routes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "fakes.hpp"
#include "frontend/metrics_endpoint.hpp"
#include "frontend/problem.hpp"
#include "obs/metrics.hpp"

namespace signet::frontend {
namespace {

using base::Code;
using ::testing::HasSubstr;
using testing::kP256KeyID;
using testing::kP256Pem;
using testing::kP256SignatureDer;
using testing::kP256SignatureP1363;
using testing::MakePolicy;
using ::testing::Not;
using testing::P256Signed;
using testing::Refuse;

const std::string kBody =
    R"({"policy":"release","digest":"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"})";

const std::string kBatch = R"({"policy":"release","items":[{"message":"YQ=="},{"message":"Yg=="},{"message":"Yw=="}]})";

std::string With(std::string_view more) { return kBody.substr(0, kBody.size() - 1) + std::string(more) + "}"; }
std::string Header(const http::Response& response, std::string_view name) {
  for (const auto& [key, value] : response.headers) {
    if (key == name) return value;
  }
  return {};
}

class RoutesTest : public testing::ApiFixture {
 protected:
  void ExpectProblem(const http::Response& response, int status, std::string_view code) {
    EXPECT_EQ(response.status, status) << response.body;
    EXPECT_EQ(response.content_type, "application/problem+json");
    const auto json = Json(response);
    EXPECT_EQ(json.at("code"), code) << response.body;
    EXPECT_EQ(json.at("status"), status);
    EXPECT_EQ(json.at("type"), std::string(kProblemBase) + std::string(code));
    EXPECT_FALSE(json.at("title").get<std::string>().empty());
    EXPECT_FALSE(json.at("detail").get<std::string>().empty());
    const bool later = status == 429 || status == 503;
    EXPECT_EQ(Header(response, "Retry-After").empty(), !later);
  }
  void AnswerWith(signing::SigningService::Answer answer) {
    service_.answer = [answer = std::move(answer)](const auto&, const auto&) { return answer; };
  }
};

TEST_F(RoutesTest, Signs) {
  AnswerWith(P256Signed());
  const auto response = Ask("POST", "/v1/sign", kBody);
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(Json(response), (nlohmann::json{{"signature", kP256SignatureDer},
                                            {"algorithm", "ECDSAWithSHA256"},
                                            {"keyID", kP256KeyID},
                                            {"record", "01J0000000000000000000000A"}}));
  ASSERT_EQ(service_.calls.size(), 1U);
  EXPECT_EQ(service_.calls[0].policy, "release");
}

TEST_F(RoutesTest, WritesP1363) {
  AnswerWith(P256Signed());
  service_.policies = {MakePolicy("release")};
  const auto response = Ask("POST", "/v1/sign", With(R"(,"encoding":"p1363")"));
  EXPECT_EQ(Json(response).at("signature"), kP256SignatureP1363);
  EXPECT_EQ(service_.calls[0].algorithm, encoding::SignatureAlgorithm::kEcdsaWithSha256) << "fixed before signing";
}

TEST_F(RoutesTest, RefusesP1363ForOtherSchemesBeforeAnythingIsSigned) {
  ExpectProblem(Ask("POST", "/v1/sign", With(R"(,"encoding":"p1363","algorithm":"SHA256WithRSA")")), 400, "Malformed");
  service_.policies = {MakePolicy("release", true, "SHA256WithRSA")};
  ExpectProblem(Ask("POST", "/v1/sign", With(R"(,"encoding":"p1363")")), 400, "Malformed");
  ExpectProblem(Ask("POST", "/v1/sign/batch", R"({"policy":"release","items":[{"message":"","encoding":"p1363"}]})"),
                400, "Malformed");
  EXPECT_TRUE(service_.calls.empty());
}

TEST_F(RoutesTest, SignsBatchesWithAResultPerItem) {
  int count = 0;
  service_.answer = [&](const auto&, const auto&) -> signing::SigningService::Answer {
    if (++count == 2) {
      return Refuse(Code::kResourceExhausted, "QuotaExceeded", "3 per second are used up", std::chrono::seconds(1));
    }
    return P256Signed();
  };
  const auto response =
      Ask("POST", "/v1/sign/batch",
          R"({"policy":"release","items":[{"message":"YQ=="},{"message":"Yg=="},{"message":"Yw=="}]})");
  EXPECT_EQ(response.status, 200);
  const auto results = Json(response).at("results");
  ASSERT_EQ(results.size(), 3U);
  EXPECT_EQ(results[0].at("signature"), kP256SignatureDer);
  EXPECT_EQ(results[1].at("error").at("code"), "QuotaExceeded");
  EXPECT_EQ(results[1].at("error").at("detail"), "3 per second are used up");
  EXPECT_EQ(results[1].at("error").at("retryAfterSeconds"), 1);
  EXPECT_EQ(results[2].at("keyID"), kP256KeyID);
  EXPECT_EQ(base::AsText(*service_.calls[2].message), "c");
}

TEST_F(RoutesTest, MapsRefusalsToProblems) {
  struct Row {
    Code code;
    const char* reason;
    int status;
    const char* problem;
  };
  for (const Row& row : {Row{Code::kPermissionDenied, "NotAllowed", 403, "NotAllowed"},
                         {Code::kPermissionDenied, "AlgorithmNotAllowed", 403, "AlgorithmNotAllowed"},
                         {Code::kPermissionDenied, "ArtifactNotAllowed", 403, "ArtifactNotAllowed"},
                         {Code::kPermissionDenied, "ImageNotAllowed", 403, "ImageNotAllowed"},
                         {Code::kUnavailable, "QuotaUnavailable", 503, "QuotaUnavailable"},
                         {Code::kUnavailable, "PodPending", 503, "PodPending"},
                         {Code::kPermissionDenied, "Suspended", 403, "Suspended"},
                         {Code::kPermissionDenied, "OutsideWindow", 403, "OutsideWindow"},
                         {Code::kPermissionDenied, "ApprovalRequired", 403, "ApprovalRequired"},
                         {Code::kPermissionDenied, "AwaitingApproval", 403, "ApprovalRequired"},
                         {Code::kInvalidArgument, "DigestMismatch", 422, "DigestMismatch"},
                         {Code::kFailedPrecondition, "MechanismMissing", 422, "MechanismMissing"},
                         {Code::kResourceExhausted, "QuotaExceeded", 429, "QuotaExceeded"},
                         {Code::kInternal, "VerificationFailed", 500, "VerificationFailed"},
                         {Code::kInternal, "", 500, "Internal"},
                         {Code::kInternal, "NeverHeardOf", 500, "Internal"},
                         {Code::kUnavailable, "HSMUnavailable", 503, "HSMUnavailable"},
                         {Code::kUnavailable, "AuditUnavailable", 503, "AuditUnavailable"},
                         {Code::kUnavailable, "PolicyStale", 503, "PolicyStale"},
                         {Code::kUnavailable, "KeyNotReady", 503, "KeyNotReady"},
                         {Code::kResourceExhausted, "Busy", 503, "Busy"},
                         {Code::kResourceExhausted, "", 503, "Busy"},
                         {Code::kDeadlineExceeded, "HSMUnavailable", 504, "OutcomeUnknown"},
                         {Code::kDeadlineExceeded, "", 504, "OutcomeUnknown"}}) {
    AnswerWith(Refuse(row.code, row.reason, "a message"));
    ExpectProblem(Ask("POST", "/v1/sign", kBody), row.status, row.problem);
  }
}

TEST_F(RoutesTest, SaysTheSameForUnknownPoliciesAndStrangers) {  // invariant 7
  AnswerWith(Refuse(Code::kNotFound, "NotAllowed", "no policy named release"));
  const auto unknown = Ask("POST", "/v1/sign", kBody);
  AnswerWith(Refuse(Code::kPermissionDenied, "NotAllowed", "ci:builder is not a subject of release"));
  const auto stranger = Ask("POST", "/v1/sign", kBody);
  EXPECT_EQ(unknown.body, stranger.body);
  EXPECT_EQ(unknown.status, stranger.status);
  EXPECT_EQ(unknown.headers, stranger.headers);
  EXPECT_THAT(stranger.body, Not(HasSubstr("release")));
  EXPECT_EQ(Ask("GET", "/v1/keys/release").body, unknown.body);
}

TEST_F(RoutesTest, KeepsInnerMessagesInside) {
  for (const char* reason : {"HSMUnavailable", "AuditUnavailable", "VerificationFailed", "NeverHeardOf"}) {
    AnswerWith(Refuse(Code::kInternal, reason, "secret path /var/lib/softhsm"));
    EXPECT_THAT(Ask("POST", "/v1/sign", kBody).body, Not(HasSubstr("softhsm"))) << reason;
  }
}

TEST_F(RoutesTest, SaysWhenToAskAgain) {
  AnswerWith(Refuse(Code::kResourceExhausted, "QuotaExceeded", "used up", std::chrono::milliseconds(41'001)));
  EXPECT_EQ(Header(Ask("POST", "/v1/sign", kBody), "Retry-After"), "42");
  AnswerWith(Refuse(Code::kResourceExhausted, "QuotaExceeded", "used up", std::chrono::microseconds(0)));
  EXPECT_EQ(Header(Ask("POST", "/v1/sign", kBody), "Retry-After"), "1");
}

TEST_F(RoutesTest, WantsJson) {
  ExpectProblem(Ask("POST", "/v1/sign", kBody, {}, "text/plain"), 415, "UnsupportedMediaType");
  ExpectProblem(Ask("POST", "/v1/sign/batch", kBody, {}, ""), 415, "UnsupportedMediaType");
  EXPECT_TRUE(service_.calls.empty());
}

TEST_F(RoutesTest, RefusesBadBodiesByName) {
  const auto response = Ask("POST", "/v1/sign", With(R"(,"colour":"red")"));
  ExpectProblem(response, 400, "Malformed");
  EXPECT_THAT(response.body, HasSubstr("colour: unknown member"));
  EXPECT_TRUE(service_.calls.empty());
}

TEST_F(RoutesTest, CapsBodies) {
  ExpectProblem(Ask("POST", "/v1/sign", std::string(256 * 1024 + 1, ' ')), 413, "TooLarge");
  ExpectProblem(Ask("POST", "/v1/sign/batch", std::string(1024 * 1024 + 1, ' ')), 413, "TooLarge");
  ExpectProblem(Ask("POST", "/v1/sign", R"({"policy":"p","message":")" + std::string(90'000, 'A') + "\"}"), 413,
                "TooLarge");
}

TEST_F(RoutesTest, RefusesOtherPathsAndMethods) {
  for (const char* path : {"/", "/v1", "/v1/sign/", "/v1/signs", "/v1/keys/", "/v1/keys/a/b", "/V1/sign", "*"}) {
    ExpectProblem(Ask("GET", path), 404, "NotFound");
  }
  for (const char* path : {"/v1/sign", "/v1/sign/batch"}) {
    const auto response = Ask("GET", path);
    ExpectProblem(response, 405, "MethodNotAllowed");
    EXPECT_EQ(Header(response, "Allow"), "POST");
  }
  for (const char* path : {"/v1/keys", "/v1/keys/release", "/healthz", "/readyz"}) {
    const auto response = Ask("DELETE", path);
    ExpectProblem(response, 405, "MethodNotAllowed");
    EXPECT_EQ(Header(response, "Allow"), "GET, HEAD");
  }
}

TEST_F(RoutesTest, AsksWhoIsCallingFirst) {
  caller_ = base::MakeError(Code::kUnauthenticated, "token expired at 12:00");
  ExpectProblem(Ask("POST", "/v1/sign", kBody), 401, "Unauthenticated");
  ExpectProblem(Ask("GET", "/v1/keys"), 401, "Unauthenticated");
  EXPECT_EQ(Ask("GET", "/healthz").status, 200);
  EXPECT_TRUE(service_.calls.empty());
}

TEST_F(RoutesTest, ListsKeys) {
  service_.policies = {MakePolicy("zeta"), MakePolicy("alpha", false)};
  const auto keys = Json(Ask("GET", "/v1/keys")).at("keys");
  EXPECT_EQ(keys, nlohmann::json::parse(R"([
    {"policy":"alpha","algorithms":["ECDSAWithSHA256"],"ready":false,"reason":"KeyNotFound","message":"no key fits",
     "suspended":false},
    {"policy":"zeta","algorithms":["ECDSAWithSHA256"],"keyID":")" +
                                        std::string(kP256KeyID) +
                                        R"(","algorithm":"ECDSA","size":256,"ready":true,"suspended":false}])"));
  service_.policies.clear();
  EXPECT_EQ(Ask("GET", "/v1/keys").body, R"({"keys":[]})");
}

TEST_F(RoutesTest, ShowsOnePublicKey) {
  service_.policies = {MakePolicy("release"), MakePolicy("other", false)};
  const auto pem = Ask("GET", "/v1/keys/release");
  EXPECT_EQ(pem.content_type, "application/x-pem-file");
  EXPECT_EQ(pem.body, kP256Pem);
  const auto json = Ask("HEAD", "/v1/keys/release", {}, {{"accept", "application/json"}});
  EXPECT_EQ(json.content_type, "application/json");
  EXPECT_EQ(Json(json).at("publicKey"), kP256Pem);
  ExpectProblem(Ask("GET", "/v1/keys/other"), 503, "KeyNotReady");
  ExpectProblem(Ask("GET", "/v1/keys/unknown"), 403, "NotAllowed");
}

TEST_F(RoutesTest, TellsHealthAndReadiness) {
  EXPECT_EQ(Ask("GET", "/healthz").body, R"({"status":"ok"})");
  EXPECT_EQ(Ask("GET", "/readyz").body, R"({"status":"ready","checks":[{"name":"hsm","ok":true}]})");
  checks_.push_back({"audit", false, "AuditUnavailable", "the disk is full"});
  const auto response = Ask("GET", "/readyz");
  ExpectProblem(response, 503, "NotReady");
  EXPECT_EQ(Json(response).at("checks")[1].at("reason"), "AuditUnavailable");
  EXPECT_EQ(Json(response).at("detail"), "audit: the disk is full");
}

TEST_F(RoutesTest, CountsAndTimesRequests) {
  Ask("GET", "/healthz");
  Ask("GET", "/nowhere/with?an=id");
  const std::string text = obs::RenderMetrics();
  EXPECT_THAT(text, HasSubstr(R"(signet_http_requests_total{route="/healthz",status="200"})"));
  EXPECT_THAT(text, HasSubstr(R"(signet_http_requests_total{route="other",status="404"})"));
  EXPECT_THAT(text, HasSubstr(R"(signet_http_request_duration_seconds_count{route="/healthz"})"));
  EXPECT_THAT(text, Not(HasSubstr("nowhere")));
}

TEST_F(RoutesTest, GivesTheSameAnswerForTheSameIdempotencyKey) {
  AnswerWith(P256Signed("first"));
  const auto first = Ask("POST", "/v1/sign", kBody, {{"idempotency-key", "k1"}});
  AnswerWith(P256Signed("second"));
  const auto again = Ask("POST", "/v1/sign", kBody, {{"idempotency-key", "k1"}});
  EXPECT_EQ(again.body, first.body);
  EXPECT_EQ(Header(again, "Idempotency-Replayed"), "true");
  EXPECT_EQ(service_.calls.size(), 1U);
  ExpectProblem(Ask("POST", "/v1/sign", With(R"(,"encoding":"asn1")"), {{"idempotency-key", "k1"}}), 409,
                "IdempotencyConflict");
  EXPECT_THAT(Ask("POST", "/v1/sign", kBody, {{"idempotency-key", "k2"}}).body, HasSubstr("second"));
  caller_->principal.username = "system:serviceaccount:ci:other";
  EXPECT_THAT(Ask("POST", "/v1/sign", kBody, {{"idempotency-key", "k1"}}).body, HasSubstr("second"));
}

TEST_F(RoutesTest, RefusesBadIdempotencyKeys) {
  ExpectProblem(Ask("POST", "/v1/sign", kBody, {{"idempotency-key", ""}}), 400, "Malformed");
  ExpectProblem(Ask("POST", "/v1/sign", kBody, {{"idempotency-key", "a b"}}), 400, "Malformed");
  const std::string large(256, 'k');
  ExpectProblem(Ask("POST", "/v1/sign", kBody, {{"idempotency-key", large}}), 400, "Malformed");
  ExpectProblem(Ask("POST", "/v1/sign", kBody, {{"idempotency-key", "a"}, {"idempotency-key", "b"}}), 400, "Malformed");
  ExpectProblem(Ask("POST", "/v1/sign/batch", kBatch, {{"idempotency-key", "a b"}}), 400, "Malformed");
  EXPECT_TRUE(service_.calls.empty());
}

TEST_F(RoutesTest, GivesTheSameAnswerForTheSameBatch) {
  AnswerWith(P256Signed("first"));
  const auto first = Ask("POST", "/v1/sign/batch", kBatch, {{"idempotency-key", "k1"}});
  ASSERT_EQ(service_.calls.size(), 3U);
  for (const auto& call : service_.calls) EXPECT_EQ(call.idempotency_key, "k1") << "on record for each item";
  AnswerWith(P256Signed("second"));
  const auto again = Ask("POST", "/v1/sign/batch", kBatch, {{"idempotency-key", "k1"}});
  EXPECT_EQ(again.body, first.body);
  EXPECT_EQ(Header(again, "Idempotency-Replayed"), "true");
  EXPECT_EQ(service_.calls.size(), 3U);
  ExpectProblem(Ask("POST", "/v1/sign/batch", R"({"policy":"release","items":[{"message":"YQ=="}]})",
                    {{"idempotency-key", "k1"}}),
                409, "IdempotencyConflict");
  ExpectProblem(Ask("POST", "/v1/sign", kBody, {{"idempotency-key", "k1"}}), 409, "IdempotencyConflict");
}

TEST_F(RoutesTest, KeepsABatchOfWhichSomethingWasSigned) {
  int count = 0;
  service_.answer = [&](const auto&, const auto&) -> signing::SigningService::Answer {
    if (++count == 5) return P256Signed();
    return Refuse(Code::kUnavailable, "HSMUnavailable", "away", std::chrono::seconds(1));
  };
  Ask("POST", "/v1/sign/batch", kBatch, {{"idempotency-key", "k1"}});
  Ask("POST", "/v1/sign/batch", kBatch, {{"idempotency-key", "k1"}});
  EXPECT_EQ(count, 6) << "nothing was signed, so it was tried again";
  const auto last = Ask("POST", "/v1/sign/batch", kBatch, {{"idempotency-key", "k1"}});
  EXPECT_EQ(count, 6) << "a signature is not made twice";
  EXPECT_EQ(Header(last, "Idempotency-Replayed"), "true");
}

// A replay releases a signature: suspend, a deleted policy or a lost subject stop it as they stop a new one.
TEST_F(RoutesTest, DecidesBeforeItGivesAnAnswerAgain) {
  service_.answer = [&](const auto&, const auto&) { return P256Signed("first"); };
  ASSERT_EQ(Ask("POST", "/v1/sign", kBody, {{"idempotency-key", "k1"}}).status, 200);
  service_.replay = [](const auto&, const auto&) {
    return signing::Refused{base::MakeError(base::Code::kPermissionDenied, "Suspended", "the policy is suspended"), {}};
  };
  ExpectProblem(Ask("POST", "/v1/sign", kBody, {{"idempotency-key", "k1"}}), 403, "Suspended");
  ASSERT_EQ(service_.replayed.size(), 1U);
  EXPECT_EQ(service_.replayed[0].record, "first");
  EXPECT_EQ(service_.replayed[0].key_id, testing::kP256KeyID);
  EXPECT_EQ(service_.replayed[0].algorithm, encoding::SignatureAlgorithm::kEcdsaWithSha256);
  EXPECT_EQ(service_.replayed[0].call.policy, service_.calls.at(0).policy);
  EXPECT_EQ(service_.replayed[0].call.idempotency_key, "k1");
  EXPECT_EQ(service_.calls.size(), 1U) << "nothing is signed for it";
  service_.replay = nullptr;
  EXPECT_EQ(Ask("POST", "/v1/sign", kBody, {{"idempotency-key", "k1"}}).status, 200) << "the answer is still kept";
}

TEST_F(RoutesTest, DecidesForThoseWhoWaitedToo) {
  std::vector<http::Response> answers;
  const auto keep = [&](http::Response response) { answers.push_back(std::move(response)); };
  Start("POST", "/v1/sign", kBody, {{"idempotency-key", "k"}}, "application/json", keep);
  Start("POST", "/v1/sign", kBody, {{"idempotency-key", "k"}}, "application/json", keep);
  service_.replay = [](const auto&, const auto&) {
    return signing::Refused{base::MakeError(base::Code::kPermissionDenied, "Suspended", "the policy is suspended"), {}};
  };
  ASSERT_EQ(service_.waiting.size(), 1U);
  service_.waiting[0](P256Signed());
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_EQ(answers[0].status + answers[1].status, 200 + 403);
}

TEST_F(RoutesTest, DecidesEachSignatureOfABatchAgain) {
  int item = 0;
  service_.answer = [&](const auto&, const auto&) -> signing::SigningService::Answer {
    if (item++ == 0) return Refuse(base::Code::kPermissionDenied, "ArtifactNotAllowed", "no");
    return P256Signed("second");
  };
  ASSERT_EQ(Ask("POST", "/v1/sign/batch", kBatch, {{"idempotency-key", "k1"}}).status, 200);
  const auto again = Ask("POST", "/v1/sign/batch", kBatch, {{"idempotency-key", "k1"}});
  EXPECT_EQ(Header(again, "Idempotency-Replayed"), "true");
  ASSERT_EQ(service_.replayed.size(), 2U) << "only what was signed";
  EXPECT_EQ(service_.replayed[0].record, "second");
  EXPECT_EQ(service_.replayed[0].call.message, service_.calls.at(1).message);
  service_.replay = [](const auto&, const auto&) {
    return signing::Refused{base::MakeError(base::Code::kPermissionDenied, "NotAllowed", "no such policy"), {}};
  };
  ExpectProblem(Ask("POST", "/v1/sign/batch", kBatch, {{"idempotency-key", "k1"}}), 403, "NotAllowed");
}

TEST_F(RoutesTest, TellsTheRecordTheIdempotencyKey) {
  AnswerWith(P256Signed());
  Ask("POST", "/v1/sign", kBody, {{"idempotency-key", "k1"}});
  Ask("POST", "/v1/sign", kBody);
  EXPECT_EQ(service_.calls.at(0).idempotency_key, "k1");
  EXPECT_EQ(service_.calls.at(1).idempotency_key, "");
}

TEST_F(RoutesTest, KeepsTheIdempotencyKeysOfPodsApart) {
  caller_->pod = identity::PodIdentity{"ci", "job-1", "u-1", ""};
  AnswerWith(P256Signed("first"));
  Ask("POST", "/v1/sign", kBody, {{"idempotency-key", "k"}});
  caller_->pod->uid = "u-2";
  AnswerWith(P256Signed("second"));
  EXPECT_THAT(Ask("POST", "/v1/sign", kBody, {{"idempotency-key", "k"}}).body, HasSubstr("second"));
}

// ---- doors that take their time ----

TEST_F(RoutesTest, WaitsForTheCallersName) {
  asynchronous_ = true;
  AnswerWith(P256Signed());
  service_.policies = {MakePolicy("release")};
  std::vector<http::Response> got;
  const auto keep = [&](http::Response response) { got.push_back(std::move(response)); };
  {
    // The request's octets are gone before the answer comes.
    std::string method = "POST", target = "/v1/sign", body = kBody, type = "application/json", key = "k1";
    Start(method, target, body, {{"idempotency-key", key}, {"authorization", "Bearer x"}}, type, keep);
    for (auto* text : {&method, &target, &body, &type, &key}) text->assign(text->size(), '!');
  }
  Start("GET", "/v1/keys/release", "", {{"accept", "application/json"}}, "", keep);
  EXPECT_TRUE(got.empty());
  ASSERT_EQ(callers_.size(), 2U);
  callers_[0](caller_);
  callers_[1](caller_);
  ASSERT_EQ(got.size(), 2U);
  EXPECT_EQ(got[0].status, 200);
  EXPECT_EQ(service_.calls.at(0).policy, "release");
  EXPECT_EQ(service_.calls.at(0).idempotency_key, "k1");
  EXPECT_EQ(Json(got[1]).at("policy"), "release");
}

TEST_F(RoutesTest, RefusesACallerWhoseNameIsNotFound) {
  asynchronous_ = true;
  http::Response got;
  const auto keep = [&](http::Response response) { got = std::move(response); };
  Start("POST", "/v1/sign", kBody, {}, "application/json", keep);
  callers_.back()(base::MakeError(Code::kUnauthenticated, "Unauthenticated", "secret reasons"));
  ExpectProblem(got, 401, "Unauthenticated");
  EXPECT_EQ(Header(got, "WWW-Authenticate"), "Bearer");
  EXPECT_THAT(got.body, Not(HasSubstr("secret reasons")));
  Start("POST", "/v1/sign", kBody, {}, "application/json", keep);
  callers_.back()(base::MakeError(Code::kUnavailable, "IdentityUnavailable", "10.0.0.1 is away"));
  ExpectProblem(got, 503, "IdentityUnavailable");
  EXPECT_THAT(got.body, Not(HasSubstr("10.0.0.1")));
  EXPECT_TRUE(service_.calls.empty());
  EXPECT_EQ(Ask("GET", "/healthz").status, 200) << "nobody asks who";
}

TEST_F(RoutesTest, LimitsHowOftenACallerMayAsk) {
  AnswerWith(P256Signed());
  turns_ = 4;
  EXPECT_EQ(Ask("POST", "/v1/sign/batch", kBatch).status, 200);
  EXPECT_EQ(taken_, 3) << "a batch of three costs three";
  EXPECT_EQ(Ask("POST", "/v1/sign", kBody).status, 200);
  const auto refused = Ask("POST", "/v1/sign", kBody);
  ExpectProblem(refused, 429, "RateLimited");
  EXPECT_EQ(Header(refused, "Retry-After"), "3") << "2.5 s, rounded up";
  EXPECT_EQ(service_.calls.size(), 4U);
  ExpectProblem(Ask("GET", "/v1/keys"), 429, "RateLimited");
  turns_ = taken_ + 2;
  ExpectProblem(Ask("POST", "/v1/sign/batch", kBatch), 429, "RateLimited");
  EXPECT_EQ(service_.calls.size(), 4U);
  EXPECT_EQ(Ask("GET", "/readyz").status, 200);
}

TEST_F(RoutesTest, PreparesTheCallerForThePolicy) {
  service_.answer = [](const signing::Caller& caller, const auto&) -> signing::SigningService::Answer {
    if (!caller.images) return Refuse(Code::kInternal, "", "unprepared");
    return P256Signed();
  };
  std::vector<std::function<void()>> waiting;
  prepare_ = [&](signing::Caller caller, frontend::CallerDone done) {
    waiting.push_back([caller = std::move(caller), done = std::move(done)]() mutable {
      caller.images = std::make_shared<const identity::PodImages>();
      done(std::move(caller));
    });
  };
  std::vector<http::Response> got;
  const auto keep = [&](http::Response response) { got.push_back(std::move(response)); };
  Start("POST", "/v1/sign", kBody, {{"idempotency-key", "k"}}, "application/json", keep);
  Start("POST", "/v1/sign", kBody, {{"idempotency-key", "k"}}, "application/json", keep);
  Start("POST", "/v1/sign/batch", kBatch, {}, "application/json", keep);
  EXPECT_EQ(prepared_, (std::vector<std::string>{"release", "release"})) << "who waits for the same waits";
  EXPECT_TRUE(service_.calls.empty());
  for (std::size_t i = 0; i < waiting.size(); ++i) {
    auto go_on = std::move(waiting[i]);
    go_on();
  }
  EXPECT_EQ(prepared_.size(), 3U) << "an answer is decided for whoever gets it";
  ASSERT_EQ(got.size(), 3U);
  for (const auto& response : got) EXPECT_EQ(response.status, 200);
}

TEST_F(RoutesTest, RefusesACallerWhoCannotBePrepared) {
  prepare_ = [](const signing::Caller&, const frontend::CallerDone& done) {
    done(base::MakeError(Code::kUnavailable, "IdentityUnavailable", "away"));
  };
  ExpectProblem(Ask("POST", "/v1/sign", kBody, {{"idempotency-key", "k"}}), 503, "IdentityUnavailable");
  ExpectProblem(Ask("POST", "/v1/sign/batch", kBatch, {{"idempotency-key", "b"}}), 503, "IdentityUnavailable");
  prepare_ = {};
  AnswerWith(P256Signed());
  EXPECT_EQ(Ask("POST", "/v1/sign", kBody, {{"idempotency-key", "k"}}).status, 200) << "a refusal is not kept";
  EXPECT_EQ(Ask("POST", "/v1/sign/batch", kBatch, {{"idempotency-key", "b"}}).status, 200);
}

TEST_F(RoutesTest, EndsAnIdempotencyKeyWhoseWorkWasDropped) {
  std::vector<frontend::CallerDone> dropped;
  prepare_ = [&](const signing::Caller&, frontend::CallerDone done) { dropped.push_back(std::move(done)); };
  std::vector<http::Response> got;
  const auto keep = [&](http::Response response) { got.push_back(std::move(response)); };
  for (const auto& [path, body] : {std::pair("/v1/sign", kBody), std::pair("/v1/sign/batch", kBatch)}) {
    got.clear();
    Start("POST", path, body, {{"idempotency-key", path}}, "application/json", keep);
    Start("POST", path, body, {{"idempotency-key", path}}, "application/json", keep);
    ASSERT_EQ(dropped.size(), 1U) << path;
    dropped.clear();  // the first one's connection answers for itself
    ASSERT_EQ(got.size(), 1U) << path << ": who waited waits for ever";
    ExpectProblem(got[0], 500, "Internal");
  }
  prepare_ = {};
  AnswerWith(P256Signed());
  EXPECT_EQ(Ask("POST", "/v1/sign", kBody, {{"idempotency-key", "/v1/sign"}}).status, 200);
  EXPECT_EQ(Ask("POST", "/v1/sign/batch", kBatch, {{"idempotency-key", "/v1/sign/batch"}}).status, 200);
}

TEST_F(RoutesTest, EndsAnIdempotencyKeyWhoseWorkThrew) {
  service_.answer = [](const auto&, const auto&) -> signing::SigningService::Answer {
    throw std::runtime_error("no memory");
  };
  EXPECT_THROW(Ask("POST", "/v1/sign", kBody, {{"idempotency-key", "k"}}), std::runtime_error);
  EXPECT_THROW(Ask("POST", "/v1/sign/batch", kBatch, {{"idempotency-key", "b"}}), std::runtime_error);
  AnswerWith(P256Signed());
  EXPECT_EQ(Ask("POST", "/v1/sign", kBody, {{"idempotency-key", "k"}}).status, 200);
  EXPECT_EQ(Ask("POST", "/v1/sign/batch", kBatch, {{"idempotency-key", "b"}}).status, 200);
}

TEST_F(RoutesTest, DescribesThePodWhereTheDoorKnowsOne) {
  EXPECT_EQ(Json(Ask("GET", "/v1/pod", "", {{"signet-container", "signet-sidecar"}})).at("own"), "signet-sidecar");
  EXPECT_EQ(Json(Ask("GET", "/v1/pod")).at("own"), "");
  SigningApi socket({}, {&service_,
                         &clock_,
                         [this](const http::Request&, const CallerDone&) { return std::optional(caller_); },
                         [this] { return checks_; },
                         {},
                         {},
                         {}});
  http::Request request;
  request.method = "GET";
  request.target = "/v1/pod";
  http::Response got;
  socket.Handle(request, [&](http::Response response) { got = std::move(response); });
  ExpectProblem(got, 404, "NotFound");
}

TEST_F(RoutesTest, OneSignatureForConcurrentRequestsWithOneKey) {
  std::vector<http::Response> got;
  for (int i = 0; i < 3; ++i) {
    Start("POST", "/v1/sign", kBody, {{"idempotency-key", "k"}}, "application/json",
          [&](http::Response response) { got.push_back(std::move(response)); });
  }
  ASSERT_EQ(service_.waiting.size(), 1U);
  EXPECT_TRUE(got.empty());
  service_.waiting[0](P256Signed());
  ASSERT_EQ(got.size(), 3U);
  EXPECT_EQ(got[0].body, got[2].body);
}

TEST(MetricsEndpointTest, ServesMetricsAndProbes) {
  int scrapes = 0;
  const auto handler = MetricsEndpoint(
      [] {
        return std::vector<Check>{{"hsm", false, "Starting", "wait"}};
      },
      [&] { ++scrapes; });
  const auto ask = [&](std::string_view method, std::string_view target) {
    http::Request request;
    request.method = method;
    request.target = target;
    http::Response got;
    handler(request, [&](http::Response response) { got = std::move(response); });
    return got;
  };
  EXPECT_EQ(ask("GET", "/metrics").content_type, "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(scrapes, 1);
  EXPECT_EQ(ask("GET", "/healthz").status, 200);
  EXPECT_EQ(ask("GET", "/readyz").status, 503);
  EXPECT_EQ(ask("POST", "/metrics").status, 405);
  EXPECT_EQ(ask("GET", "/v1/sign").status, 404);
}

TEST(MetricsEndpointTest, HealthPortServesNoMetrics) {
  const auto handler = HealthEndpoint([] { return std::vector<Check>{}; });
  for (const auto& [target, status] : {std::pair{"/healthz", 200}, {"/readyz", 200}, {"/metrics", 404}}) {
    http::Request request;
    request.method = "GET";
    request.target = target;
    handler(request, [&, expected = status](http::Response response) { EXPECT_EQ(response.status, expected); });
  }
}

}  // namespace
}  // namespace signet::frontend
