#include "frontend/scrape_token.hpp"

#include <filesystem>

#include "fakes/fake_clock.hpp"
#include "frontend/metrics_endpoint.hpp"
#include "support/temp_folder.hpp"

namespace signet::frontend {
namespace {

constexpr const char* kToken = "0123456789abcdef";

class ScrapeTokenTest : public ::testing::Test {
 protected:
  /// Status of GET `target` with this Authorization field; empty: without one.
  int Ask(std::string_view authorization, std::string_view target = "/metrics") {
    http::Request request;
    request.method = "GET";
    request.target = target;
    if (!authorization.empty()) request.headers.emplace_back("authorization", authorization);
    handler_(request, [this](http::Response response) { got_ = std::move(response); });
    return got_.status;
  }
  void Later() { clock_.Advance(std::chrono::seconds(1)); }

  testing::TempFolder folder_;
  testing::FakeClock clock_;
  http::Handler handler_ = MetricsEndpoint([] { return std::vector<Check>{}; }, {},
                                           std::make_shared<ScrapeToken>((folder_.path() / "token").string(), clock_));
  http::Response got_;
};

TEST_F(ScrapeTokenTest, MetricsWantTheTokenAndProbesDoNot) {
  folder_.Write("token", std::string(kToken) + "\r\n");
  EXPECT_EQ(Ask(std::string("Bearer ") + kToken), 200);
  EXPECT_EQ(Ask(std::string("bearer ") + kToken), 200);
  for (const char* wrong :
       {"", "Bearer", "Bearer ", "Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "Bearer 0123456789abcdeF",
        "Basic 0123456789abcdef", "0123456789abcdef", "Bearer 0123456789abcdef\r\n"}) {
    EXPECT_EQ(Ask(wrong), 401) << wrong;
    EXPECT_EQ(got_.body.find("signet_"), std::string::npos);
    ASSERT_EQ(got_.headers.size(), 1U);
    EXPECT_EQ(got_.headers[0].first, "WWW-Authenticate");
  }
  EXPECT_EQ(Ask("", "/healthz"), 200);
  EXPECT_EQ(Ask("", "/readyz"), 200);
}

TEST_F(ScrapeTokenTest, WithoutATokenInItsFileRefusesEveryScrape) {
  EXPECT_EQ(Ask("Bearer "), 401);
  for (const char* none : {"", "\n", "short", "0123456789 abcdef"}) {
    folder_.Put("token", none);
    Later();
    EXPECT_EQ(Ask(std::string("Bearer ") + none), 401) << none;
  }
}

TEST_F(ScrapeTokenTest, TakesANewTokenAndKeepsTheLastWhenTheFileGoes) {
  folder_.Put("token", kToken);
  EXPECT_EQ(Ask(std::string("Bearer ") + kToken), 200);
  folder_.Put("token", "fedcba9876543210");
  Later();
  EXPECT_EQ(Ask(std::string("Bearer ") + kToken), 401);
  EXPECT_EQ(Ask("Bearer fedcba9876543210"), 200);
  std::filesystem::remove(folder_.path() / "token");
  Later();
  EXPECT_EQ(Ask("Bearer fedcba9876543210"), 200);
}

}  // namespace
}  // namespace signet::frontend
