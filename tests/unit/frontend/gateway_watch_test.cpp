#include "frontend/gateway_watch.hpp"

#include <nlohmann/json.hpp>

#include "crypto/certificate.hpp"
#include "gateway_fixture.hpp"
#include "support/matchers.hpp"

namespace signet::frontend {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::string NewCa() {
  crypto::CertificateOptions options;
  options.dns_names = {"gateway.example"};
  options.not_before = base::SystemClock().Now();
  options.not_after = base::SystemClock().Now() + std::chrono::hours(1);
  return crypto::MakeServerCertificate(options).value().certificate_pem;
}

class GatewayWatchTest : public testing::GatewayFixture {
 protected:
  /// Lets time pass until something is asked.
  std::string Asked() {
    for (int i = 0; i < 1000 && upstream_.open.empty(); ++i) Advance(milliseconds(10));
    return upstream_.open.empty() ? "" : upstream_.open.front().attempt.request->target;
  }
  void Pod(const std::string& body) { upstream_.Answer({200, "application/json", body, {}}); }
};

TEST_F(GatewayWatchTest, StickyIsReadyFromTheFirstContactOn) {
  const GatewayContact contact(client_, reactor_, false);
  EXPECT_FALSE(contact.State().ok);
  EXPECT_EQ(contact.State().reason, "GatewayUnavailable");
  EXPECT_EQ(Asked(), "/v1/keys");
  upstream_.Refuse();
  reactor_.RunReady();
  EXPECT_EQ(contact.State().reason, "ConnectionFailed");
  EXPECT_EQ(Asked(), "/v1/keys");
  upstream_.Answer(401);
  reactor_.RunReady();
  EXPECT_EQ(contact.State().reason, "Unauthenticated");
  EXPECT_EQ(Asked(), "/v1/keys");
  upstream_.Answer(200);
  EXPECT_TRUE(contact.State().ok);
  Advance(seconds(60));
  EXPECT_TRUE(upstream_.open.empty()) << "no more questions";
  GatewayClient::Call call;
  call.once = true;
  Send(std::move(call));
  upstream_.Refuse();
  EXPECT_TRUE(contact.State().ok);
  EXPECT_EQ(contact.State().reason, "ConnectionFailed") << "not ready's reason, but worth a word";
}

TEST_F(GatewayWatchTest, StrictFollowsTheGateway) {
  const GatewayContact contact(client_, reactor_, true);
  EXPECT_EQ(Asked(), "/v1/keys");
  upstream_.Answer(200);
  EXPECT_FALSE(contact.State().ok);
  EXPECT_EQ(Asked(), "/readyz");
  upstream_.Answer(200);
  EXPECT_TRUE(contact.State().ok);
  EXPECT_EQ(Asked(), "/readyz");
  EXPECT_EQ(upstream_.open.front().attempt.credentials, nullptr) << "a public path needs no token";
  upstream_.Answer(503);
  reactor_.RunReady();
  EXPECT_FALSE(contact.State().ok);
  EXPECT_EQ(Asked(), "/readyz");
  upstream_.Answer(200);
  EXPECT_TRUE(contact.State().ok);
  Send();  // a token that is refused later on
  upstream_.Answer(401);
  upstream_.Answer(401);
  EXPECT_FALSE(contact.State().ok);
  EXPECT_EQ(Asked(), "/v1/keys") << "who we are has to be shown again";
  upstream_.Answer(200);
  EXPECT_EQ(Asked(), "/readyz");
  upstream_.Answer(200);
  EXPECT_TRUE(contact.State().ok);
}

TEST_F(GatewayWatchTest, EndsWithThePodOnly) {
  int ended = 0;
  const PodWatch watch(client_, reactor_, "signet-sidecar", [&] { ++ended; });
  EXPECT_EQ(Asked(), "/v1/pod");
  EXPECT_EQ(upstream_.open.front().attempt.request->fields, "Signet-Container: signet-sidecar\r\n");
  Pod(R"({"othersEnded":false})");
  for (const char* body : {"", "[]", "{}", "nonsense", R"({"othersEnded":"true"})", R"({"othersEnded":1})"}) {
    EXPECT_EQ(Asked(), "/v1/pod");
    Pod(body);
  }
  for (const int status : {401, 403, 404, 429, 503}) {
    EXPECT_EQ(Asked(), "/v1/pod");
    upstream_.Answer(status);
    reactor_.RunReady();
  }
  EXPECT_EQ(Asked(), "/v1/pod");
  upstream_.Lose();
  reactor_.RunReady();
  EXPECT_EQ(ended, 0);
  EXPECT_EQ(Asked(), "/v1/pod");
  Pod(R"({"name":"p","othersEnded":true})");
  EXPECT_EQ(ended, 1);
  Advance(seconds(60));
  EXPECT_TRUE(upstream_.open.empty());
}

TEST_F(GatewayWatchTest, TakesTheAuthoritiesThatTheGatewayAnnounces) {
  ASSERT_THAT(credentials_.Pin(NewCa(), folder_.path() / "s.ca"), testing::IsOk());
  const auto given = *credentials_.Trust();
  const AuthorityWatch watch(client_, reactor_, credentials_);
  for (const int status : {404, 503, 401}) {
    EXPECT_EQ(Asked(), "/v1/authorities");
    EXPECT_EQ(upstream_.open.front().attempt.credentials, nullptr) << "no token";
    upstream_.Answer(status);
    reactor_.RunReady();
    Advance(seconds(75));  // the longest pause
  }
  for (const char* body :
       {"", "[]", "{}", R"({"certificates":7})", R"({"certificates":""})", R"({"certificates":"x"})"}) {
    EXPECT_EQ(Asked(), "/v1/authorities");
    Pod(body);
    Advance(seconds(75));  // the longest pause
    EXPECT_EQ(*credentials_.Trust(), given) << body;
  }
  EXPECT_EQ(Asked(), "/v1/authorities");
  Pod(nlohmann::json({{"certificates", NewCa()}}).dump());
  EXPECT_NE(*credentials_.Trust(), given);
}

}  // namespace
}  // namespace signet::frontend
