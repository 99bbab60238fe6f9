// tests/unit/frontend/gateway_fixture.hpp - a gateway client over replicas that a test plays itself, on a clock of its
// own.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <vector>

#include "fakes/fake_clock.hpp"
#include "fakes/manual_reactor.hpp"
#include "frontend/gateway_client.hpp"
#include "support/temp_folder.hpp"

namespace signet::testing {

/// Replicas 1 to `replicas`. Each attempt waits in `open` until the test answers it.
class FakeUpstream final : public http::Upstream {
 public:
  struct Open {
    Attempt attempt;
    Done done;
  };
  explicit FakeUpstream(base::Reactor& reactor) : reactor_(reactor) {}

  void Send(Attempt attempt, Done done) override {
    ++sent;
    keys.push_back(attempt.request->fields);
    open.push_back({std::move(attempt), std::move(done)});
  }
  [[nodiscard]] bool HasOther(const std::vector<EndpointId>& tried) const override {
    for (EndpointId id = 1; id <= replicas; ++id) {
      if (std::find(tried.begin(), tried.end(), id) == tried.end()) return true;
    }
    return false;
  }
  [[nodiscard]] std::size_t endpoints() const override { return replicas; }
  [[nodiscard]] std::size_t connections() const override { return 0; }
  [[nodiscard]] std::string Describe(EndpointId endpoint) const override { return std::to_string(endpoint); }

  /// Ends the oldest open attempt.
  void Answer(http::Response response, EndpointId endpoint = 1) {
    Finish({std::move(response), endpoint, true, false});
  }
  void Answer(int status, EndpointId endpoint = 1, std::string retry_after = {}) {
    http::Response response;
    response.status = status;
    response.content_type = status < 400 ? "application/json" : "application/problem+json";
    response.body = std::to_string(status);
    if (!retry_after.empty()) response.headers.emplace_back("Retry-After", retry_after);
    Answer(std::move(response), endpoint);
  }
  void Fail(base::Code code, std::string reason, bool was_sent, EndpointId endpoint = 1) {
    Finish({base::MakeError(code, std::move(reason), "as told"), endpoint, was_sent, false});
  }
  void Refuse(EndpointId endpoint = 1) { Fail(base::Code::kUnavailable, "ConnectionFailed", false, endpoint); }
  void Lose(EndpointId endpoint = 1) { Fail(base::Code::kUnavailable, "ConnectionLost", true, endpoint); }
  void TimeOut(EndpointId endpoint = 1) { Fail(base::Code::kDeadlineExceeded, "AttemptTimeout", true, endpoint); }

  EndpointId replicas = 1;
  std::deque<Open> open;
  int sent = 0;
  std::vector<std::string> keys;  ///< the fields of each attempt

 private:
  void Finish(Outcome outcome) {
    ASSERT_FALSE(open.empty()) << "no attempt is under way";
    Open oldest = std::move(open.front());
    open.pop_front();
    oldest.done(std::move(outcome));
  }
  base::Reactor& reactor_;
};

class GatewayFixture : public ::testing::Test {
 protected:
  GatewayFixture() { folder_.Write("token", "good\n"); }

  void Send(frontend::GatewayClient::Call call = {}) {
    client_.Send(std::move(call),
                 [this](frontend::GatewayClient::Outcome outcome) { outcomes_.push_back(std::move(outcome)); });
  }
  void Advance(std::chrono::milliseconds by) { reactor_.Advance(by); }

  TempFolder folder_;
  FakeClock clock_;
  ManualReactor reactor_{clock_};
  FakeUpstream upstream_{reactor_};
  frontend::GatewayCredentials credentials_{(folder_.path() / "token").string(), (folder_.path() / "ca").string(),
                                            clock_};
  frontend::GatewayClient client_{{}, {&reactor_, &clock_, &upstream_, &credentials_}};
  std::vector<frontend::GatewayClient::Outcome> outcomes_;
};

}  // namespace signet::testing
