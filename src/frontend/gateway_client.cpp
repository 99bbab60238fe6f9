#include "frontend/gateway_client.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <random>
#include <unordered_map>
#include <utility>

#include "obs/log.hpp"
#include "obs/metrics.hpp"

namespace signet::frontend {
namespace {

using base::Code;
using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{50};
constexpr milliseconds kLongestPause{1'000};
constexpr std::chrono::seconds kWarnEvery{10};
constexpr milliseconds kLeast{1};  // of an attempt's time

bool IsTransient(int status) { return status == 502 || status == 503 || status == 504; }

class ClientMetrics {
 public:
  void Attempted(std::string_view result, std::chrono::duration<double> time) {
    auto*& counter = attempts_[result];
    if (counter == nullptr) {
      counter = &obs::GetCounter("signet_upstream_attempts_total", "Attempts at a replica of the gateway, by result.",
                                 {{"result", result}});
    }
    counter->Add();
    duration_.Observe(time.count());
  }
  obs::Counter& failovers =
      obs::GetCounter("signet_upstream_failovers_total", "Attempts made at once after one that failed.");
  obs::Counter& retries = obs::GetCounter("signet_upstream_retries_total", "Attempts made after a pause.");
  obs::Counter& given_up = obs::GetCounter("signet_upstream_given_up_total", "Requests without an answer in time.");

 private:
  std::unordered_map<std::string_view, obs::Counter*> attempts_;  // the keys are literals
  obs::Histogram& duration_ =
      obs::GetHistogram("signet_upstream_attempt_seconds", "From the start of an attempt to its end.");
};

std::string_view ResultOf(const http::Upstream::Outcome& outcome) {
  if (outcome.response) {
    if (outcome.response->status == 401) return "unauthenticated";
    return outcome.response->status >= 500 ? "error" : outcome.response->status >= 400 ? "refused" : "ok";
  }
  const base::Error& error = outcome.response.error();
  if (error.code == Code::kDeadlineExceeded) return "timeout";
  return error.reason == "ConnectionLost" ? "lost" : error.code == Code::kInternal ? "garbage" : "unreachable";
}

}  // namespace

std::optional<std::chrono::seconds> RetryAfter(const http::Response& response) {
  for (const auto& [name, value] : response.headers) {
    if (name != "Retry-After") continue;
    std::uint32_t seconds = 0;
    const char* const end = value.data() + value.size();
    const auto parsed = std::from_chars(value.data(), end, seconds);
    if (parsed.ec == std::errc{} && parsed.ptr == end) return std::chrono::seconds(seconds);
  }
  return {};
}

class GatewayClient::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(Options options, const Dependencies& given)
      : options_(options),
        reactor_(*given.reactor),
        clock_(*given.clock),
        upstream_(*given.upstream),
        credentials_(*given.credentials),
        random_(std::random_device{}()) {}

  /// One request over all its attempts.
  struct Exchange {
    std::shared_ptr<const http::UpstreamRequest> request;
    Call call;  ///< its request has moved out
    Done done;
    base::SteadyPoint deadline{};
    base::SteadyPoint started{};  ///< the present attempt
    base::SteadyPoint proven_since{};
    std::vector<http::Upstream::EndpointId> tried;  ///< since the last pause
    std::optional<http::Response> transient;        ///< the last 5xx
    base::Error error;
    milliseconds pause = kFirstPause;
    bool cut_short = false;  ///< the present attempt, by the deadline
    bool sent = false, token_shown_again = false, lost_once = false, timed_out_there = false;
  };
  using ExchangePtr = std::shared_ptr<Exchange>;

  void Send(Call call, Done done) {
    auto exchange = std::make_shared<Exchange>();
    exchange->request = std::make_shared<const http::UpstreamRequest>(std::move(call.request));
    exchange->call = std::move(call);
    exchange->done = std::move(done);
    exchange->deadline = clock_.Steady() + options_.max_wait;
    Attempt(exchange);
  }

