#include "http/server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <deque>

#include "loop_fixture.hpp"
#include "support/matchers.hpp"

namespace {
std::atomic<bool> no_descriptors = false;
std::atomic<int> descriptors_ran_out = 0;
}  // namespace

// Stands before the C library's: a process that really has no descriptors left starves its sanitizers too.
extern "C" int accept4(int fd, sockaddr* address, socklen_t* size, int flags) {
  if (no_descriptors) {
    ++descriptors_ran_out;
    errno = EMFILE;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_accept4, fd, address, size, flags));
}

namespace signet::http {
namespace {

using ::signet::testing::Client;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

/// Answers with what it was given.
void Echo(const Request& request, const Responder& respond) {
  Response response;
  response.content_type = "text/plain";
  response.body = std::string(request.method) + " " + std::string(request.target) + "?" + std::string(request.query) +
                  " [" + std::string(request.content_type) + "] " + std::string(request.body);
  for (const auto& [name, value] : request.headers) {
    response.body += " " + std::string(name) + "=" + std::string(value);
  }
  respond(std::move(response));
}

std::string Post(std::string_view body, std::string_view extra = {}) {
  return "POST /v1/sign?x=1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: Application/JSON; charset=utf-8\r\n" +
         std::string(extra) + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}
constexpr std::string_view kGet = "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n";

class ServerTest : public testing::LoopFixture {
 protected:
  static Limits Small() {
    Limits limits;
    limits.header_bytes = 1024;
    limits.body_bytes = 2048;
    return limits;
  }
  /// For clients that never send the rest. Idle time stays long: it begins at accept, and this thread may be slow too.
  static Limits ShortHeaderTime() {
    auto limits = Small();
    limits.header_time = std::chrono::milliseconds(50);
    return limits;
  }
  void StartEcho(Limits limits = {}) {
    auto options = UnixOptions();
    options.limits = limits;
    Start(std::move(options), Echo);
  }
  std::string Exchange(std::string_view data) {
    auto client = Client::Unix(path());
    client.Send(data);
    client.HalfClose();
    return client.Rest();
  }
};

TEST_F(ServerTest, ServesManyRequestsOnOneConnection) {
  StartEcho();
  auto client = Client::Unix(path());
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(client.Send(Post("hello", "Idempotency-Key: k\r\nX-Other: y\r\n")));
    const std::string response = client.Response();
    EXPECT_THAT(response, StartsWith("HTTP/1.1 200 OK\r\n"));
    EXPECT_THAT(response, EndsWith("POST /v1/sign?x=1 [application/json] hello idempotency-key=k"));
    EXPECT_THAT(response, Not(HasSubstr("Connection: close")));
    EXPECT_THAT(response, HasSubstr(" GMT\r\n"));
  }
}

TEST_F(ServerTest, AcceptsOctetsOneAtATime) {
  StartEcho();
  auto client = Client::Unix(path());
  for (const char c : Post("slow but steady")) ASSERT_TRUE(client.Send({&c, 1}));
  EXPECT_THAT(client.Response(), EndsWith("slow but steady"));
}

TEST_F(ServerTest, AnswersPipelinedRequestsInOrder) {
  auto options = UnixOptions();
  std::deque<std::pair<std::string, Responder>> waiting;
  int in_work = 0, most = 0;
  Start(std::move(options), [&](const Request& request, const Responder& respond) {
    most = std::max(most, ++in_work);
    waiting.emplace_back(std::string(request.body), respond);
    reactor_->Post([&] {  // later, as the service does
      auto [body, answer] = std::move(waiting.front());
      waiting.pop_front();
      --in_work;
      answer({200, "text/plain", body, {}});
    });
  });
  std::string all;
  for (int i = 0; i < 100; ++i) all += Post("number " + std::to_string(i));
  auto client = Client::Unix(path());
  ASSERT_TRUE(client.Send(all));
  for (int i = 0; i < 100; ++i) EXPECT_THAT(client.Response(), EndsWith("number " + std::to_string(i)));
  OnLoop([&] { EXPECT_EQ(most, 1) << "one request of a connection is in work at a time"; });
}

TEST_F(ServerTest, AnswersPipelinedRequestsThatAreAnsweredAtOnce) {
  StartEcho();
  std::string all;
  for (int i = 0; i < 3000; ++i) all += kGet;  // no recursion, however many
  auto client = Client::Unix(path());
  std::thread sender([&] { client.Send(all); });
  for (int i = 0; i < 3000; ++i) ASSERT_THAT(client.Response(), StartsWith("HTTP/1.1 200 "));
  sender.join();
}

TEST_F(ServerTest, AnswersAHalfClosedClient) {
  std::promise<Responder> promise;
  Start(UnixOptions(), [&](const Request&, Responder respond) { promise.set_value(std::move(respond)); });
  auto client = Client::Unix(path());
  client.Send(Post("x"));
  client.HalfClose();
  Responder respond = promise.get_future().get();
  reactor_->Post([respond = std::move(respond)] { respond({200, "text/plain", "late answer", {}}); });
  EXPECT_THAT(client.Rest(), EndsWith("late answer"));
  EXPECT_TRUE(client.ended());
}

TEST_F(ServerTest, ReadsChunkedBodies) {
  StartEcho();
  const std::string head = "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_THAT(Exchange(head + "5;ext=1\r\nhello\r\n7\r\n, world\r\n0\r\nTrailer: 1\r\nIdempotency-Key: t\r\n\r\n"),
              EndsWith("POST /c? [] hello, world"));
}

