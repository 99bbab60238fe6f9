#include "http/client.hpp"

#include <gmock/gmock.h>

#include <chrono>

#include "loop_fixture.hpp"
#include "support/matchers.hpp"

namespace signet::http {
namespace {

using base::Code;
using signet::testing::IsErr;
using signet::testing::IsOk;
using namespace std::chrono_literals;

class ClientTest : public testing::LoopFixture {};

TEST_F(ClientTest, ExchangesOneRequest) {
  Start(UnixOptions(), [](const Request& request, const Responder& respond) {
    Response response;
    response.status = 503;
    response.content_type = "application/problem+json";
    response.headers.emplace_back("Retry-After", "7");
    response.body = std::string(request.method) + " " + std::string(request.target) + " " + std::string(request.body);
    respond(std::move(response));
  });
  const UnixClient client(path());
  for (int i = 0; i < 2; ++i) {
    const auto answer = client.Send({"POST", "/v1/sign", {{"Content-Type", "application/json"}}, "{}"}, 10s);
    ASSERT_THAT(answer, IsOk());
    EXPECT_EQ(answer->status, 503);
    EXPECT_EQ(answer->content_type, "application/problem+json");
    EXPECT_EQ(answer->retry_after, 7s);
    EXPECT_EQ(answer->body, "POST /v1/sign {}");
  }
}

TEST_F(ClientTest, GivesUpAtItsDeadline) {
  Responder kept;
  Start(UnixOptions(), [&kept](const Request&, const Responder& respond) { kept = respond; });
  EXPECT_THAT(UnixClient(path()).Send({}, 50ms), IsErr(Code::kDeadlineExceeded));
  OnLoop([&kept] { kept = {}; });
}

TEST_F(ClientTest, SaysWhyThereIsNoConnection) {
  EXPECT_THAT(UnixClient(path()).Send({}, 1s), IsErr(Code::kNotFound));
  folder_.Write("s", "a file");
  EXPECT_THAT(UnixClient(path()).Send({}, 1s), IsErr(Code::kUnavailable));
  EXPECT_THAT(UnixClient(std::string(200, 'x')).Send({}, 1s), IsErr(Code::kInvalidArgument));
  Run();
}

}  // namespace
}  // namespace signet::http