  const Options options_;
  State state_;

 private:
  void Attempt(const ExchangePtr& exchange) {
    Exchange& e = *exchange;
    e.started = clock_.Steady();
    auto authorization = e.call.anonymous ? base::Result<GatewayCredentials::Line>(GatewayCredentials::Line())
                                          : credentials_.Authorization();
    if (!authorization) {
      Note(authorization.error(), 0);
      e.error = std::move(authorization).error();
      return Pause(exchange, {});
    }
    const auto left = std::chrono::duration_cast<milliseconds>(e.deadline - e.started);
    http::Upstream::Attempt attempt;
    attempt.request = e.request;
    attempt.credentials = std::move(*authorization);
    attempt.timeout = std::max(std::min(left, options_.attempt_timeout), kLeast);
    // Most of its time is enough to tell: with --max-wait equal to --attempt-timeout even the first has a moment less.
    attempt.cut_short = e.cut_short = attempt.timeout < options_.attempt_timeout / 2;
    attempt.tried = e.tried;
    attempt.affinity = e.call.affinity;
    attempt.proven_since = e.proven_since;
    upstream_.Send(std::move(attempt), [weak = weak_from_this(), exchange](http::Upstream::Outcome outcome) {
      if (const auto self = weak.lock()) self->OnOutcome(exchange, std::move(outcome));
    });
  }

  void OnOutcome(const ExchangePtr& exchange, http::Upstream::Outcome outcome) {
    Exchange& e = *exchange;
    metrics_.Attempted(ResultOf(outcome), clock_.Steady() - e.started);
    if (outcome.response) return OnAnswer(exchange, outcome);
    const bool late = outcome.response.error().code == Code::kDeadlineExceeded;
    // What the attempts before it met says more than that the last one had no time left.
    if (!late || !e.cut_short || e.error.message.empty()) {
      Note(outcome.response.error(), outcome.endpoint);
      e.error = std::move(outcome.response).error();
    }
    e.tried.push_back(outcome.endpoint);
    if (outcome.sent) {
      e.sent = true;
      e.proven_since = e.started;  // what was idle before may be as dead as this one was
    }
    // The time of a hung attempt was pause enough. A connection may end between two requests without anything wrong.
    const bool at_once = late || (e.error.reason == "ConnectionLost" && !std::exchange(e.lost_once, true));
    if (at_once || upstream_.HasOther(e.tried)) return FailOver(exchange);
    Pause(exchange, {});
  }

  void OnAnswer(const ExchangePtr& exchange, http::Upstream::Outcome& outcome) {
    Exchange& e = *exchange;
    const int status = outcome.response->status;
    NoteAnswer(*outcome.response, outcome.endpoint, e.call.anonymous);
    if (status == 401 && !std::exchange(e.token_shown_again, true) && !e.call.once) {
      credentials_.ReadAgain();
      return FailOver(exchange);
    }
    const bool repeat = IsTransient(status) && (status != 504 || !std::exchange(e.timed_out_there, true));
    e.transient = std::move(*outcome.response);
    if (!repeat) return Finish(exchange);
    e.tried.push_back(outcome.endpoint);
    if (upstream_.HasOther(e.tried)) return FailOver(exchange);
    Pause(exchange, RetryAfter(*e.transient));
  }

  void FailOver(const ExchangePtr& exchange) {
    if (!MayGoOn(*exchange, {})) return Finish(exchange);
    metrics_.failovers.Add();
    Attempt(exchange);
  }

