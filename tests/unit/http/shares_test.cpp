// What one address takes of a server is what another can still get of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "loop_fixture.hpp"

namespace signet::http {
namespace {

using ::signet::testing::Client;
using ::testing::AnyOf;
using ::testing::StartsWith;

constexpr std::string_view kGet = "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n";
constexpr std::uint8_t kGreedy = 2, kOther = 3;

class SharesTest : public testing::LoopFixture {
 protected:
  void StartPort(Limits limits) {
    Server::Options options;
    options.tcp = "127.0.0.1:0";
    options.limits = limits;
    Start(std::move(options), [](const Request& request, const Responder& respond) {
      respond({200, "text/plain", std::to_string(request.body.size()), {}});
    });
    OnLoop([&] { port_ = server_->port(); });
  }
  Client From(std::uint8_t host) { return Client::Tcp(port_, host); }
  static std::string Ask(Client& client) {
    client.Send(kGet);
    return client.Response();
  }
  /// Most of a body, and then nothing.
  static void SendPart(Client& client, std::size_t size) {
    client.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n" +
                std::string(size - 1, 'x'));
  }

  std::uint16_t port_ = 0;
};

TEST_F(SharesTest, ClosesTheLongestIdleOfTheAddressThatHoldsMost) {
  Limits limits;
  limits.connections = 4;
  StartPort(limits);
  auto early = From(kOther);
  EXPECT_THAT(Ask(early), StartsWith("HTTP/1.1 200 "));
  std::vector<Client> greedy;
  for (int i = 0; i < 3; ++i) {
    greedy.push_back(From(kGreedy));
    EXPECT_THAT(Ask(greedy.back()), StartsWith("HTTP/1.1 200 "));
  }
  EXPECT_THAT(Ask(greedy.front()), StartsWith("HTTP/1.1 200 ")) << "so the second has waited longest";
  auto late = From(kOther);
  EXPECT_THAT(Ask(late), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Ask(early), StartsWith("HTTP/1.1 200 ")) << "idle for longest of all, but of the address that holds less";
  EXPECT_EQ(greedy[1].Rest(), "");
  EXPECT_TRUE(greedy[1].ended());
  EXPECT_THAT(Ask(greedy[0]), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Ask(greedy[2]), StartsWith("HTTP/1.1 200 "));
}

TEST_F(SharesTest, TurnsAwayTheAddressThatHoldsMost) {
  Limits limits;
  limits.connections = 3;
  StartPort(limits);
  auto other = From(kOther);
  EXPECT_THAT(Ask(other), StartsWith("HTTP/1.1 200 "));
  auto first = From(kGreedy);
  auto second = From(kGreedy);
  EXPECT_THAT(Ask(first), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Ask(second), StartsWith("HTTP/1.1 200 "));
  auto third = From(kGreedy);
  EXPECT_THAT(third.Rest(), AnyOf("", StartsWith("HTTP/1.1 503 ")));
  EXPECT_TRUE(third.ended());
  EXPECT_THAT(Ask(other), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Ask(first), StartsWith("HTTP/1.1 200 "));
}

TEST_F(SharesTest, SilentOrHalfSentRequestsHoldNobodyUp) {
  Limits limits;
  limits.connections = 8;
  StartPort(limits);
  std::vector<Client> greedy;
  for (int i = 0; i < 8; ++i) {
    greedy.push_back(From(kGreedy));
    if (i % 2 == 0) greedy.back().Send("GET / HTTP/1.1\r\nHost");
  }
  for (int i = 0; i < 20; ++i) {
    auto prober = From(kOther);
    EXPECT_THAT(Ask(prober), StartsWith("HTTP/1.1 200 "));
  }
}

TEST_F(SharesTest, RefusesTheBodiesOfTheAddressThatHoldsMost) {
  Limits limits;
  limits.buffered_bytes = 300'000;
  StartPort(limits);
  std::vector<Client> greedy;
  for (int i = 0; i < 2; ++i) {  // 128 KiB of memory each: both fit
    greedy.push_back(From(kGreedy));
    SendPart(greedy.back(), 90'000);
  }
  for (int i = 0; i < 100; ++i) {  // turns of the loop: it has read them by then, and the next is the one too many
    OnLoop([] {});
  }
  auto other = From(kOther);
  SendPart(other, 60'000);
  other.Send("x");
  EXPECT_THAT(other.Response(), StartsWith("HTTP/1.1 200 "));
  int refused = 0;
  for (auto& client : greedy) {
    client.HalfClose();
    if (client.Rest().starts_with("HTTP/1.1 503 ")) ++refused;
  }
  EXPECT_EQ(refused, 1);
}

TEST_F(SharesTest, AnIdleConnectionHoldsNoBody) {
  Limits limits;
  limits.buffered_bytes = 300'000;
  StartPort(limits);
  std::vector<Client> clients;
  for (int i = 0; i < 5; ++i) {  // together more than fits
    clients.push_back(From(kOther));
    SendPart(clients.back(), 120'000);
    clients.back().Send("x");
    EXPECT_THAT(clients.back().Response(), StartsWith("HTTP/1.1 200 "));
  }
}

}  // namespace
}  // namespace signet::http
