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

  /// So often that the server has read what was sent before.
  void TurnLoop() {
    for (int i = 0; i < 100; ++i) OnLoop([] {});
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

constexpr std::size_t kHeld = 131'072;  // memory of a body of 120'000 bytes

TEST_F(SharesTest, RefusesTheBodiesOfTheAddressThatHoldsMost) {
  Limits limits;
  limits.buffered_bytes = 6 * kHeld;
  StartPort(limits);
  std::vector<Client> greedy;
  for (int i = 0; i < 3; ++i) {  // as much as they leave free
    greedy.push_back(From(kGreedy));
    SendPart(greedy.back(), 120'000);
  }
  TurnLoop();
  auto first = From(kOther);
  auto second = From(kOther);
  for (auto* other : {&first, &second}) {  // the second is the one too many
    SendPart(*other, 120'000);
    TurnLoop();
  }
  for (auto* other : {&first, &second}) {
    other->Send("x");
    EXPECT_THAT(other->Response(), StartsWith("HTTP/1.1 200 "));
  }
  int refused = 0;
  for (auto& client : greedy) {
    client.HalfClose();
    if (client.Rest().starts_with("HTTP/1.1 503 ")) ++refused;
  }
  EXPECT_EQ(refused, 1);
}

TEST_F(SharesTest, RefusesABodyForACallerWhoHasProvenWhoItIs) {
  Server::Options options;
  options.tcp = "127.0.0.1:0";
  options.limits.buffered_bytes = 6 * kHeld;
  Start(std::move(options), [](const Request& request, const Responder& respond) {
    if (const auto client = request.client.lock(); client && request.target == "/a") client->Prove();
    respond({200, "text/plain", "xxxx", {}});
  });
  OnLoop([&] { port_ = server_->port(); });
  auto stranger = From(kOther);
  SendPart(stranger, 120'000);
  TurnLoop();
  std::vector<Client> known;
  for (int i = 0; i < 3; ++i) {  // the third is the one too many, and its address holds most
    known.push_back(From(kGreedy));
    EXPECT_THAT(Ask(known.back()), StartsWith("HTTP/1.1 200 "));
    SendPart(known.back(), 120'000);
    TurnLoop();
  }
  for (auto& client : known) {
    client.Send("x");
    EXPECT_THAT(client.Response(), StartsWith("HTTP/1.1 200 "));
  }
  EXPECT_THAT(stranger.Response(), StartsWith("HTTP/1.1 503 "));
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

TEST_F(SharesTest, IdleConnectionsHoldNoneOfTheBudgetForBodies) {
  Limits limits;
  limits.buffered_bytes = 1'000'000;
  StartPort(limits);
  std::vector<Client> idle;
  for (int i = 0; i < 64; ++i) {  // together four times what fits
    idle.push_back(From(kGreedy));
    SendPart(idle.back(), 60'000);
    idle.back().Send("x");
    ASSERT_THAT(idle.back().Response(), StartsWith("HTTP/1.1 200 "));
  }
  for (int i = 0; i < 20; ++i) {
    auto other = From(kOther);
    SendPart(other, 120'000);
    other.Send("x");
    EXPECT_THAT(other.Response(), StartsWith("HTTP/1.1 200 "));
  }
}

/// Requests wait for their answers, as those do whose callers are yet to be identified.
class WaitingBodiesTest : public SharesTest {
 protected:
  ~WaitingBodiesTest() override {
    OnLoop([this] { waiting_.clear(); });
  }
  void StartWaiting() {
    Server::Options options;
    options.tcp = "127.0.0.1:0";
    options.limits.buffered_bytes = 1'000'000;
    Start(std::move(options), [this](const Request& request, const Responder& respond) {
      if (request.target == "/wait") return waiting_.push_back(respond);
      respond({200, "text/plain", std::to_string(request.body.size()), {}});
    });
    OnLoop([&] { port_ = server_->port(); });
  }
  /// Requests from kGreedy until one is refused. @return how many were not
  int Fill(std::vector<Client>& clients) {
    for (int taken = 0;; ++taken) {
      std::size_t before = 0;
      OnLoop([&] { before = waiting_.size(); });
      clients.push_back(From(kGreedy));
      clients.back().Send("POST /wait HTTP/1.1\r\nHost: h\r\nContent-Length: 120000\r\n\r\n" +
                          std::string(120'000, 'x'));
      for (std::size_t now = before; now == before;) {
        OnLoop([&] { now = waiting_.size(); });
        char refused = 0;
        if (::recv(clients.back().fd(), &refused, 1, MSG_PEEK | MSG_DONTWAIT) == 1) return taken;
      }
    }
  }
  /// Fill once more, until `wanted` are taken: the loop gives bytes back at the end of a turn, and of connections that
  /// were closed when it sees that.
  int FillAgain(std::vector<Client>& clients, int wanted) {
    int taken = 0;
    for (int tries = 0; tries < 1000 && taken < wanted; ++tries) {
      clients.clear();
      OnLoop([&] { waiting_.clear(); });
      taken = Fill(clients);
    }
    return taken;
  }
  std::string PostFromOther() {
    auto other = From(kOther);
    SendPart(other, 120'000);
    other.Send("x");
    return other.Response();
  }
  std::vector<Responder> waiting_;  // loop's
};

TEST_F(WaitingBodiesTest, CountLikeThoseBeingReceivedAndLeaveRoomForOthers) {
  StartWaiting();
  std::vector<Client> clients;
  const int taken = Fill(clients);
  EXPECT_GT(taken, 0);
  EXPECT_LE(taken, 4) << "half of the budget: what it holds is never more than what it leaves";
  EXPECT_THAT(clients.back().Response(), StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(PostFromOther(), StartsWith("HTTP/1.1 200 "));
  OnLoop([&] { waiting_.clear(); });  // answered with 500
  EXPECT_THAT(clients.front().Response(), StartsWith("HTTP/1.1 500 "));
  EXPECT_EQ(FillAgain(clients, taken), taken) << "all of it was given back";
}

TEST_F(WaitingBodiesTest, CountEvenWhenTheirClientsAreGone) {
  StartWaiting();
  std::vector<Client> clients;
  const int taken = Fill(clients);
  // Displaced or gone: the handler keeps its copies until it answers.
  OnLoop([&] { EXPECT_EQ(waiting_.size(), static_cast<std::size_t>(taken)); });
  for (auto& client : clients) {
    const linger at_once{1, 0};
    ::setsockopt(client.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    client.Close();
  }
  clients.clear();
  EXPECT_LE(Fill(clients), 1);
  OnLoop([&] { waiting_.clear(); });
  EXPECT_EQ(FillAgain(clients, taken), taken);
}

TEST_F(WaitingBodiesTest, AreRefusedWhenTheirLastPartIsTooMuch) {
  StartWaiting();
  std::vector<Client> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(From(kGreedy));
    for (const char* begin : {"POST /wait HTTP/1.1\r\nHost: h\r\nContent-Length: 120000\r\n\r\n", ""}) {
      clients.back().Send(begin + std::string(60'000, 'x'));  // the second half makes it grow, and completes it
      TurnLoop();
    }
  }
  EXPECT_THAT(clients.back().Response(), StartsWith("HTTP/1.1 503 "));
  OnLoop([&] { EXPECT_EQ(waiting_.size(), 3U); });
}

TEST_F(SharesTest, AnswersThatNobodyReadsCountToo) {
  Server::Options options;
  options.tcp = "127.0.0.1:0";
  options.limits.buffered_bytes = 40'000'000;
  std::size_t asked = 0;  // loop's
  Start(std::move(options), [&asked](const Request& request, const Responder& respond) {
    ++asked;
    respond({200, "text/plain", std::string(request.target == "/large" ? 16'000'000 : 4, 'x'), {}});
  });
  OnLoop([&] { port_ = server_->port(); });
  std::vector<Client> deaf;
  for (int i = 0; i < 8; ++i) {
    deaf.push_back(From(kGreedy));
    deaf.back().Send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  std::size_t left = 8;
  for (bool all_asked = false; !(all_asked && left <= 2) && std::chrono::steady_clock::now() < end;) {
    OnLoop([&] {
      all_asked = asked == deaf.size();  // or few may be left because few have come
      left = server_->connections();
    });
  }
  EXPECT_LE(left, 2U) << "two of them are 32 MB";
  auto other = From(kOther);
  EXPECT_THAT(Ask(other), StartsWith("HTTP/1.1 200 "));
}

}  // namespace
}  // namespace signet::http
