#include "frontend/forwarder.hpp"

#include <nlohmann/json.hpp>
#include <set>

#include "gateway_fixture.hpp"
#include "support/matchers.hpp"

namespace signet::frontend {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

class ForwarderTest : public testing::GatewayFixture {
 protected:
  struct Link final : http::ClientLink {
    [[nodiscard]] bool gone() const override { return false; }
  };

  void Ask(std::string_view method, std::string_view target, std::string_view body = {},
           std::vector<std::pair<std::string_view, std::string_view>> headers = {},
           std::string_view media = "application/json") {
    http::Request request;
    request.method = method;
    request.target = target;
    request.content_type = media;
    request.body = body;
    request.headers = std::move(headers);
    request.client = link_;
    forwarder_.handler()(request, [this](http::Response response) { answers_.push_back(std::move(response)); });
  }
  /// The only answer so far, and its problem code.
  std::string Code() {
    EXPECT_EQ(answers_.size(), 1U);
    if (answers_.empty()) return {};
    const auto answer = std::move(answers_.back());
    answers_.clear();
    EXPECT_EQ(answer.content_type, "application/problem+json");
    const auto problem = nlohmann::json::parse(answer.body);
    EXPECT_EQ(problem["status"], answer.status);
    detail_ = problem["detail"];
    return problem["code"];
  }
  const http::UpstreamRequest& sent() { return *upstream_.open.back().attempt.request; }

