#include "frontend/gateway_watch.hpp"

#include <nlohmann/json.hpp>
#include <utility>

#include "encoding/json.hpp"
#include "obs/log.hpp"

namespace signet::frontend {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kAskEvery{2'000};
constexpr milliseconds kAskAgain{500};  // until the first contact
constexpr milliseconds kPodEvery{3'000};
constexpr milliseconds kAuthoritiesEvery{60'000};
constexpr milliseconds kAuthoritiesAgain{5'000};  // after no answer

/// 3/4 to 5/4 of it: sidecars that started together do not ask together.
milliseconds Jittered(milliseconds pause, std::mt19937& random) {
  std::uniform_real_distribution<double> around(0.75, 1.25);
  return milliseconds(static_cast<std::int64_t>(static_cast<double>(pause.count()) * around(random)));
}

}  // namespace

GatewayContact::GatewayContact(GatewayClient& client, base::Reactor& reactor, bool strict)
    : client_(client), reactor_(reactor), strict_(strict) {
  After(milliseconds(0));
}

GatewayContact::~GatewayContact() { reactor_.Cancel(timer_); }

void GatewayContact::After(milliseconds pause) {
  timer_ = reactor_.After(Jittered(pause, random_), [this] { Ask(); });
}

/// First who we are, by a request that needs the token; then, if strict, whether it can sign.
void GatewayContact::Ask() {
  const auto& state = client_.state();
  if (strict_ ? state.authenticated : state.authenticated_once) return strict_ ? AskIfReady() : void();
  GatewayClient::Call call;
  call.request.target = "/v1/keys";
  call.once = true;
  client_.Send(std::move(call), [this, alive = std::weak_ptr<int>(alive_)](const GatewayClient::Outcome& outcome) {
    if (alive.expired()) return;
    After(outcome.response && outcome.response->status == 200 ? milliseconds(0) : kAskAgain);
  });
}

void GatewayContact::AskIfReady() {
  GatewayClient::Call call;
  call.request.target = "/readyz";
  call.once = true;
  call.anonymous = true;
  client_.Send(std::move(call), [this, alive = std::weak_ptr<int>(alive_)](const GatewayClient::Outcome& outcome) {
    if (alive.expired()) return;
    gateway_ready_ = outcome.response && outcome.response->status == 200;
    After(kAskEvery);
  });
}

Check GatewayContact::State() const {
  const auto& state = client_.state();
  const bool ready = strict_ ? state.authenticated && gateway_ready_ : state.authenticated_once;
  if (ready && (strict_ || state.problem.message.empty())) return {"gateway", true, {}, {}};
  Check check{"gateway", ready, "GatewayUnavailable", "the gateway has not answered yet"};
  if (!state.problem.message.empty()) {
    check.reason = state.problem.reason;
    check.message = state.problem.message;
  }
  return check;
}

PodWatch::PodWatch(GatewayClient& client, base::Reactor& reactor, std::string container,
                   std::function<void()> others_ended)
    : client_(client), reactor_(reactor), container_(std::move(container)), others_ended_(std::move(others_ended)) {
  After();
}

PodWatch::~PodWatch() { reactor_.Cancel(timer_); }

void PodWatch::After() {
  timer_ = reactor_.After(Jittered(kPodEvery, random_), [this] { Ask(); });
}

void PodWatch::Ask() {
  GatewayClient::Call call;
  call.request.target = "/v1/pod";
  call.request.fields = "Signet-Container: " + container_ + "\r\n";
  call.once = true;
  client_.Send(std::move(call), [this, alive = std::weak_ptr<int>(alive_)](const GatewayClient::Outcome& outcome) {
    if (alive.expired()) return;
    if (outcome.response && outcome.response->status == 200) {
      const auto pod = encoding::ParseJson(outcome.response->body);
      if (pod && pod->is_object() && pod->contains("othersEnded") && pod->at("othersEnded") == true) {
        return others_ended_();
      }
    }
    After();
  });
}

AuthorityWatch::AuthorityWatch(GatewayClient& client, base::Reactor& reactor, GatewayCredentials& credentials)
    : client_(client), reactor_(reactor), credentials_(credentials) {
  After(kAskAgain);
}

AuthorityWatch::~AuthorityWatch() { reactor_.Cancel(timer_); }

void AuthorityWatch::After(milliseconds pause) {
  timer_ = reactor_.After(Jittered(pause, random_), [this] { Ask(); });
}

void AuthorityWatch::Ask() {
  GatewayClient::Call call;
  call.request.target = "/v1/authorities";
  call.once = true;
  call.anonymous = true;
  client_.Send(std::move(call), [this, alive = std::weak_ptr<int>(alive_)](const GatewayClient::Outcome& outcome) {
    if (alive.expired()) return;
    // A gateway of an older version does not know the question.
    const bool answered = outcome.response && (outcome.response->status == 200 || outcome.response->status == 404);
    if (answered && outcome.response->status == 200) {
      const auto body = encoding::ParseJson(outcome.response->body);
      const bool whole =
          body && body->is_object() && body->contains("certificates") && body->at("certificates").is_string();
      const auto taken = whole ? credentials_.Announce(body->at("certificates").get_ref<const std::string&>())
                               : base::Status(base::MakeError(base::Code::kUnavailable, "no certificates"));
      if (!taken)
        obs::Warn("what the gateway announced as its CA cannot be used", {{"error", base::Describe(taken.error())}});
    }
    After(answered ? kAuthoritiesEvery : kAuthoritiesAgain);
  });
}

}  // namespace signet::frontend
