#include "frontend/forwarder.hpp"

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "crypto/digest.hpp"
#include "encoding/text.hpp"
#include "frontend/problem.hpp"
#include "frontend/request_use.hpp"
#include "frontend/routes.hpp"

namespace signet::frontend {
namespace {

constexpr std::size_t kOverhead = 1024;  // of a request that waits, beside its own octets
constexpr std::size_t kRandomKey = 16;
constexpr std::size_t kKeysDrawn = 64;        // at once
constexpr std::string_view kPod = "/v1/pod";  // the sidecar's own questions
constexpr std::string_view kAuthorities = "/v1/authorities";

/// What our gateway answers with. Anything else comes from a stranger, or from something between us.
bool IsOurs(const http::Response& response) {
  const std::string_view type = std::string_view(response.content_type).substr(0, response.content_type.find(';'));
  if (response.status >= 400) return type == kProblemMediaType;
  return response.status == 200 && (type == "application/json" || type == "application/x-pem-file");
}

}  // namespace

class Forwarder::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(Options options, Dependencies given)
      : options_(options), client_(*given.client), clock_(*given.clock), readiness_(std::move(given.readiness)) {}

  void Handle(const http::Request& request, http::Responder respond) {
    const std::size_t route = FindRoute(request.target);
    const bool known = route < Routes().size() && Routes()[route].path != kPod && Routes()[route].path != kAuthorities;
    const std::string_view path = known ? Routes()[route].path : "other";
    http::Responder counted = [self = shared_from_this(), path, start = clock_.Steady(),
                               respond = std::move(respond)](http::Response response) {
      self->metrics_.Count(path, response.status, self->clock_.Steady() - start);
      respond(std::move(response));
    };
    if (!known) return counted(ToResponse(MakeProblem("NotFound")));
    const std::string_view method = request.method == "HEAD" ? "GET" : request.method;
    if (method != Routes()[route].method) {
      auto refused = ToResponse(MakeProblem("MethodNotAllowed"));
      refused.headers.emplace_back("Allow", Routes()[route].method == "GET" ? "GET, HEAD" : "POST");
      return counted(std::move(refused));
    }
    if (path == "/healthz") {
      http::Response response;
      response.body = R"({"status":"ok"})";
      return counted(std::move(response));
    }
    if (path == "/readyz") return counted(ReadinessResponse(readiness_()));
    if (method == "POST") return Post(path == "/v1/sign/batch", request, std::move(counted));
    Get(request, std::move(counted));
  }

  std::size_t in_flight_ = 0;
  std::size_t held_ = 0;

 private:
  void Post(bool batch, const http::Request& request, http::Responder respond) {
    if (request.content_type != "application/json") return respond(ToResponse(MakeProblem("UnsupportedMediaType")));
    if (request.body.size() > (batch ? options_.batch_body_bytes : options_.sign_body_bytes)) {
      return respond(ToResponse(MakeProblem("TooLarge")));
    }
    const auto key = IdempotencyKey(request);
    if (!key) return respond(ToResponse(FromError(key.error())));
    GatewayClient::Call call;
    call.request.method = "POST";
    call.request.body = request.body;
    call.request.fields = "Content-Type: application/json\r\nIdempotency-Key: ";
    std::string sent_key;
    if (*key) {
      sent_key = **key;
      call.affinity = std::hash<std::string>{}(sent_key) | 1U;  // who asks again asks where the answer is remembered
    } else {
      sent_key = RandomKey();
    }
    call.request.fields.append(sent_key).append("\r\n");
    Forward(request, std::move(call), std::move(sent_key), std::move(respond));
  }

  std::string RandomKey() {
    if (random_.empty()) random_ = crypto::RandomBytes(kRandomKey * kKeysDrawn);
    const std::size_t rest = random_.size() - kRandomKey;
    std::string key = encoding::ToHex(base::ByteView(random_).subspan(rest));
    random_.resize(rest);
    return key;
  }

  void Get(const http::Request& request, http::Responder respond) {
    GatewayClient::Call call;
    if (const auto accept = http::FindHeader(request, "accept")) {
      call.request.fields.append("Accept: ").append(*accept).append("\r\n");
    }
    Forward(request, std::move(call), {}, std::move(respond));
  }

  void Forward(const http::Request& request, GatewayClient::Call call, std::string key, http::Responder respond) {
    call.request.target = request.target;
    if (!request.query.empty()) call.request.target.append("?").append(request.query);
    call.client = request.client;
    const std::size_t size =
        call.request.body.size() + call.request.fields.size() + call.request.target.size() + kOverhead;
    if (in_flight_ >= options_.in_flight || held_ + size > options_.held_bytes) {
      return respond(ToResponse(MakeProblem("Busy", "too many requests wait for the gateway: ask again shortly")));
    }
    ++in_flight_;
    held_ += size;
    client_.Send(std::move(call), [self = shared_from_this(), size, key = std::move(key),
                                   respond = std::move(respond)](GatewayClient::Outcome outcome) {
      --self->in_flight_;
      self->held_ -= size;
      respond(self->ToAnswer(std::move(outcome), key));
    });
  }

  [[nodiscard]] http::Response ToAnswer(GatewayClient::Outcome outcome, const std::string& key) const {
    if (outcome.response && outcome.response->status == 401) {
      return ToResponse(MakeProblem("Unauthenticated",
                                    "the gateway does not accept this pod's token: its audience must be the gateway's, "
                                    "and the pod must be alive; the sidecar's log says more"));
    }
    if (outcome.response && IsOurs(*outcome.response)) return AsIs(std::move(*outcome.response));
    std::string detail = "no replica of the gateway answered in time: ask again shortly";
    if (outcome.response) {
      detail = "what answers at the gateway's address is no Signet gateway (status " +
               std::to_string(outcome.response->status) + "): see to its address, or ask again shortly";
    } else if (outcome.error.reason == "TokenMissing") {
      detail = "the sidecar has no token to show to the gateway: see to its token file, or ask again shortly";
    }
    if (outcome.sent && !key.empty()) {
      detail += "; a replica may have signed: its record then has the idempotency key " + key;
    }
    return ToResponse(MakeProblem("GatewayUnavailable", detail));
  }

  /// 429 and 503 always say when to ask again.
  static http::Response AsIs(http::Response response) {
    if ((response.status == 429 || response.status == 503) && !RetryAfter(response)) {
      std::erase_if(response.headers, [](const auto& header) { return header.first == "Retry-After"; });
      response.headers.emplace_back("Retry-After", "1");
    }
    return response;
  }

  const Options options_;
  GatewayClient& client_;
  const base::Clock& clock_;
  const Readiness readiness_;
  base::Bytes random_;  ///< of keys that are yet to be given
  RouteMetrics metrics_;
};

Forwarder::Forwarder(Options options, Dependencies dependencies)
    : impl_(std::make_shared<Impl>(options, std::move(dependencies))) {}
Forwarder::~Forwarder() = default;

http::Handler Forwarder::handler() const {
  return [impl = impl_](const http::Request& request, http::Responder respond) {
    impl->Handle(request, std::move(respond));
  };
}
std::size_t Forwarder::in_flight() const { return impl_->in_flight_; }
std::size_t Forwarder::held_bytes() const { return impl_->held_; }

}  // namespace signet::frontend
