#include "http/upstream.hpp"

#include <atomic>
#include <deque>
#include <map>
#include <set>
#include <utility>

#include "crypto/certificate.hpp"
#include "http/listener.hpp"
#include "loop_fixture.hpp"
#include "support/matchers.hpp"

namespace signet::http {
namespace {

using base::Code;
using std::chrono::milliseconds;
using ::testing::HasSubstr;
using testing::IsErr;
using testing::IsOk;

crypto::CertificateAndKey NewCertificate(const std::string& name = "gateway.example") {
  crypto::CertificateOptions options;
  options.dns_names = {name};
  options.not_before = base::SystemClock().Now() - std::chrono::hours(1);
  options.not_after = base::SystemClock().Now() + std::chrono::hours(1);
  return crypto::MakeServerCertificate(options).value();
}

/// Answers from a list, on the loop, later: the last who asked for a name, as the real one does.
class ListResolver final : public Resolver {
 public:
  explicit ListResolver(base::Reactor& reactor) : reactor_(reactor) {}
  void Resolve(const std::string& host, Done done) override {
    ++asked;
    if (std::exchange(waiting_[host], std::move(done))) return;
    reactor_.Post([this, host, answer = answer] {
      const Done last = std::exchange(waiting_[host], nullptr);
      if (answer.empty()) {
        last(base::MakeError(Code::kUnavailable, "NameNotResolved", host));
      } else {
        last(answer);
      }
    });
  }
  Addresses answer;
  std::atomic<int> asked = 0;

 private:
  base::Reactor& reactor_;
  std::map<std::string, Done> waiting_;
};

/// Replicas on a loop of their own thread, together with the client under test.
class UpstreamTest : public testing::LoopFixture {
 protected:
  UpstreamTest() {
    context_ = crypto::TlsContext::Create(certificate_.certificate_pem, certificate_.key_pem).value();
    trust_ = crypto::TlsTrust::Create(certificate_.certificate_pem).value();
    Run();
  }
  ~UpstreamTest() override {
    OnLoop([this] {
      upstream_.reset();
      replicas_.clear();
    });
  }

  /// A replica; its port.
  std::uint16_t Serve(Handler handler, const std::string& address = "127.0.0.1:0", Limits limits = {}) {
    std::uint16_t port = 0;
    OnLoop([&] {
      Server::Options options;
      options.tcp = address;
      options.allow_remote = true;
      options.limits = limits;
      options.tls = [this] { return context_; };
      options.wanted_headers = {"authorization", "idempotency-key"};
      auto server = Server::Listen(*reactor_, std::move(options), std::move(handler), testing::PlainRefusal).value();
      port = server->port();
      replicas_.push_back(std::move(server));
    });
    return port;
  }
  std::uint16_t Echo(const std::string& name) {
    return Serve([name](const Request& request, const Responder& respond) {
      std::string text = name + " " + std::string(request.method) + " " + std::string(request.target);
      for (const auto& [field, value] : request.headers) text.append(" ").append(field).append("=").append(value);
      respond({200, "text/plain", text + " " + std::string(request.body), {{"Retry-After", "3"}, {"X", "no"}}});
    });
  }
  Upstream::Options OptionsFor(const std::vector<std::uint16_t>& ports, const std::string& host = "127.0.0.1") {
    Upstream::Options options;
    for (const auto port : ports) options.targets.push_back({host, port});
    options.server_name = "gateway.example";
    options.trust = [this] { return base::Result<std::shared_ptr<const crypto::TlsTrust>>(trust_); };
    return options;
  }
  void Create(Upstream::Options options) {
    OnLoop([&] { upstream_ = Upstream::Create(*reactor_, base::SystemClock(), resolver_, std::move(options)); });
  }
  Upstream::Outcome Send(UpstreamRequest request, Upstream::Attempt attempt = {}) {
    return SendLater(std::move(request), std::move(attempt)).get();
  }
  std::future<Upstream::Outcome> SendLater(UpstreamRequest request, Upstream::Attempt attempt = {}) {
    auto promise = std::make_shared<std::promise<Upstream::Outcome>>();
    attempt.request = std::make_shared<const UpstreamRequest>(std::move(request));
    OnLoop([&] {
      upstream_->Send(std::move(attempt),
                      [promise](Upstream::Outcome outcome) { promise->set_value(std::move(outcome)); });
    });
    return promise->get_future();
  }
  std::size_t Connections() {
    std::size_t count = 0;
    OnLoop([&] { count = upstream_->connections(); });
    return count;
  }
  /// Is there an endpoint that has not failed lately?
  bool Offers() {
    bool offers = false;
    OnLoop([&] { offers = upstream_->HasOther({}); });
    return offers;
  }
  static UpstreamRequest Post(std::string body) {
    return {"POST", "/v1/sign?x=y", "Idempotency-Key: k\r\n", std::move(body)};
  }