  std::shared_ptr<Link> link_ = std::make_shared<Link>();
  Forwarder forwarder_{{256 * 1024, 1024 * 1024, 3 * 1024 * 1024, 4},
                       {&client_, &clock_, [] {
                          return std::vector<Check>{{"gateway", true, {}, {}}};
                        }}};
  std::vector<http::Response> answers_;
  std::string detail_;
};

TEST_F(ForwarderTest, PassesARequestAndItsAnswerOn) {
  Ask("POST", "/v1/sign", R"({"policy":"release"})");
  EXPECT_EQ(sent().method, "POST");
  EXPECT_EQ(sent().target, "/v1/sign");
  EXPECT_EQ(sent().body, R"({"policy":"release"})");
  EXPECT_THAT(sent().fields, HasSubstr("Content-Type: application/json\r\n"));
  http::Response response{200, "application/json", "{}", {{"Idempotency-Replayed", "true"}}};
  upstream_.Answer(response);
  ASSERT_EQ(answers_.size(), 1U);
  EXPECT_EQ(answers_[0].body, "{}");
  EXPECT_EQ(answers_[0].headers, response.headers);
  EXPECT_EQ(forwarder_.in_flight(), 0U);
  EXPECT_EQ(forwarder_.held_bytes(), 0U);
}

TEST_F(ForwarderTest, GivesEachRequestOneKeyOverAllItsAttempts) {
  upstream_.replicas = 3;
  Ask("POST", "/v1/sign", "{}");
  upstream_.Lose(1);
  upstream_.Refuse(2);
  upstream_.Answer(200, 3);
  Ask("POST", "/v1/sign/batch", "{}");
  ASSERT_EQ(upstream_.keys.size(), 4U);
  EXPECT_THAT(upstream_.keys[0], ::testing::MatchesRegex(".*\r\nIdempotency-Key: [0-9a-f]{32}\r\n"));
  EXPECT_EQ(upstream_.keys[1], upstream_.keys[0]);
  EXPECT_EQ(upstream_.keys[2], upstream_.keys[0]);
  EXPECT_NE(upstream_.keys[3], upstream_.keys[0]);
}

TEST_F(ForwarderTest, GivesNoKeyTwice) {
  constexpr std::size_t kRequests = 200;  // more than are drawn at once
  for (std::size_t i = 0; i < kRequests; ++i) {
    Ask("POST", "/v1/sign", "{}");
    upstream_.Answer(200, static_cast<http::Upstream::EndpointId>(1));
  }
  ASSERT_EQ(upstream_.keys.size(), kRequests);
  EXPECT_EQ(std::set<std::string>(upstream_.keys.begin(), upstream_.keys.end()).size(), kRequests);
  for (const auto& fields : upstream_.keys) {
    EXPECT_THAT(fields, ::testing::MatchesRegex(".*\r\nIdempotency-Key: [0-9a-f]{32}\r\n"));
  }
}

TEST_F(ForwarderTest, PassesTheCallersKeyOnAndKeepsToItsReplica) {
  Ask("POST", "/v1/sign", "{}", {{"idempotency-key", "mine"}});
  EXPECT_THAT(sent().fields, HasSubstr("Idempotency-Key: mine\r\n"));
  const auto affinity = upstream_.open.back().attempt.affinity;
  EXPECT_NE(affinity, 0U);
  Ask("POST", "/v1/sign", "{}", {{"idempotency-key", "mine"}});
  EXPECT_EQ(upstream_.open.back().attempt.affinity, affinity);
  Ask("POST", "/v1/sign", "{}");
  EXPECT_EQ(upstream_.open.back().attempt.affinity, 0U) << "a key of ours is good for this request alone";
}

TEST_F(ForwarderTest, RefusesWhatNeedsNoGateway) {
  Ask("GET", "/nowhere");
  EXPECT_EQ(Code(), "NotFound");
  Ask("GET", "/v1/pod");
  EXPECT_EQ(Code(), "NotFound");
  Ask("GET", "/v1/sign");
  EXPECT_EQ(Code(), "MethodNotAllowed");
  Ask("POST", "/v1/keys", "{}");
  EXPECT_EQ(Code(), "MethodNotAllowed");
  Ask("POST", "/v1/sign", "{}", {}, "text/plain");
  EXPECT_EQ(Code(), "UnsupportedMediaType");
  Ask("POST", "/v1/sign", std::string(256 * 1024 + 1, ' '));
  EXPECT_EQ(Code(), "TooLarge");
  Ask("POST", "/v1/sign/batch", std::string(1024 * 1024 + 1, ' '));
  EXPECT_EQ(Code(), "TooLarge");
  for (const std::string_view key : {"a b", "", "a\tb"}) {
    Ask("POST", "/v1/sign", "{}", {{"idempotency-key", key}});
    EXPECT_EQ(Code(), "Malformed");
  }
  Ask("POST", "/v1/sign", "{}", {{"idempotency-key", "a"}, {"idempotency-key", "b"}});
  EXPECT_EQ(Code(), "Malformed");
  EXPECT_EQ(upstream_.sent, 0);
}

TEST_F(ForwarderTest, AnswersForItself) {
  Ask("GET", "/healthz");
  Ask("HEAD", "/readyz");
  ASSERT_EQ(answers_.size(), 2U);
  EXPECT_EQ(answers_[0].status, 200);
  EXPECT_EQ(answers_[1].status, 200);
  EXPECT_EQ(upstream_.sent, 0);
}

TEST_F(ForwarderTest, AsksForKeysAsTheCallerDid) {
  Ask("HEAD", "/v1/keys/release", {}, {{"accept", "application/json"}}, "");
  EXPECT_EQ(sent().method, "GET");
  EXPECT_EQ(sent().target, "/v1/keys/release");
  EXPECT_EQ(sent().fields, "Accept: application/json\r\n");
  upstream_.Answer({200, "application/x-pem-file", "PEM", {}});
  EXPECT_EQ(answers_[0].content_type, "application/x-pem-file");
}

TEST_F(ForwarderTest, SaysWhenASignatureMayExist) {
  Ask("POST", "/v1/sign", "{}", {{"idempotency-key", "mine"}});
  while (answers_.empty()) {
    Advance(seconds(2));
    upstream_.TimeOut();
  }
  EXPECT_EQ(answers_[0].headers, (decltype(answers_[0].headers){{"Retry-After", "1"}}));
  EXPECT_EQ(Code(), "GatewayUnavailable");
  EXPECT_THAT(detail_, HasSubstr("idempotency key mine"));
  Ask("GET", "/v1/keys", {}, {}, "");
  while (answers_.empty()) {
    Advance(seconds(2));
    if (answers_.empty()) upstream_.TimeOut();
  }
  Code();
  EXPECT_THAT(detail_, ::testing::Not(HasSubstr("idempotency")));
}

TEST_F(ForwarderTest, TellsAboutARefusedToken) {
  Ask("POST", "/v1/sign", "{}");
  upstream_.Answer(401);
  upstream_.Answer(401);
  EXPECT_EQ(Code(), "Unauthenticated");
  EXPECT_THAT(detail_, HasSubstr("audience"));
}

TEST_F(ForwarderTest, GivesNoAnswersOfStrangersOut) {
  for (const auto& [status, media] :
       {std::pair{200, "text/html"}, {404, "text/plain"}, {302, "application/json"}, {400, ""}}) {
    Ask("POST", "/v1/sign", "{}");
    upstream_.Answer({status, media, "<html>", {}});
    EXPECT_EQ(Code(), "GatewayUnavailable") << status;
    EXPECT_THAT(detail_, HasSubstr(std::to_string(status)));
  }
}

TEST_F(ForwarderTest, AlwaysSaysWhenToAskAgain) {
  for (const char* retry_after : {"", "soon"}) {
    Ask("POST", "/v1/sign", "{}");
    upstream_.Answer(429, 1, retry_after);
    EXPECT_EQ(answers_.back().headers, (decltype(answers_[0].headers){{"Retry-After", "1"}}));
  }
}

TEST_F(ForwarderTest, BoundsWhatItHolds) {
  const std::string body(1024 * 1024, ' ');
  Ask("POST", "/v1/sign/batch", body);
  Ask("POST", "/v1/sign/batch", body);
  EXPECT_TRUE(answers_.empty());
  Ask("POST", "/v1/sign/batch", body);
  EXPECT_EQ(Code(), "Busy") << "what a request needs besides its body counts, too";
  Ask("POST", "/v1/sign", "{}");
  Ask("POST", "/v1/sign", "{}");
  EXPECT_TRUE(answers_.empty());
  Ask("POST", "/v1/sign", "{}");
  EXPECT_EQ(Code(), "Busy") << "four at once are enough";
  while (!upstream_.open.empty()) upstream_.Answer(200);
  EXPECT_EQ(forwarder_.held_bytes(), 0U);
  EXPECT_EQ(forwarder_.in_flight(), 0U);
}

}  // namespace
}  // namespace signet::frontend
