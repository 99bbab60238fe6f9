// The server over TLS, against curl, openssl s_client, and OpenSSL's client inside the test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>

#include "crypto/certificate.hpp"
#include "http/server.hpp"
#include "loop_fixture.hpp"
#include "support/matchers.hpp"
#include "support/tls_client.hpp"

namespace signet::http {
namespace {

using ::signet::testing::Client;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

crypto::CertificateAndKey NewCertificate(const std::string& name = "signet") {
  crypto::CertificateOptions options;
  options.common_name = name;
  options.dns_names = {"localhost"};
  options.ip_addresses = {"127.0.0.1"};
  options.not_before = base::SystemClock().Now() - std::chrono::hours(1);
  options.not_after = base::SystemClock().Now() + std::chrono::hours(1);
  return crypto::MakeServerCertificate(options).value();
}

/// A blocking socket with OpenSSL's client on it.
class Secure {
 public:
  Secure(std::uint16_t port, const std::string& ca) : tls_(ca), socket_(Client::Tcp(port)) {}
  [[nodiscard]] testing::TlsClient& tls() { return tls_; }
  [[nodiscard]] Client& socket() { return socket_; }

  bool Handshake() {
    tls_.Receive({});
    while (!tls_.open() && tls_.error().empty()) {
      if (!socket_.Send(tls_.Pending()) || !Fill()) return false;
    }
    return tls_.open() && socket_.Send(tls_.Pending());
  }
  bool Send(std::string_view plain) { return socket_.Send(tls_.Encrypt(plain)); }
  /// One response with a Content-Length.
  std::string Response() {
    std::size_t size = std::string::npos;
    while (true) {
      const std::string& text = buffer_ += tls_.Read();
      if (const auto head = text.find("\r\n\r\n"); head != std::string::npos) {
        const auto at = text.find("Content-Length: ");
        size = head + 4 + (at < head ? std::stoul(text.substr(at + 16)) : 0);
      }
      if (text.size() >= size) break;
      if (!Fill()) return std::exchange(buffer_, {});
    }
    std::string response = buffer_.substr(0, size);
    buffer_.erase(0, size);
    return response;
  }
  /// Plaintext until the server closes.
  std::string Rest() {
    while (Fill()) {
    }
    return std::exchange(buffer_, {}) + tls_.Read();
  }

 private:
  bool Fill() {
    char part[65536];
    const ssize_t size = ::recv(socket_.fd(), part, sizeof(part), 0);
    if (size <= 0) return false;
    tls_.Receive({part, static_cast<std::size_t>(size)});
    return true;
  }
  testing::TlsClient tls_;
  Client socket_;
  std::string buffer_;
};

void Echo(const Request& request, const Responder& respond) {
  respond({200, "text/plain", std::string(request.method) + " " + std::string(request.body), {}});
}
std::string Post(std::string_view body, std::string_view extra = {}) {
  return "POST /v1/sign HTTP/1.1\r\nHost: localhost\r\n" + std::string(extra) +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}
constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

class TlsServerTest : public testing::LoopFixture {
 protected:
  TlsServerTest() { Rotate(); }
  ~TlsServerTest() override {
    OnLoop([this] { server_.reset(); });  // it asks for context_
  }
  void Rotate() {
    certificate_ = NewCertificate();
    auto context = crypto::TlsContext::Create(certificate_.certificate_pem, certificate_.key_pem).value();
    OnLoop([&] { context_ = std::move(context); });
  }
  Server::Options Options() {
    Server::Options options;
    options.tcp = "127.0.0.1:0";
    options.tls = [this] {
      ++asked_;
      return context_;
    };
    return options;
  }
  void StartEcho(Limits limits = {}) {
    auto options = Options();
    options.limits = limits;
    Start(std::move(options), Echo);
  }
  static Limits HeaderTime(std::chrono::milliseconds time) {
    Limits limits;
    limits.header_time = time;
    return limits;
  }
  Secure Connect() { return {server_->port(), certificate_.certificate_pem}; }
  /// Output of a shell command in the test's folder, with $PORT; the CA is in ./ca.
  std::string Shell(const std::string& command) {
    folder_.Write("ca", certificate_.certificate_pem);
    const std::string whole = "cd " + folder_.path().string() + " && PORT=" + std::to_string(server_->port()) +
                              " && { " + command + "; } > out 2>&1";
    EXPECT_EQ(std::system(whole.c_str()), 0) << command << "\n" << folder_.Read("out");
    return folder_.Read("out");
  }