  void Pause(const ExchangePtr& exchange, std::optional<std::chrono::seconds> retry_after) {
    Exchange& e = *exchange;
    std::uniform_real_distribution<double> half(0.5, 1.0);
    auto pause = milliseconds(static_cast<std::int64_t>(static_cast<double>(e.pause.count()) * half(random_)));
    e.pause = std::min(e.pause * 2, kLongestPause);
    if (retry_after) {  // never earlier than asked for, and not all at the same time
      const auto asked = std::chrono::duration_cast<milliseconds>(*retry_after);
      pause = asked + milliseconds(static_cast<std::int64_t>(static_cast<double>(asked.count()) * 0.2 * half(random_)));
      pause = std::max(pause, kFirstPause);
    }
    if (!MayGoOn(e, pause)) return FinishLater(exchange);
    if (e.tried.size() > 1) e.tried.erase(e.tried.begin(), e.tried.end() - 1);  // others first, all again
    reactor_.After(pause, [weak = weak_from_this(), exchange] {
      const auto self = weak.lock();
      if (!self) return;
      if (!self->MayGoOn(*exchange, {})) return self->Finish(exchange);
      self->metrics_.retries.Add();
      self->Attempt(exchange);
    });
  }

  [[nodiscard]] bool MayGoOn(const Exchange& e, milliseconds after) const {
    if (e.call.once || clock_.Steady() + after >= e.deadline) return false;
    if (!e.call.client) return true;
    const auto client = e.call.client->lock();
    return client && !client->gone();
  }

  /// Pause is reached from inside Send as well.
  void FinishLater(const ExchangePtr& exchange) {
    reactor_.Post([weak = weak_from_this(), exchange] {
      if (const auto self = weak.lock()) self->Finish(exchange);
    });
  }
  void Finish(const ExchangePtr& exchange) {
    Exchange& e = *exchange;
    if (!e.transient || IsTransient(e.transient->status)) metrics_.given_up.Add();
    e.done({std::move(e.transient), std::move(e.error), e.sent});
  }

  void NoteAnswer(const http::Response& response, http::Upstream::EndpointId endpoint, bool anonymous) {
    if (!state_.problem.message.empty() && response.status != 401 && !IsTransient(response.status)) {
      obs::Info("the gateway answers again", {{"endpoint", upstream_.Describe(endpoint)}});
    }
    if (response.status == 401) {
      state_.authenticated = false;
      return Note(base::MakeError(Code::kUnauthenticated, "Unauthenticated", "the gateway does not accept the token"),
                  endpoint);
    }
    if (IsTransient(response.status)) {
      return Note(base::MakeError(Code::kUnavailable, "GatewayNotReady",
                                  "the gateway answers with status " + std::to_string(response.status)),
                  endpoint);
    }
    state_.problem = {};
    // 429 and what is wrong in a request is said after the token has been looked at, or before: only 200 proves it.
    if (response.status != 200 || state_.authenticated || anonymous) return;
    state_.authenticated = true;
    if (!std::exchange(state_.authenticated_once, true)) {
      obs::Info("the gateway accepts us", {{"endpoint", upstream_.Describe(endpoint)}});
    }
  }
  void Note(base::Error problem, http::Upstream::EndpointId endpoint) {
    const auto now = clock_.Steady();
    if (!warned_at_ || now - *warned_at_ >= kWarnEvery) {
      warned_at_ = now;
      obs::Warn("an attempt at the gateway failed",
                {{"endpoint", upstream_.Describe(endpoint)}, {"error", base::Describe(problem)}});
    }
    state_.problem = std::move(problem);
  }

  base::Reactor& reactor_;
  const base::Clock& clock_;
  http::Upstream& upstream_;
  GatewayCredentials& credentials_;
  std::mt19937 random_;  // for jitter only
  ClientMetrics metrics_;
  std::optional<base::SteadyPoint> warned_at_;
};

GatewayClient::GatewayClient(Options options, Dependencies dependencies)
    : impl_(std::make_shared<Impl>(options, dependencies)) {}
GatewayClient::~GatewayClient() = default;

void GatewayClient::Send(Call call, Done done) { impl_->Send(std::move(call), std::move(done)); }
const GatewayClient::State& GatewayClient::state() const { return impl_->state_; }
const GatewayClient::Options& GatewayClient::options() const { return impl_->options_; }

}  // namespace signet::frontend
