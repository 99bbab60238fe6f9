#include <gmock/gmock.h>

#include <chrono>

#include "http/client.hpp"
#include "loop_fixture.hpp"
#include "support/matchers.hpp"

namespace signet::http {
namespace {

using base::Code;
using signet::testing::IsErr;
using signet::testing::IsOk;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

class TcpClientTest : public testing::LoopFixture {};

TEST_F(TcpClientTest, AsksThisMachineWhateverItIsCalled) {
  Server::Options options;
  options.tcp = "127.0.0.1:0";
  Start(std::move(options), [](const Request& request, const Responder& respond) {
    Response response;
    response.status = 503;
    response.body = std::string(request.target);
    respond(std::move(response));
  });
  const auto port = std::to_string(server_->port());
  for (const char* host : {"127.0.0.1", "localhost", "0.0.0.0", ""}) {
    const auto answer = TcpClient(std::string(host) + ":" + port).Send({"GET", "/readyz", {}, ""}, 10s);
    ASSERT_THAT(answer, IsOk()) << host;
    EXPECT_EQ(answer->status, 503);
    EXPECT_EQ(answer->body, "/readyz");
  }
}

TEST_F(TcpClientTest, SaysWhyThereIsNoAnswer) {
  EXPECT_THAT(TcpClient("nowhere").Send({}, 1s), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(TcpClient("example.com:80").Send({}, 1s), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(TcpClient("127.0.0.1:x").Send({}, 1s), IsErr(Code::kInvalidArgument));
  const auto closed = TcpClient("127.0.0.1:1").Send({}, 1s);
  EXPECT_THAT(closed, IsErr(Code::kUnavailable));
  EXPECT_THAT(closed.error().message, HasSubstr("nobody listens on 127.0.0.1:1"));
}

}  // namespace
}  // namespace signet::http