TEST_F(ServerTest, AsksForTheBodyThatAClientHoldsBack) {
  StartEcho();
  auto client = Client::Unix(path());
  client.Send("POST /c HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
  EXPECT_EQ(client.Response(), "HTTP/1.1 100 Continue\r\n\r\n");
  client.Send("body");
  EXPECT_THAT(client.Response(), EndsWith("body"));
}

TEST_F(ServerTest, ClosesWhenAskedTo) {
  StartEcho();
  auto client = Client::Unix(path());
  client.Send("GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(client.Rest(), HasSubstr("Connection: close\r\n"));
  EXPECT_TRUE(client.ended());
}

TEST_F(ServerTest, ServesHttp10) {
  StartEcho();
  EXPECT_THAT(Exchange("GET /a HTTP/1.0\r\n\r\n"), StartsWith("HTTP/1.1 200 OK\r\n"));
  auto client = Client::Unix(path());
  client.Send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_THAT(client.Response(), HasSubstr("Connection: keep-alive\r\n"));
  client.Send("GET /a HTTP/1.0\r\n\r\n");
  client.Rest();
  EXPECT_TRUE(client.ended());
}

TEST_F(ServerTest, AnswersHeadWithoutABody) {
  StartEcho();
  EXPECT_THAT(Exchange("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n"), EndsWith("Content-Length: 12\r\n\r\n"));
}

TEST_F(ServerTest, RefusesMalformedRequestsAndCloses) {
  StartEcho(Small());
  const std::string post = "POST / HTTP/1.1\r\nHost: h\r\n";
  for (const std::string& bad : {
           std::string("GET\r\n\r\n"),
           std::string(64, '\0'),
           std::string("GET / HTTP/9.9\r\nHost: h\r\n\r\n"),
           std::string("GET / HTTP/1.1\r\n\r\n"),                                // no Host
           std::string("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),          // two
           std::string("GET / HTTP/1.1\nHost: h\n\n\r\n\r\n"),                   // bare LF
           post + "Content-Length: -1\r\n\r\n",                                  //
           post + "Content-Length: 99999999999999999999999999\r\n\r\n",          //
           post + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",          // smuggling ...
           post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",  //
           post + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",  //
           post + "Transfer-Encoding: gzip\r\n\r\nabc",                          //
           post + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",       //
           post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",                //
           post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n",                    //
           post + "Transfer-Encoding: chunked\r\n\r\n-1\r\n",                    //
           post + "Content-Length : 3\r\n\r\nabc",                               // space before the colon
           std::string("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
           std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
       }) {
    EXPECT_THAT(Exchange(bad), StartsWith("HTTP/1.1 400 ")) << bad;
  }
  EXPECT_THAT(Exchange(kGet), StartsWith("HTTP/1.1 200 "));
}

TEST_F(ServerTest, RefusesOversizedHeaders) {
  StartEcho(Small());
  EXPECT_THAT(Exchange("GET /" + std::string(100'000, 'a') + " HTTP/1.1\r\nHost: h\r\n\r\n"),
              StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(Exchange("GET / HTTP/1.1\r\nHost: h\r\nA: " + std::string(100'000, 'a') + "\r\n\r\n"),
              StartsWith("HTTP/1.1 431 "));
  std::string many = "GET / HTTP/1.1\r\nHost: h\r\n";
  for (int i = 0; i < 20'000; ++i) many += "A: b\r\n";
  EXPECT_THAT(Exchange(many + "\r\n"), StartsWith("HTTP/1.1 431 "));
}

TEST_F(ServerTest, RefusesManySmallFieldsThatArriveOneByOne) {
  StartEcho(Small());
  auto client = Client::Unix(path());
  client.Send("GET / HTTP/1.1\r\nHost: h\r\n");
  for (int sent = 0; sent < 10'000 && client.Send("A: b\r\n");) ++sent;
  EXPECT_THAT(client.Rest(), StartsWith("HTTP/1.1 431 "));
}

TEST_F(ServerTest, RefusesAnAnnouncedBodyBeforeItComes) {
  StartEcho(Small());
  auto client = Client::Unix(path());
  client.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2049\r\n\r\n");
  EXPECT_THAT(client.Response(), StartsWith("HTTP/1.1 413 "));
}

TEST_F(ServerTest, TellsWhyEvenWhenTheClientIsStillSending) {
  StartEcho(Small());
  auto client = Client::Unix(path());
  client.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4000000\r\n\r\n");
  EXPECT_TRUE(client.Send(std::string(4'000'000, 'x'))) << "the rest is read and thrown away";
  EXPECT_THAT(client.Rest(), StartsWith("HTTP/1.1 413 "));
}

TEST_F(ServerTest, CapsChunkedBodies) {
  StartEcho(Small());
  std::string body = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 300; ++i) body += "8\r\n12345678\r\n";
  EXPECT_THAT(Exchange(body + "0\r\n\r\n"), StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(Exchange("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"),
              StartsWith("HTTP/1.1 4"));
  EXPECT_THAT(Exchange("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;" + std::string(9000, 'e')),
              StartsWith("HTTP/1.1 4"));
}

TEST_F(ServerTest, BoundsAllBodiesTogether) {
  auto limits = Limits();
  limits.buffered_bytes = 300'000;
  StartEcho(limits);
  std::vector<Client> clients;
  for (int i = 0; i < 8; ++i) {  // each sends most of 100 kB and stops
    clients.push_back(Client::Unix(path()));
    clients.back().Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + std::string(99'000, 'x'));
    for (int turn = 0; turn < 20; ++turn) OnLoop([] {});  // all of it is read before the next one comes
  }
  EXPECT_THAT(clients.back().Response(), StartsWith("HTTP/1.1 503 "));
  clients.clear();
  ASSERT_TRUE(BecomesEmpty());
  EXPECT_THAT(Exchange(Post(std::string(100'000, 'y'))), StartsWith("HTTP/1.1 200 ")) << "the memory was given back";
}

TEST_F(ServerTest, EndsASlowRequest) {
  StartEcho(ShortHeaderTime());
  auto client = Client::Unix(path());
  client.Send("POST / HT");
  EXPECT_THAT(client.Rest(), StartsWith("HTTP/1.1 408 "));
  EXPECT_TRUE(client.ended());
}

TEST_F(ServerTest, EndsASlowBody) {
  StartEcho(ShortHeaderTime());
  auto client = Client::Unix(path());
  client.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
  EXPECT_THAT(client.Rest(), StartsWith("HTTP/1.1 408 "));
}

TEST_F(ServerTest, ADripOfOctetsDoesNotBuyTime) {
  auto limits = ShortHeaderTime();
  limits.header_bytes = 256 * 1024 * 1024;  // time alone is to end it
  StartEcho(limits);
  auto client = Client::Unix(path());
  client.Send("GET / HTTP/1.1\r\nHost: h\r\nA: ");
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  char c = 0;
  while (::recv(client.fd(), &c, 1, MSG_PEEK | MSG_DONTWAIT) <= 0 && std::chrono::steady_clock::now() < end) {
    if (!client.Send("a")) break;
  }
  EXPECT_LT(std::chrono::steady_clock::now(), end);
  EXPECT_THAT(client.Rest(), StartsWith("HTTP/1.1 408 "));
}

TEST_F(ServerTest, EndsIdleConnections) {
  auto limits = Small();
  limits.idle_time = std::chrono::milliseconds(200);
  StartEcho(limits);
  auto silent = Client::Unix(path());
  EXPECT_EQ(silent.Rest(), "");
  EXPECT_TRUE(silent.ended());
  auto used = Client::Unix(path());
  std::string answer;
  for (int tries = 0; tries < 20 && answer.empty(); ++tries) {  // empty: this thread was slower than the idle time
    if (tries > 0) used = Client::Unix(path());
    used.Send(kGet);
    answer = used.Response();
  }
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(used.Rest(), "");
  EXPECT_TRUE(used.ended());
}

TEST_F(ServerTest, EndsAClientThatDoesNotRead) {
  auto options = UnixOptions();
  options.limits.write_time = std::chrono::milliseconds(50);
  std::promise<void> answered;
  Start(std::move(options), [&](const Request&, const Responder& respond) {
    respond({200, "text/plain", std::string(8'000'000, 'x'), {}});
    answered.set_value();
  });
  auto client = Client::Unix(path());
  client.Send(kGet);
  answered.get_future().wait();
  EXPECT_TRUE(BecomesEmpty());
  EXPECT_LT(client.Rest().size(), 8'000'000U);
}

TEST_F(ServerTest, WritesLargeResponsesInParts) {
  Start(UnixOptions(), [](const Request&, const Responder& respond) {
    respond({200, "text/plain", std::string(8'000'000, 'x'), {}});
  });
  auto client = Client::Unix(path());
  client.Send(kGet);
  EXPECT_GT(client.Response().size(), 8'000'000U);
  client.Send(kGet);
  EXPECT_GT(client.Response().size(), 8'000'000U);
}

TEST_F(ServerTest, CapsConnectionsAndServesAgainWhenSomeEnd) {
  auto limits = Limits();
  limits.connections = 512;
  StartEcho(limits);
  std::vector<Client> clients;
  for (int i = 0; i < 512; ++i) {
    clients.push_back(Client::Unix(path()));
    clients.back().Send(kGet);
    ASSERT_THAT(clients.back().Response(), StartsWith("HTTP/1.1 200 "));
  }
  auto more = Client::Unix(path());
  EXPECT_THAT(more.Rest(), ::testing::AnyOf("", StartsWith("HTTP/1.1 503 ")));
  EXPECT_TRUE(more.ended());
  clients.clear();
  ASSERT_TRUE(BecomesEmpty());
  EXPECT_THAT(Exchange(kGet), StartsWith("HTTP/1.1 200 "));
}

TEST_F(ServerTest, PausesWhenDescriptorsRunOutAndRecovers) {
  StartEcho();
  auto served = Client::Unix(path());
  served.Send(kGet);
  ASSERT_THAT(served.Response(), StartsWith("HTTP/1.1 200 "));
  descriptors_ran_out = 0;
  no_descriptors = true;
  auto waiting = Client::Unix(path());
  ASSERT_TRUE(waiting.Send(kGet));
  while (descriptors_ran_out == 0) std::this_thread::yield();
  for (int i = 0; i < 20; ++i) {
    served.Send(kGet);
    EXPECT_THAT(served.Response(), StartsWith("HTTP/1.1 200 ")) << "those who are in are served";
  }
  EXPECT_LT(descriptors_ran_out, 20) << "it must not spin";
  OnLoop([&] { EXPECT_EQ(server_->connections(), 1U); });
  no_descriptors = false;
  EXPECT_THAT(waiting.Response(), StartsWith("HTTP/1.1 200 ")) << "who waited is let in";
}

TEST_F(ServerTest, KnowsThePeer) {
  std::promise<identity::PeerInfo> peer;
  Start(UnixOptions(), [&](const Request& request, const Responder& respond) {
    peer.set_value(request.peer.value());
    respond({});
  });
  EXPECT_THAT(Exchange(kGet), StartsWith("HTTP/1.1 200 "));
  const auto seen = peer.get_future().get();
  EXPECT_EQ(seen.uid, ::getuid());
  EXPECT_EQ(seen.gid, ::getgid());
  EXPECT_EQ(seen.pid, ::getpid());
}

TEST_F(ServerTest, TurnsAwayUsersThatAreNotOnTheListUnheard) {
  auto options = UnixOptions();
  options.allowed_uids = {::getuid() + 1};
  std::atomic<int> calls = 0;
  Start(std::move(options), [&](const Request& request, const Responder& respond) {
    ++calls;
    Echo(request, respond);
  });
  EXPECT_THAT(Exchange(kGet), StartsWith("HTTP/1.1 403 "));
  EXPECT_EQ(calls, 0);
}

TEST_F(ServerTest, ServesUsersOnTheList) {
  auto options = UnixOptions();
  options.allowed_uids = {::getuid() + 1, ::getuid()};
  Start(std::move(options), Echo);
  EXPECT_THAT(Exchange(kGet), StartsWith("HTTP/1.1 200 "));
}

TEST_F(ServerTest, AnswersForAHandlerThatThrows) {
  Start(UnixOptions(), [](const Request&, const Responder&) { throw std::runtime_error("oh"); });
  EXPECT_THAT(Exchange(kGet), StartsWith("HTTP/1.1 500 "));
}

TEST_F(ServerTest, AnswersForAHandlerThatForgets) {
  Start(UnixOptions(), [](const Request&, const Responder&) {});
  EXPECT_THAT(Exchange(kGet), StartsWith("HTTP/1.1 500 "));
}

TEST_F(ServerTest, TakesOnlyTheFirstAnswer) {
  Start(UnixOptions(), [](const Request& request, const Responder& respond) {
    Echo(request, respond);
    respond({500, "text/plain", "again", {}});
  });
  auto client = Client::Unix(path());
  client.Send(std::string(kGet) + std::string(kGet));
  EXPECT_THAT(client.Response(), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(client.Response(), StartsWith("HTTP/1.1 200 "));
}

TEST_F(ServerTest, ResponderMayOutliveConnectionAndServer) {
  std::promise<Responder> promise;
  Start(UnixOptions(), [&](const Request&, Responder respond) { promise.set_value(std::move(respond)); });
  auto client = Client::Unix(path());
  client.Send(kGet);
  Responder respond = promise.get_future().get();
  client.Close();
  OnLoop([&] {
    server_.reset();
    respond({200, "text/plain", "nobody is there", {}});
    respond = nullptr;
  });
}

TEST_F(ServerTest, DrainLetsRequestsInWorkFinish) {
  std::promise<Responder> promise;
  Start(UnixOptions(), [&](const Request&, Responder respond) { promise.set_value(std::move(respond)); });
  auto idle = Client::Unix(path());
  auto busy = Client::Unix(path());
  busy.Send(kGet);
  Responder respond = promise.get_future().get();
  std::promise<void> drained;
  auto done = drained.get_future();
  OnLoop([&] { server_->Drain([&] { drained.set_value(); }); });
  EXPECT_EQ(idle.Rest(), "");
  EXPECT_TRUE(idle.ended());
  EXPECT_FALSE(Client::Unix(path()).connected()) << "nobody new is let in";
  EXPECT_EQ(done.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  OnLoop([&] { respond({200, "text/plain", "finished", {}}); });
  EXPECT_THAT(busy.Rest(), EndsWith("finished"));
  EXPECT_EQ(done.wait_for(std::chrono::seconds(10)), std::future_status::ready);
}

TEST_F(ServerTest, WindingDownSendsClientsElsewhereAndStillLetsThemIn) {
  Start(UnixOptions(), [&](const Request&, const Responder& respond) { respond({200, "text/plain", "served", {}}); });
  auto old = Client::Unix(path());
  old.Send(kGet);
  EXPECT_THAT(old.Response(), Not(HasSubstr("Connection: close")));
  OnLoop([&] { server_->WindDown(); });
  old.Send(kGet);
  EXPECT_THAT(old.Response(), AllOf(HasSubstr("Connection: close\r\n"), EndsWith("served")));
  EXPECT_EQ(old.Rest(), "");
  EXPECT_TRUE(old.ended());
  auto fresh = Client::Unix(path());
  fresh.Send(kGet);
  EXPECT_THAT(fresh.Rest(), AllOf(HasSubstr("Connection: close\r\n"), EndsWith("served")));
}

TEST_F(ServerTest, DrainUnderLoadAnswersEveryRequestThatWasSent) {
  StartEcho();
  std::atomic<int> answered = 0, cut = 0;
  std::atomic<bool> go_on = true;
  std::vector<std::thread> load;
  for (int i = 0; i < 8; ++i) {
    load.emplace_back([&] {
      while (go_on) {
        auto client = Client::Unix(path());
        if (!client.connected()) return;
        client.Send(kGet);  // sent before the answer to Drain: it is answered
        const std::string response = client.Response();
        if (response.starts_with("HTTP/1.1 200 ")) {
          ++answered;
        } else {
          ++cut;
        }
      }
    });
  }
  while (answered < 200) std::this_thread::yield();
  std::promise<void> drained;
  OnLoop([&] { server_->Drain([&] { drained.set_value(); }); });
  EXPECT_EQ(drained.get_future().wait_for(std::chrono::seconds(10)), std::future_status::ready);
  go_on = false;
  for (auto& thread : load) thread.join();
  EXPECT_LE(cut, 8) << "at most the connections that were made and silent at that instant";
}

TEST_F(ServerTest, DrainsAtOnceWhenIdle) {
  StartEcho();
  std::promise<void> drained;
  OnLoop([&] { server_->Drain([&] { drained.set_value(); }); });
  EXPECT_EQ(drained.get_future().wait_for(std::chrono::seconds(10)), std::future_status::ready);
}

class PortTest : public ServerTest {
 protected:
  void StartPort(bool require_loopback_host) {
    Server::Options options;
    options.tcp = "127.0.0.1:0";
    options.require_loopback_host = require_loopback_host;
    Start(std::move(options), Echo);
    OnLoop([&] { port_ = server_->port(); });
  }
  std::string Ask(std::string_view head) {
    auto client = Client::Tcp(port_);
    client.Send(head);
    client.HalfClose();
    return client.Rest();
  }
  std::uint16_t port_ = 0;
};

TEST_F(PortTest, ServesLoopback) {
  StartPort(false);
  ASSERT_NE(port_, 0);
  EXPECT_THAT(Ask("GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(PortTest, WantsALoopbackHost) {
  StartPort(true);
  for (const std::string good : {"localhost", "LocalHost:80", "127.0.0.1", "127.0.0.1:65535", "[::1]", "[::1]:1"}) {
    EXPECT_THAT(Ask("GET /a HTTP/1.1\r\nHost: " + good + "\r\n\r\n"), StartsWith("HTTP/1.1 200 ")) << good;
  }
  for (const std::string bad : {"example.com", "localhost.example.com", "127.0.0.1.example.com", "",
                                "localhost:", "localhost:a", "[::1]x", "127.0.0.1:123456"}) {
    EXPECT_THAT(Ask("GET /a HTTP/1.1\r\nHost: " + bad + "\r\n\r\n"), StartsWith("HTTP/1.1 400 ")) << bad;
  }
  EXPECT_THAT(Ask("GET http://evil.example/a HTTP/1.1\r\nHost: localhost\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(Ask("GET http://localhost/a HTTP/1.1\r\nHost: evil.example\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(PortTest, ListensOnLoopbackOnly) {
  const auto listen = [&](std::string address, bool remote) {
    Server::Options options;
    options.tcp = std::move(address);
    options.allow_remote = remote;
    return Server::Listen(*reactor_, std::move(options), Echo, testing::PlainRefusal);
  };
  using base::Code;
  EXPECT_THAT(listen("0.0.0.0:0", false), testing::IsErr(Code::kInvalidArgument));
  EXPECT_THAT(listen("[::]:0", false), testing::IsErr(Code::kInvalidArgument));
  EXPECT_THAT(listen("10.0.0.1:80", false), testing::IsErr(Code::kInvalidArgument));
  EXPECT_THAT(listen("example.com:80", false), testing::IsErr(Code::kInvalidArgument));
  EXPECT_THAT(listen("127.0.0.1", false), testing::IsErr(Code::kInvalidArgument));
  EXPECT_THAT(listen("127.0.0.1:99999", false), testing::IsErr(Code::kInvalidArgument));
  EXPECT_THAT(listen("0.0.0.0:0", true), testing::IsOk());
  auto first = listen("127.0.0.1:0", false);
  ASSERT_THAT(first, testing::IsOk());
  EXPECT_THAT(listen("127.0.0.1:" + std::to_string((*first)->port()), false),
              testing::IsErr(Code::kFailedPrecondition));
}

TEST_F(PortTest, KnowsNoUsers) {
  Server::Options options;
  options.tcp = "127.0.0.1:0";
  options.allowed_uids = {0};
  EXPECT_THAT(Server::Listen(*reactor_, std::move(options), Echo, testing::PlainRefusal),
              testing::IsErr(base::Code::kInvalidArgument));
}

}  // namespace
}  // namespace signet::http
