// A flood from one address costs other addresses nothing: 0 refused of 1000, in whatever phase its connections are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <atomic>
#include <deque>

#include "crypto/certificate.hpp"
#include "http/connection.hpp"
#include "loop_fixture.hpp"
#include "support/tls_client.hpp"

namespace signet::http {
namespace {

using ::signet::testing::Client;
using ::testing::AnyOf;
using ::testing::StartsWith;

constexpr std::string_view kGet = "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n";
constexpr std::uint8_t kGreedy = 2, kOther = 3;

/// One client of a flood: what it sends before it falls silent, or nothing more.
struct Kind {
  std::string name;
  std::string sends;
  bool half_close = false;
  bool reset = false;
};

std::string Repeat(std::string_view text, int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += text;
  return all;
}

std::vector<Kind> Kinds() {
  return {
      {"Silent", ""},
      {"HalfAHeader", "GET / HTTP/1.1\r\nHos"},
      {"HalfABody", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc"},
      {"Garbage", std::string(3000, '\x80')},  // refused, then it lingers
      {"HugeHeader", "GET / HTTP/1.1\r\nHost: h\r\nA: " + std::string(60'000, 'a')},
      {"HalfClosed", "GET / HTTP/1.1\r\nHos", true},
      {"Reset", "GET / HTTP/1.1\r\nHost: h\r\n", false, true},
      {"PipelinedAndNeverRead", Repeat("GET /large HTTP/1.1\r\nHost: h\r\n\r\n", 100)},
      {"WaitsForWork", "GET /work HTTP/1.1\r\nHost: h\r\n\r\n"},
      {"ServedAndKept", std::string(kGet)},
  };
}

class FloodFixture : public testing::LoopFixture {
 protected:
  ~FloodFixture() override {
    OnLoop([this] {
      server_.reset();
      waiting_.clear();
    });
  }
  static constexpr std::ptrdiff_t kSlots = 24;
  static Limits Few() {
    Limits limits;
    limits.connections = kSlots;
    return limits;
  }
  void Serve(Server::Options options) {
    Start(std::move(options), [this](const Request& request, const Responder& respond) {
      if (request.target == "/work") return waiting_.push_back(respond);
      respond({200, "text/plain", std::string(request.target == "/large" ? 1'000'000 : 4, 'x'), {}});
    });
    OnLoop([&] { port_ = server_->port(); });
  }
  void ServePort() {
    Server::Options options;
    options.tcp = "127.0.0.1:0";
    options.limits = Few();
    Serve(std::move(options));
  }
  void ServeTls() {
    crypto::CertificateOptions wanted;
    wanted.common_name = "signet";
    wanted.dns_names = {"localhost"};
    wanted.not_before = base::SystemClock().Now() - std::chrono::hours(1);
    wanted.not_after = base::SystemClock().Now() + std::chrono::hours(1);
    certificate_ = crypto::MakeServerCertificate(wanted).value();
    Server::Options options;
    options.tcp = "127.0.0.1:0";
    options.limits = Few();
    options.tls = [context = crypto::TlsContext::Create(certificate_.certificate_pem, certificate_.key_pem).value()] {
      return context;
    };
    Serve(std::move(options));
  }

  /// Keeps twice as many connections open as the server has slots, each as `kinds` say, until `work` is done, and makes
  /// new ones all the time. Closing one gives its slot back, so that only those beyond are closed.
  template <class Work>
  void During(const std::vector<Kind>& kinds, Work work) {
    std::atomic<bool> go_on = true;
    std::atomic<bool> hold = true;
    std::atomic<std::size_t> made = 0;
    std::thread flood([&] {
      std::deque<Client> open;
      while (go_on) {
        if (hold && made >= 2 * Few().connections) {
          std::this_thread::yield();
          continue;
        }
        const Kind& kind = kinds[made % kinds.size()];
        auto client = Client::Tcp(port_, kGreedy);
        (void)::send(client.fd(), kind.sends.data(), kind.sends.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (kind.half_close) client.HalfClose();
        if (kind.reset) {
          const linger at_once{1, 0};
          ::setsockopt(client.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
          client.Close();
        }
        open.push_back(std::move(client));
        if (open.size() > 3 * Few().connections) open.erase(open.begin() + 2 * kSlots);
        ++made;
      }
    });
    while (made < 2 * Few().connections) std::this_thread::yield();
    for (int turn = 0; turn < 100; ++turn) OnLoop([] {});  // what they have sent is read: each is in its phase
    hold = false;
    work();
    go_on = false;
    flood.join();
  }
  [[nodiscard]] int RefusedOf(int count) const {
    int refused = 0;
    for (int i = 0; i < count; ++i) {
      auto client = Client::Tcp(port_, kOther);
      client.Send(kGet);
      if (!client.Response().starts_with("HTTP/1.1 200 ")) ++refused;
    }
    return refused;
  }
  [[nodiscard]] int RefusedOverTlsOf(int count) const {
    int refused = 0;
    for (int i = 0; i < count; ++i) {
      auto client = Client::Tcp(port_, kOther);
      testing::TlsClient tls(certificate_.certificate_pem);
      tls.Receive({});
      bool asked = false;
      while (!tls.plain().ends_with("xxxx") && tls.error().empty() && client.Send(tls.Pending())) {
        if (tls.open() && !std::exchange(asked, true)) client.Send(tls.Encrypt(kGet));
        char part[16384];
        const ssize_t size = ::recv(client.fd(), part, sizeof(part), 0);
        if (size <= 0) break;
        tls.Receive({part, static_cast<std::size_t>(size)});
      }
      if (!tls.plain().starts_with("HTTP/1.1 200 ")) ++refused;
    }
    return refused;
  }

  crypto::CertificateAndKey certificate_;
  std::deque<Responder> waiting_;  // loop's
  std::uint16_t port_ = 0;
};

class FloodTest : public FloodFixture {};

TEST_F(FloodTest, OfEveryKindCostsOthersNothingOnAPlainPort) {
  ServePort();
  During(Kinds(), [&] { EXPECT_EQ(RefusedOf(1000), 0); });
}

TEST_F(FloodTest, OfEveryKindCostsOthersNothingOnATlsPort) {
  ServeTls();
  During(Kinds(), [&] { EXPECT_EQ(RefusedOverTlsOf(1000), 0); });
}

class FloodKindTest : public FloodFixture, public ::testing::WithParamInterface<Kind> {};

TEST_P(FloodKindTest, CostsOthersNothing) {
  ServePort();
  During({GetParam()}, [&] { EXPECT_EQ(RefusedOf(100), 0); });
}

TEST_P(FloodKindTest, CostsOthersNothingOverTls) {
  ServeTls();
  During({GetParam()}, [&] { EXPECT_EQ(RefusedOverTlsOf(100), 0); });
}

INSTANTIATE_TEST_SUITE_P(Each, FloodKindTest, ::testing::ValuesIn(Kinds()),
                         [](const auto& kind) { return kind.param.name; });

TEST_F(FloodTest, OfOneProcessCostsOthersNothingOnAUnixSocket) {
  auto options = UnixOptions();
  options.limits = Few();
  Serve(std::move(options));
  int ready[2] = {-1, -1};
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t greedy = ::fork();
  if (greedy == 0) {
    std::deque<Client> open;
    for (std::size_t i = 0; i < 2 * Few().connections; ++i) {
      open.push_back(Client::Unix(path()));
      open.back().Send(i % 2 == 0 ? std::string_view("GET /work HTTP/1.1\r\nHost: h\r\n\r\n") : "GET");
    }
    [[maybe_unused]] const auto told = ::write(ready[1], "x", 1);
    ::pause();
    ::_exit(0);
  }
  char told = 0;
  ASSERT_EQ(::read(ready[0], &told, 1), 1);
  int refused = 0;
  for (int i = 0; i < 1000; ++i) {
    auto client = Client::Unix(path());
    client.Send(kGet);
    if (!client.Response().starts_with("HTTP/1.1 200 ")) ++refused;
  }
  EXPECT_EQ(refused, 0);
  ::kill(greedy, SIGKILL);
  ::waitpid(greedy, nullptr, 0);
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(FloodTest, LingeringIsCapped) {
  ServePort();
  std::vector<Client> refused;
  for (std::size_t i = 0; i < Few().connections; ++i) {
    refused.push_back(Client::Tcp(port_, kGreedy));
    refused.back().Send("NONSENSE\r\n\r\n");
    EXPECT_THAT(refused.back().Response(), StartsWith("HTTP/1.1 400 "));
  }
  OnLoop([&] { EXPECT_LE(server_->connections(), 4U); });
}

TEST_F(FloodTest, CannotDisplaceCallersWhoHaveProvenWhoTheyAre) {
  Server::Options options;
  options.tcp = "127.0.0.1:0";
  options.limits = Few();
  Start(std::move(options), [this](const Request& request, const Responder& respond) {
    if (const auto client = request.client.lock(); client && request.target == "/known") client->Prove();
    if (request.target == "/work") return waiting_.push_back(respond);
    respond({200, "text/plain", "xxxx", {}});
  });
  OnLoop([&] { port_ = server_->port(); });
  std::vector<Client> known;
  for (std::size_t i = 0; i < Few().connections; ++i) {  // more than a fair half
    known.push_back(Client::Tcp(port_, i % 2 == 0 ? kOther : kGreedy));
    known.back().Send("GET /known HTTP/1.1\r\nHost: h\r\n\r\n");
    ASSERT_THAT(known.back().Response(), StartsWith("HTTP/1.1 200 "));
  }
  // Behind one address there may be others than the flood; the last kind is as good as what they hold.
  for (const std::vector<Kind>& kinds : {Kinds(), {Kinds().back()}}) {
    During(kinds, [&] {
      EXPECT_EQ(RefusedOf(100), 0) << "nor do they take the slots of those who have yet to prove it";
      for (auto& client : known) {
        client.Send(kGet);
        EXPECT_THAT(client.Response(), StartsWith("HTTP/1.1 200 "));
      }
    });
  }
}

TEST_F(FloodTest, OneWhoHasProvenWhoItIsCannotTakeTheSlotsOfOthersWhoHave) {
  Server::Options options;
  options.tcp = "127.0.0.1:0";
  options.limits = Few();
  Start(std::move(options), [](const Request& request, const Responder& respond) {
    if (const auto client = request.client.lock()) client->Prove();
    respond({200, "text/plain", "xxxx", {}});
  });
  OnLoop([&] { port_ = server_->port(); });
  std::vector<Client> greedy;
  for (std::size_t i = 0; i < 3 * Few().connections; ++i) {
    greedy.push_back(Client::Tcp(port_, kGreedy));
    greedy.back().Send(kGet);
    const bool fits = i < 2 * Few().connections;
    const std::string got = greedy.back().Response();
    if (fits) EXPECT_THAT(got, StartsWith("HTTP/1.1 200 ")) << i;
    if (!fits) EXPECT_THAT(got, AnyOf("", StartsWith("HTTP/1.1 503 "))) << i;
  }
  auto kept = Client::Tcp(port_, kOther);
  for (int i = 0; i < 3; ++i) {
    kept.Send(kGet);
    EXPECT_THAT(kept.Response(), StartsWith("HTTP/1.1 200 "));
    auto one_more = Client::Tcp(port_, kGreedy);
    one_more.Send(kGet);
    (void)one_more.Response();
  }
  EXPECT_EQ(RefusedOf(100), 0);
}

TEST_F(FloodTest, WhoProvesItLaterGetsASlotOfTheOneThatHoldsMost) {
  Server::Options options;
  options.tcp = "127.0.0.1:0";
  options.limits = Few();
  Start(std::move(options), [](const Request& request, const Responder& respond) {
    if (const auto client = request.client.lock(); client && request.target == "/known") client->Prove();
    respond({200, "text/plain", "xxxx", {}});
  });
  OnLoop([&] { port_ = server_->port(); });
  std::vector<Client> known;
  for (std::size_t i = 0; i < Few().connections + 6; ++i) {
    known.push_back(Client::Tcp(port_, i < Few().connections ? kGreedy : kOther));
    known.back().Send("GET /known HTTP/1.1\r\nHost: h\r\n\r\n");
    ASSERT_THAT(known.back().Response(), StartsWith("HTTP/1.1 200 "));
  }
  std::vector<Client> strangers;  // each of an address of its own: who has six would hold most of all
  for (std::size_t i = 0; i < 2 * Few().connections; ++i) {
    strangers.push_back(Client::Tcp(port_, static_cast<std::uint8_t>(10 + i)));
    strangers.back().Send(kGet);
    EXPECT_THAT(strangers.back().Response(), StartsWith("HTTP/1.1 200 ")) << i;
  }
  for (std::size_t i = Few().connections; i < known.size(); ++i) {
    known[i].Send(kGet);
    EXPECT_THAT(known[i].Response(), StartsWith("HTTP/1.1 200 ")) << i;
  }
}

TEST_F(FloodTest, PipelinedRequestsOfOneClientDoNotHoldUpAnother) {
  std::vector<std::string> order;
  Start(UnixOptions(), [&](const Request& request, const Responder& respond) {
    order.emplace_back(request.target);
    respond({200, "text/plain", "xxxx", {}});
  });
  auto greedy = Client::Unix(path());
  auto other = Client::Unix(path());
  for (Client* client : {&greedy, &other}) {
    client->Send("GET /first HTTP/1.1\r\nHost: h\r\n\r\n");
    (void)client->Response();
  }
  OnLoop([&] {  // both are there before the loop looks
    greedy.Send(Repeat(kGet, 50));
    other.Send("GET /other HTTP/1.1\r\nHost: h\r\n\r\n");
  });
  EXPECT_THAT(other.Response(), StartsWith("HTTP/1.1 200 "));
  for (int i = 0; i < 50; ++i) EXPECT_THAT(greedy.Response(), StartsWith("HTTP/1.1 200 "));
  OnLoop([&] {
    const auto at = std::find(order.begin(), order.end(), "/other") - order.begin();
    EXPECT_LT(at, 25) << "of 53";
  });
}

TEST(SourceOfTest, OneMachineIsOneSource) {
  const auto v4 = [](const char* text) {
    sockaddr_storage address{};
    address.ss_family = AF_INET;
    ::inet_pton(AF_INET, text, &reinterpret_cast<sockaddr_in&>(address).sin_addr);
    return SourceOf(address);
  };
  const auto v6 = [](const char* text) {
    sockaddr_storage address{};
    address.ss_family = AF_INET6;
    ::inet_pton(AF_INET6, text, &reinterpret_cast<sockaddr_in6&>(address).sin6_addr);
    return SourceOf(address);
  };
  EXPECT_EQ(v6("2001:db8:0:1::1"), v6("2001:db8:0:1:ffff:ffff:ffff:ffff")) << "a /64 is one machine's";
  EXPECT_NE(v6("2001:db8:0:1::1"), v6("2001:db8:0:2::1"));
  EXPECT_EQ(v6("::ffff:10.0.0.1"), v4("10.0.0.1"));
  EXPECT_NE(v6("::ffff:10.0.0.1"), v6("::ffff:10.0.0.2"));
  EXPECT_NE(v4("10.0.0.1"), v4("10.0.0.2"));
  const auto peer = [](std::uint32_t uid, std::int32_t pid) { return SourceOf(identity::PeerInfo{uid, 1, pid}); };
  EXPECT_EQ(peer(1, 2), peer(1, 2));
  EXPECT_NE(peer(1, 2), peer(1, 3));
  EXPECT_NE(peer(1, 0), peer(2, 0)) << "of another pid namespace";
}

}  // namespace
}  // namespace signet::http