  crypto::CertificateAndKey certificate_ = NewCertificate();
  std::shared_ptr<const crypto::TlsContext> context_;
  std::shared_ptr<const crypto::TlsTrust> trust_;
  ListResolver resolver_{*reactor_};
  std::vector<std::unique_ptr<Server>> replicas_;
  std::unique_ptr<Upstream> upstream_;
};

TEST_F(UpstreamTest, CarriesARequestAndItsAnswer) {
  Create(OptionsFor({Echo("one")}));
  Upstream::Attempt attempt;
  attempt.credentials = std::make_shared<const std::string>("Authorization: Bearer t\r\n");
  const auto outcome = Send(Post("body"), attempt);
  ASSERT_THAT(outcome.response, IsOk());
  EXPECT_EQ(outcome.response->status, 200);
  EXPECT_EQ(outcome.response->body, "one POST /v1/sign authorization=Bearer t idempotency-key=k body");
  EXPECT_EQ(outcome.response->headers.size(), 1U) << "what is wanted alone";
  EXPECT_TRUE(outcome.sent);
  EXPECT_NE(outcome.endpoint, 0U);
  EXPECT_THAT(Send({}).response->body, HasSubstr("one GET /"));
}

TEST_F(UpstreamTest, CarriesAMebibyteBothWays) {
  Create(OptionsFor({Echo("one")}));
  std::string body(1024 * 1024, 'x');
  for (int i = 0; i < 3; ++i) {
    const auto outcome = Send(Post(body));
    ASSERT_THAT(outcome.response, IsOk());
    EXPECT_TRUE(outcome.response->body.ends_with(body));
  }
}

TEST_F(UpstreamTest, KeepsItsConnections) {
  Create(OptionsFor({Echo("one")}));
  EXPECT_FALSE(Send({}).reused);
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(Send({}).reused);
  EXPECT_EQ(Connections(), 1U);
}

TEST_F(UpstreamTest, BoundsItsConnectionsAndServesWhoWaits) {
  auto options = OptionsFor({Echo("one")});
  options.connections = 2;
  Create(std::move(options));
  std::vector<std::future<Upstream::Outcome>> all;
  for (int i = 0; i < 50; ++i) all.push_back(SendLater(Post(std::to_string(i))));
  for (int i = 0; i < 50; ++i) {
    const auto outcome = all[static_cast<std::size_t>(i)].get();
    ASSERT_THAT(outcome.response, IsOk());
    EXPECT_TRUE(outcome.response->body.ends_with(" " + std::to_string(i)));
  }
  EXPECT_LE(Connections(), 2U);
}

TEST_F(UpstreamTest, ClosesWhatIsIdle) {
  auto options = OptionsFor({Echo("one")});
  options.idle_time = milliseconds(20);
  Create(std::move(options));
  EXPECT_THAT(Send({}).response, IsOk());
  const auto end = base::SystemClock().Steady() + std::chrono::seconds(10);
  while (Connections() > 0 && base::SystemClock().Steady() < end) std::this_thread::yield();
  EXPECT_EQ(Connections(), 0U);
}

TEST_F(UpstreamTest, NoticesThatTheServerClosedAnIdleConnection) {
  Limits limits;
  limits.idle_time = milliseconds(500);  // from the handshake on: the request has to come before
  Create(OptionsFor({Serve([](const Request&, const Responder& respond) { respond({}); }, "127.0.0.1:0", limits)}));
  EXPECT_THAT(Send({}).response, IsOk());
  const auto end = base::SystemClock().Steady() + std::chrono::seconds(10);
  while (Connections() > 0 && base::SystemClock().Steady() < end) std::this_thread::yield();
  EXPECT_EQ(Connections(), 0U);
  EXPECT_THAT(Send({}).response, IsOk());
}

TEST_F(UpstreamTest, SaysThatNobodyListens) {
  const std::uint16_t port = Echo("one");
  OnLoop([this] { replicas_.clear(); });
  Create(OptionsFor({port}));
  const auto outcome = Send(Post("x"));
  EXPECT_THAT(outcome.response, IsErr(Code::kUnavailable, "ConnectionFailed"));
  EXPECT_FALSE(outcome.sent);
}

TEST_F(UpstreamTest, SaysThatAnAnswerIsLate) {
  std::deque<Responder> held;
  Create(OptionsFor({Serve([&](const Request& request, Responder respond) {
    if (request.method == "GET") return respond({});
    held.push_back(std::move(respond));
  })}));
  ASSERT_THAT(Send({}).response, IsOk());  // the time of the next is for its answer, not for a handshake
  Upstream::Attempt attempt;
  attempt.timeout = milliseconds(500);
  attempt.cut_short = true;
  EXPECT_THAT(Send(Post("x"), attempt).response, IsErr(Code::kDeadlineExceeded, "AttemptTimeout"));
  EXPECT_TRUE(Offers()) << "the caller had no more time: not the endpoint's fault";
  ASSERT_THAT(Send({}).response, IsOk());
  attempt.cut_short = false;
  const auto outcome = Send(Post("x"), attempt);
  EXPECT_TRUE(outcome.reused);
  EXPECT_THAT(outcome.response, IsErr(Code::kDeadlineExceeded, "AttemptTimeout"));
  EXPECT_TRUE(outcome.sent);
  EXPECT_EQ(Connections(), 0U) << "its answer would be taken for another's";
  OnLoop([&] { held.clear(); });
}

TEST_F(UpstreamTest, GivesUpOnAConnectionThatDoesNotOpen) {
  auto silent = Listener::Tcp("127.0.0.1:0", false).value();  // the kernel accepts, nobody speaks
  auto options = OptionsFor({silent.port()});
  options.connect_time = milliseconds(50);
  Create(std::move(options));
  const auto outcome = Send(Post("x"));
  EXPECT_THAT(outcome.response, IsErr(Code::kUnavailable, "ConnectionFailed"));
  EXPECT_FALSE(outcome.sent);
}

TEST_F(UpstreamTest, SpeaksToNobodyElse) {
  Create(OptionsFor({Echo("one")}));
  trust_ = crypto::TlsTrust::Create(NewCertificate().certificate_pem).value();
  const auto outcome = Send(Post("secret"));
  EXPECT_THAT(outcome.response, IsErr(Code::kUnavailable, "CertificateRefused"));
  EXPECT_FALSE(outcome.sent);
  auto options = OptionsFor({Echo("two")});
  options.server_name = "other.example";
  trust_ = crypto::TlsTrust::Create(certificate_.certificate_pem).value();
  Create(std::move(options));
  EXPECT_THAT(Send(Post("secret")).response, IsErr(Code::kUnavailable, "CertificateRefused"));
}

TEST_F(UpstreamTest, FailsWithoutTrust) {
  auto options = OptionsFor({Echo("one")});
  options.trust = []() -> base::Result<std::shared_ptr<const crypto::TlsTrust>> {
    return base::MakeError(Code::kUnavailable, "TrustUnreadable", "no file");
  };
  Create(std::move(options));
  EXPECT_THAT(Send({}).response, IsErr(Code::kUnavailable, "TrustUnreadable"));
}

TEST_F(UpstreamTest, DoesNotComeBackWithATicketThatOlderTrustGave) {
  Create(OptionsFor({Echo("one")}));
  EXPECT_THAT(Send({}).response, IsOk());
  trust_ = crypto::TlsTrust::Create(NewCertificate().certificate_pem).value();
  Upstream::Attempt fresh;
  fresh.proven_since = base::SystemClock().Steady();
  EXPECT_THAT(Send({}, fresh).response, IsErr(Code::kUnavailable, "CertificateRefused"));
}

TEST_F(UpstreamTest, PrefersOthersToThoseTried) {
  Create(OptionsFor({Echo("one"), Echo("two")}));
  for (int i = 0; i < 10; ++i) {
    const auto first = Send({});
    Upstream::Attempt second;
    second.tried = {first.endpoint};
    EXPECT_NE(Send({}, second).endpoint, first.endpoint);
  }
}

TEST_F(UpstreamTest, PassesFailingEndpointsOver) {
  const std::uint16_t gone = Echo("gone");
  OnLoop([this] { replicas_.clear(); });
  Create(OptionsFor({gone, Echo("one")}));
  int failed = 0;
  for (int i = 0; i < 5; ++i) failed += Send({}).response.has_value() ? 0 : 1;
  EXPECT_LE(failed, 1);
}

TEST_F(UpstreamTest, SpreadsItsLoadAndKeepsToAnAffinity) {
  Create(OptionsFor({Echo("one"), Echo("two"), Echo("three")}));
  std::set<Upstream::EndpointId> used;
  for (int i = 0; i < 9; ++i) used.insert(Send({}).endpoint);
  EXPECT_EQ(used.size(), 3U);
  used.clear();
  std::set<Upstream::EndpointId> all;
  for (std::uint64_t number = 1; number <= 32; ++number) {
    Upstream::Attempt attempt;
    attempt.affinity = number * 7919;
    used.clear();
    for (int i = 0; i < 3; ++i) used.insert(Send({}, attempt).endpoint);
    EXPECT_EQ(used.size(), 1U);
    all.insert(used.begin(), used.end());
  }
  EXPECT_EQ(all.size(), 3U);
}

TEST_F(UpstreamTest, OpensAnotherConnectionWhereTheIdleOnesAreNotProven) {
  Create(OptionsFor({Echo("one")}));
  EXPECT_THAT(Send({}).response, IsOk());
  Upstream::Attempt attempt;
  attempt.proven_since = base::SystemClock().Steady();
  EXPECT_FALSE(Send({}, attempt).reused);
  EXPECT_TRUE(Send({}, attempt).reused) << "that one has answered since";
}

TEST_F(UpstreamTest, AsksAnotherConnectionAfterOneThatCannotServe) {
  Create(OptionsFor({Serve([](const Request&, const Responder& respond) { respond({503, "text/plain", "", {}}); })}));
  EXPECT_EQ(Send({}).response->status, 503);
  EXPECT_EQ(Connections(), 0U);
}

TEST_F(UpstreamTest, EveryAddressOfANameIsAnEndpoint) {
  const std::uint16_t port = Echo("one");
  Serve(
      [](const Request&, const Responder& respond) {
        respond({200, "text/plain", "two", {}});
      },
      "127.0.0.2:" + std::to_string(port));
  resolver_.answer = {"127.0.0.1", "127.0.0.2"};
  auto options = OptionsFor({port}, "gateway.example");
  options.server_name.clear();  // the name itself is in the certificate
  options.refresh = milliseconds(20);
  Create(std::move(options));
  std::set<std::string> bodies;
  const auto end = base::SystemClock().Steady() + std::chrono::seconds(10);
  while (bodies.size() < 2 && base::SystemClock().Steady() < end) {
    if (const auto outcome = Send({}); outcome.response) bodies.insert(outcome.response->body.substr(0, 3));
  }
  EXPECT_EQ(bodies, (std::set<std::string>{"one", "two"}));
  OnLoop([this] { resolver_.answer = {"127.0.0.2"}; });
  const auto only_two = [this] {
    std::size_t count = 0;
    OnLoop([&] { count = upstream_->endpoints(); });
    return count == 1;
  };
  while (!only_two() && base::SystemClock().Steady() < end) std::this_thread::yield();
  for (int i = 0; i < 5; ++i) {
    const auto outcome = Send({});
    ASSERT_THAT(outcome.response, IsOk());
    EXPECT_EQ(outcome.response->body, "two");
  }
  OnLoop([this] { resolver_.answer.clear(); });  // what cannot be looked up stays as it was
  const int asked = resolver_.asked;
  while (resolver_.asked < asked + 2) std::this_thread::yield();
  EXPECT_EQ(Send({}).response->body, "two");
}

TEST_F(UpstreamTest, UsesSeveralPortsOfOneName) {
  resolver_.answer = {"127.0.0.1"};
  Create(OptionsFor({Echo("one"), Echo("two")}, "gateway.example"));
  std::set<std::string> bodies;
  const auto end = base::SystemClock().Steady() + std::chrono::seconds(10);
  while (bodies.size() < 2 && base::SystemClock().Steady() < end) {
    if (const auto outcome = Send({}); outcome.response) bodies.insert(outcome.response->body.substr(0, 3));
  }
  EXPECT_EQ(bodies, (std::set<std::string>{"one", "two"}));
}

TEST_F(UpstreamTest, FailsWhileANameHasNoAddress) {
  Create(OptionsFor({443}, "gateway.example"));
  EXPECT_THAT(Send({}).response, IsErr(Code::kUnavailable, "NameNotResolved"));
}

TEST_F(UpstreamTest, MayGoWithAttemptsUnderWay) {
  std::deque<Responder> held;
  Create(OptionsFor({Serve([&](const Request&, Responder respond) { held.push_back(std::move(respond)); })}));
  std::atomic<int> called = 0;
  OnLoop([&] {
    for (int i = 0; i < 100; ++i) {  // more than there are connections for
      Upstream::Attempt attempt;
      attempt.request = std::make_shared<const UpstreamRequest>();
      upstream_->Send(std::move(attempt), [&](const Upstream::Outcome&) { ++called; });
    }
  });
  OnLoop([&] { upstream_.reset(); });
  EXPECT_EQ(called, 0);
  OnLoop([&] { held.clear(); });
}

}  // namespace
}  // namespace signet::http
