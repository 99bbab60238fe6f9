// frontend/gateway_client.hpp - asks the gateway, over all its replicas, until it has an answer or the time is up.
//
// What happens to a request:
//   refused, reset, closed before the answer   at once to another replica; where there is none, again after a pause
//   no answer within attempt_timeout           at once to another replica, or on a connection that is known to live
//   502, 503, 504, an answer that is none      at once to another replica; else again after Retry-After with jitter
//   401                                        the token is read again and shown once more
//   everything else                            is the answer
// all within max_wait. Requests that sign carry one Idempotency-Key over all attempts: a replica that has signed for it
// answers with the same signature (a second attempt there joins the first), and where another one signs again, both
// records carry the key. That is what makes it safe to repeat a 504 (OutcomeUnknown), too; it is repeated once.
//
// Ownership:     borrows everything it is given; requests under way when it goes end unheard.
// Thread-safety: reactor thread.
// Blocking:      never.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.hpp"
#include "base/reactor.hpp"
#include "base/result.hpp"
#include "frontend/gateway_credentials.hpp"
#include "http/server.hpp"
#include "http/upstream.hpp"

namespace signet::frontend {

class GatewayClient {
 public:
  struct Options {
    std::chrono::milliseconds attempt_timeout{2'000};
    std::chrono::milliseconds max_wait{10'000};
  };
  struct Dependencies {
    base::Reactor* reactor = nullptr;
    const base::Clock* clock = nullptr;
    http::Upstream* upstream = nullptr;
    GatewayCredentials* credentials = nullptr;
  };
  struct Call {
    http::UpstreamRequest request;  ///< without credentials
    std::uint64_t affinity = 0;     ///< http::Upstream::Attempt
    bool once = false;              ///< one attempt: for probes, which come again anyway
    bool anonymous = false;         ///< without the token: an answer says nothing about who we are
    /// Nobody waits any more: looked at before each further attempt.
    std::optional<std::weak_ptr<const http::ClientLink>> client;
  };
  struct Outcome {
    std::optional<http::Response> response;  ///< the gateway's answer; a 5xx after all attempts
    base::Error error;                       ///< without one: why the last attempt failed
    bool sent = false;                       ///< an attempt without answer may have reached a replica
  };
  using Done = std::function<void(Outcome)>;

  GatewayClient(Options options, Dependencies dependencies);
  ~GatewayClient();
  GatewayClient(const GatewayClient&) = delete;
  GatewayClient& operator=(const GatewayClient&) = delete;

  /// `done` is called once, from the loop, never from inside Send.
  void Send(Call call, Done done);

  struct State {
    bool authenticated_once = false;  ///< a replica has answered us and accepted the token
    bool authenticated = false;       ///< the last answer did
    base::Error problem;              ///< of the last attempt; an empty message: it had an answer
  };
  [[nodiscard]] const State& state() const;
  [[nodiscard]] const Options& options() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

/// Retry-After in whole seconds; nothing when absent or a date.
std::optional<std::chrono::seconds> RetryAfter(const http::Response& response);

}  // namespace signet::frontend
