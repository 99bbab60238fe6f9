// http/upstream.hpp - an asynchronous HTTP/1.1 client over TLS: replicas of one service, keep-alive connections to
// each.
//
// Every address that a target's name resolves to is an endpoint with a pool of its own. One Send is one attempt at one
// endpoint: what to do after a failure is the caller's business (frontend/gateway_client.hpp). An endpoint that failed
// is passed over for 1 to 16 s while another is there. The connection that answered last is used first; a connection
// under way serves whoever waits first.
//
// Ownership:     borrows reactor and resolver; owns connections. Attempts under way when it goes end unheard.
// Thread-safety: reactor thread.
// Blocking:      never.
// Limits:        Options: connections an endpoint, octets of an answer, time to connect and of an attempt. A connection
//                costs about 30 KiB.
// Errors:        kUnavailable (ConnectionFailed, ConnectionLost, NameNotResolved, CertificateRefused, TrustUnreadable),
//                kDeadlineExceeded (AttemptTimeout), kInternal (BadAnswer): no answer came, the effect is unknown when
//                Outcome::sent.
// Sources:       RFC 9112 section 9 (connections), RFC 9110 section 9.2.2 (what may be sent again).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/reactor.hpp"
#include "base/result.hpp"
#include "crypto/tls_trust.hpp"
#include "http/resolver.hpp"
#include "http/response_parser.hpp"
#include "http/server.hpp"

namespace signet::http {

struct UpstreamTarget {
  std::string host;  ///< a name, or an address without brackets
  std::uint16_t port = 443;
};

struct UpstreamRequest {
  std::string method = "GET";
  std::string target = "/";  ///< percent-encoded
  std::string fields;        ///< whole lines, "Name: value\r\n" each; neither Host nor Content-Length
  std::string body;          ///< sent with its length unless the method is GET
};

class Upstream {
 public:
  using EndpointId = std::uint32_t;  ///< 0: none

  struct Options {
    std::vector<UpstreamTarget> targets;
    std::string server_name;  ///< what the certificates are to name; empty: the target's host
    /// Asked for every new connection. An error fails the attempt.
    std::function<base::Result<std::shared_ptr<const crypto::TlsTrust>>()> trust;
    std::size_t connections = 64;                  ///< an endpoint
    std::chrono::milliseconds connect_time{1000};  ///< TCP and TLS
    std::chrono::milliseconds idle_time{60'000};
    std::chrono::milliseconds refresh{30'000};  ///< names are looked up again; at most once a second when all fail
    ResponseParser::Limits limits;
    std::vector<std::string> wanted_headers = {"Retry-After", "Allow", "Idempotency-Replayed"};
  };

  struct Attempt {
    std::shared_ptr<const UpstreamRequest> request;
    std::shared_ptr<const std::string> credentials;  ///< more header lines, or null
    std::chrono::milliseconds timeout{2000};
    bool cut_short = false;         ///< the timeout is far less than an answer may take: not held against the endpoint
    std::vector<EndpointId> tried;  ///< others are preferred
    std::uint64_t affinity = 0;     ///< not 0: attempts with the same number prefer the same endpoint
    base::SteadyPoint proven_since{};  ///< only a connection that has answered, or was opened, after this
  };
  struct Outcome {
    base::Result<Response> response;
    EndpointId endpoint = 0;
    bool sent = false;    ///< the request, or a part of it, may have reached the endpoint
    bool reused = false;  ///< on a connection that had served before
  };
  using Done = std::function<void(Outcome)>;

  virtual ~Upstream() = default;
  static std::unique_ptr<Upstream> Create(base::Reactor& reactor, const base::Clock& clock, Resolver& resolver,
                                          Options options);

  /// `done` is called once, from the loop, never from inside Send.
  virtual void Send(Attempt attempt, Done done) = 0;
  /// Is there an endpoint that has not failed lately and is not among `tried`?
  [[nodiscard]] virtual bool HasOther(const std::vector<EndpointId>& tried) const = 0;
  [[nodiscard]] virtual std::size_t endpoints() const = 0;
  [[nodiscard]] virtual std::size_t connections() const = 0;
  /// "10.0.0.1:8443", for logs.
  [[nodiscard]] virtual std::string Describe(EndpointId endpoint) const = 0;
};

}  // namespace signet::http