  crypto::CertificateAndKey certificate_;
  std::shared_ptr<const crypto::TlsContext> context_;
  std::atomic<int> asked_ = 0;
};

TEST_F(TlsServerTest, ServesCurl) {
  StartEcho();
  EXPECT_EQ(Shell("curl -sS --max-time 10 --cacert ca --data-binary hello https://localhost:$PORT/v1/sign"),
            "POST hello");
  EXPECT_EQ(Shell("curl -sS --max-time 10 --cacert ca https://127.0.0.1:$PORT/a https://127.0.0.1:$PORT/b"),
            "GET GET ");
  EXPECT_EQ(asked_, 2) << "curl keeps a connection";
  EXPECT_THAT(Shell("! curl -sS --max-time 10 https://localhost:$PORT/"), HasSubstr("self-signed"));
}

TEST_F(TlsServerTest, ServesSClient) {
  StartEcho();
  const std::string text = Shell(
      "printf 'GET / HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\n\\r\\n' | openssl s_client -connect "
      "127.0.0.1:$PORT -CAfile ca -verify_return_error -verify_hostname localhost -alpn http/1.1 -ign_eof");
  EXPECT_THAT(text, HasSubstr("Verify return code: 0 (ok)"));
  EXPECT_THAT(text, HasSubstr("ALPN protocol: http/1.1"));
  EXPECT_THAT(text, HasSubstr("HTTP/1.1 200 OK"));
  EXPECT_THAT(text, HasSubstr("closed"));
  EXPECT_THAT(text, Not(HasSubstr("unexpected eof")));
}

TEST_F(TlsServerTest, ServesManyRequestsOnOneConnection) {
  StartEcho();
  auto client = Connect();
  ASSERT_TRUE(client.Handshake()) << client.tls().error();
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(client.Send(Post("number " + std::to_string(i))));
    const std::string response = client.Response();
    ASSERT_THAT(response, StartsWith("HTTP/1.1 200 OK\r\n"));
    ASSERT_THAT(response, EndsWith("number " + std::to_string(i)));
  }
  EXPECT_EQ(asked_, 1);
}

TEST_F(TlsServerTest, AnswersPipelinedRequestsInOrder) {
  StartEcho();
  auto client = Connect();
  ASSERT_TRUE(client.Handshake());
  std::string all;
  for (int i = 0; i < 2000; ++i) all += Post("number " + std::to_string(i));
  std::thread sender([&, text = client.tls().Encrypt(all)] { client.socket().Send(text); });
  for (int i = 0; i < 2000; ++i) ASSERT_THAT(client.Response(), EndsWith("number " + std::to_string(i)));
  sender.join();
}

TEST_F(TlsServerTest, CarriesAMebibyteBothWays) {
  StartEcho();
  std::string body(1024 * 1024, '\0');
  for (std::size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>('a' + i * i % 26);
  auto client = Connect();
  ASSERT_TRUE(client.Handshake());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(client.Send(Post(body)));
    const std::string response = client.Response();
    ASSERT_TRUE(response.ends_with("POST " + body));
  }
  ASSERT_TRUE(client.Send(Post(body + "x")));
  EXPECT_THAT(client.Response(), StartsWith("HTTP/1.1 413 "));
}

TEST_F(TlsServerTest, AcceptsOctetsOneAtATime) {
  StartEcho();
  auto client = Connect();
  client.tls().Receive({});
  const std::string hello = client.tls().Pending();
  for (const char c : hello) ASSERT_TRUE(client.socket().Send({&c, 1}));
  ASSERT_TRUE(client.Handshake());
  const std::string request = client.tls().Encrypt(Post("slow but steady"));
  for (const char c : request) ASSERT_TRUE(client.socket().Send({&c, 1}));
  EXPECT_THAT(client.Response(), EndsWith("slow but steady"));
}

TEST_F(TlsServerTest, SaysContinue) {
  StartEcho();
  auto client = Connect();
  ASSERT_TRUE(client.Handshake());
  client.Send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
  EXPECT_EQ(client.Response(), "HTTP/1.1 100 Continue\r\n\r\n");
  client.Send("body");
  EXPECT_THAT(client.Response(), EndsWith("POST body"));
}

TEST_F(TlsServerTest, EndsWithCloseNotify) {
  StartEcho();
  auto client = Connect();
  ASSERT_TRUE(client.Handshake());
  client.Send(Post("last", "Connection: close\r\n"));
  EXPECT_THAT(client.Rest(), EndsWith("POST last"));
  EXPECT_TRUE(client.tls().closed());
  auto bad = Connect();
  ASSERT_TRUE(bad.Handshake());
  bad.Send("NONSENSE\r\n\r\n");
  EXPECT_THAT(bad.Rest(), StartsWith("HTTP/1.1 400 "));
  EXPECT_TRUE(bad.tls().closed());
}

TEST_F(TlsServerTest, AnswersAHalfClosedClient) {
  std::promise<Responder> promise;
  Start(Options(), [&](const Request&, Responder respond) { promise.set_value(std::move(respond)); });
  auto client = Connect();
  ASSERT_TRUE(client.Handshake());
  client.Send(Post("x"));
  client.socket().Send(client.tls().CloseNotify());
  client.socket().HalfClose();
  Responder respond = promise.get_future().get();
  reactor_->Post([respond = std::move(respond)] { respond({200, "text/plain", "late answer", {}}); });
  EXPECT_THAT(client.Rest(), EndsWith("late answer"));
  EXPECT_TRUE(client.tls().closed());
  EXPECT_TRUE(BecomesEmpty());
}

TEST_F(TlsServerTest, ClosesWhoNeverFinishesTheHandshake) {
  StartEcho(HeaderTime(std::chrono::milliseconds(50)));
  auto silent = Client::Tcp(server_->port());
  EXPECT_EQ(silent.Rest(), "");
  EXPECT_TRUE(silent.ended());
  auto client = Connect();
  client.tls().Receive({});
  client.socket().Send(client.tls().Pending());  // ClientHello, and no more
  (void)client.socket().Rest();
  EXPECT_TRUE(client.socket().ended());
  auto dripping = Connect();
  dripping.tls().Receive({});
  for (const char c : dripping.tls().Pending()) {  // an octet is no reason for more time
    if (!dripping.socket().Send({&c, 1})) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  (void)dripping.socket().Rest();
  EXPECT_TRUE(dripping.socket().ended());
  EXPECT_TRUE(BecomesEmpty());
}

TEST_F(TlsServerTest, ClosesIdleConnectionsWithCloseNotify) {
  Limits limits;
  limits.idle_time = std::chrono::milliseconds(50);  // it begins after the handshake
  StartEcho(limits);
  auto client = Connect();
  ASSERT_TRUE(client.Handshake());
  EXPECT_EQ(client.Rest(), "");
  EXPECT_TRUE(client.tls().closed());
}

TEST_F(TlsServerTest, TellsASlowRequestThatItWasSlow) {
  StartEcho(HeaderTime(std::chrono::seconds(2)));  // the handshake has to be done in that time too
  auto client = Connect();
  ASSERT_TRUE(client.Handshake());
  client.Send("POST / HTTP/1.1\r\n");
  EXPECT_THAT(client.Rest(), StartsWith("HTTP/1.1 408 "));
  EXPECT_TRUE(client.tls().closed());
}

TEST_F(TlsServerTest, ClosesOnGarbage) {
  StartEcho();
  for (const std::string& garbage : {std::string(100'000, '\x80'), std::string(3000, '\0'),
                                     std::string("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10)}) {
    auto client = Client::Tcp(server_->port());
    client.Send(garbage);
    client.HalfClose();
    const std::string answer = client.Rest();
    EXPECT_TRUE(client.ended());
    EXPECT_TRUE(answer.empty() || answer[0] == '\x15') << "an alert or nothing";
  }
  EXPECT_TRUE(BecomesEmpty());
}

TEST_F(TlsServerTest, TellsPlainHttpWhatToDo) {
  StartEcho();
  auto client = Client::Tcp(server_->port());
  client.Send(Post(std::string(50'000, 'x')));
  client.HalfClose();
  const std::string answer = client.Rest();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(answer, HasSubstr("https://"));
  EXPECT_TRUE(BecomesEmpty());
}

TEST_F(TlsServerTest, EndsATamperedStream) {
  StartEcho();
  auto client = Connect();
  ASSERT_TRUE(client.Handshake());
  client.Send(Post("before"));
  EXPECT_THAT(client.Response(), EndsWith("before"));
  std::string record = client.tls().Encrypt(Post("tampered"));
  record.back() = static_cast<char>(record.back() ^ 1);
  client.socket().Send(record);
  EXPECT_EQ(client.Rest(), "");
  EXPECT_THAT(client.tls().error(), HasSubstr("bad record mac"));
}

TEST_F(TlsServerTest, RotatesWhileConnectionsLive) {
  StartEcho();
  auto before = Connect();
  ASSERT_TRUE(before.Handshake());
  auto halfway = Connect();
  halfway.tls().Receive({});
  halfway.socket().Send(halfway.tls().Pending());
  OnLoop([] {});
  while (asked_ < 2) std::this_thread::yield();
  Rotate();
  auto after = Connect();
  ASSERT_TRUE(after.Handshake()) << after.tls().error();
  ASSERT_TRUE(halfway.Handshake()) << "began with the old certificate, ends with it";
  for (Secure* client : {&before, &halfway, &after}) {
    client->Send(Post("still here"));
    EXPECT_THAT(client->Response(), EndsWith("still here"));
  }
  EXPECT_EQ(asked_, 3);
}

TEST_F(TlsServerTest, NeverSpeaksPlainWithoutACertificate) {
  StartEcho();
  auto context = context_;
  OnLoop([&] { context_ = nullptr; });
  auto plain = Client::Tcp(server_->port());
  plain.Send(kGet);
  EXPECT_EQ(plain.Rest(), "");
  EXPECT_TRUE(plain.ended());
  OnLoop([&] { context_ = context; });
  auto client = Connect();
  EXPECT_TRUE(client.Handshake());
}

TEST_F(TlsServerTest, LetsRequestsInWorkFinishWhenItDrains) {
  std::promise<Responder> promise;
  Start(Options(), [&](const Request&, Responder respond) { promise.set_value(std::move(respond)); });
  auto silent = Client::Tcp(server_->port());
  auto idle = Connect();
  ASSERT_TRUE(idle.Handshake());
  auto halfway = Connect();
  halfway.tls().Receive({});
  halfway.socket().Send(halfway.tls().Pending());
  auto busy = Connect();
  ASSERT_TRUE(busy.Handshake());
  busy.Send(Post("x"));
  Responder respond = promise.get_future().get();
  std::promise<void> drained;
  OnLoop([&] { server_->Drain([&] { drained.set_value(); }); });
  EXPECT_EQ(silent.Rest(), "");
  EXPECT_TRUE(silent.ended());
  EXPECT_EQ(idle.Rest(), "");
  EXPECT_TRUE(idle.tls().closed());
  EXPECT_TRUE(halfway.Handshake()) << "whoever has said hello may ask";
  halfway.socket().Close();
  reactor_->Post([respond = std::move(respond)] { respond({200, "text/plain", "done", {}}); });
  EXPECT_THAT(busy.Rest(), EndsWith("done"));
  EXPECT_TRUE(busy.tls().closed());
  drained.get_future().wait();
}

TEST_F(TlsServerTest, TurnsAwayWhatIsTooMuch) {
  Limits limits;
  limits.connections = 1;
  StartEcho(limits);
  auto first = Connect();
  ASSERT_TRUE(first.Handshake());
  first.Send(Post("before"));
  EXPECT_THAT(first.Response(), EndsWith("before"));
  auto second = Connect();
  EXPECT_FALSE(second.Handshake());
  first.Send(Post("first"));
  EXPECT_THAT(first.Response(), EndsWith("first"));
}

TEST_F(TlsServerTest, CanWantACertificateOfItsClients) {
  StartEcho();
  const std::string make =
      "for ca in mine other; do"
      " openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $ca-ca.key -out $ca-ca.crt -subj "
      "/CN=$ca"
      " && openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $ca.key -out $ca.csr -subj "
      "/CN=api"
      " && echo extendedKeyUsage=clientAuth > ext"
      " && openssl x509 -req -in $ca.csr -CA $ca-ca.crt -CAkey $ca-ca.key -CAcreateserial -extfile ext -out $ca.crt"
      " || exit 1; done";
  Shell(make);
  const std::string authorities = folder_.Read("mine-ca.crt");
  auto context = crypto::TlsContext::Create(certificate_.certificate_pem, certificate_.key_pem, authorities).value();
  OnLoop([&] { context_ = std::move(context); });
  const std::string ask = "curl -sS --max-time 10 --cacert ca https://localhost:$PORT/ ";
  EXPECT_EQ(Shell(ask + "--cert mine.crt --key mine.key"), "GET ");
  Shell("! " + ask);
  Shell("! " + ask + "--cert other.crt --key other.key");
  EXPECT_FALSE(crypto::TlsContext::Create(certificate_.certificate_pem, certificate_.key_pem, "no PEM").has_value());
}

TEST_F(TlsServerTest, ServesManyClientsAtOnce) {
  StartEcho();
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 5; ++n) {
        auto client = Connect();
        if (!client.Handshake()) return;
        for (int k = 0; k < 10; ++k) {
          client.Send(Post(std::string(10'000, 'x')));
          if (client.Response().ends_with("xxx")) ++good;
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 400);
  EXPECT_TRUE(BecomesEmpty());
}

TEST_F(TlsServerTest, KeepsTlsToPorts) {
  auto options = UnixOptions();
  options.tls = [this] { return context_; };
  EXPECT_THAT(Server::Listen(*reactor_, std::move(options), Echo, testing::PlainRefusal),
              testing::IsErr(base::Code::kInvalidArgument));
}

}  // namespace
}  // namespace signet::http
