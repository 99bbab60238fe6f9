#include "frontend/routes.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "crypto/digest.hpp"
#include "encoding/algorithm.hpp"
#include "frontend/answers.hpp"
#include "frontend/idempotency.hpp"
#include "frontend/problem.hpp"
#include "frontend/request_use.hpp"
#include "frontend/sign_body.hpp"

namespace signet::frontend {
namespace {

constexpr std::array kRoutes = {
    Route{"POST", "/v1/sign"},         Route{"POST", "/v1/sign/batch"}, Route{"GET", "/v1/keys"},
    Route{"GET", "/v1/keys/{policy}"}, Route{"GET", "/healthz"},        Route{"GET", "/readyz"},
};
constexpr std::size_t kOther = kRoutes.size();
constexpr std::string_view kKeyPrefix = "/v1/keys/";

std::string_view PathOf(std::size_t route) { return route < kRoutes.size() ? kRoutes.at(route).path : "other"; }

bool WantsJson(const http::Request& request) {
  const auto accept = http::FindHeader(request, "accept");
  return accept && accept->find("application/json") != std::string_view::npos;
}

}  // namespace

std::span<const Route> Routes() { return kRoutes; }

std::size_t FindRoute(std::string_view target) {
  if (target.starts_with(kKeyPrefix)) {
    const std::string_view policy = target.substr(kKeyPrefix.size());
    return policy.empty() || policy.find('/') != std::string_view::npos ? kOther : 3;
  }
  const auto* found = std::find_if(kRoutes.begin(), kRoutes.end(), [&](const Route& r) { return r.path == target; });
  return static_cast<std::size_t>(found - kRoutes.begin());
}

class SigningApi::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(Options options, Dependencies dependencies)
      : options_(options),
        service_(*dependencies.service),
        clock_(*dependencies.clock),
        authenticate_(std::move(dependencies.authenticate)),
        readiness_(std::move(dependencies.readiness)),
        answers_({options.idempotency_entries, options.idempotency_time}, clock_) {}

  void Handle(const http::Request& request, http::Responder respond) {
    const std::size_t route = FindRoute(request.target);
    http::Responder counted = [self = shared_from_this(), route, start = clock_.Steady(),
                               respond = std::move(respond)](http::Response response) {
      self->metrics_.Count(PathOf(route), response.status, self->clock_.Steady() - start);
      respond(std::move(response));
    };
    if (route == kOther) {
      return counted(ToResponse(MakeProblem("NotFound")));
    }
    const std::string_view method = request.method == "HEAD" ? "GET" : request.method;
    if (method != kRoutes.at(route).method) {
      auto refused = ToResponse(MakeProblem("MethodNotAllowed"));
      refused.headers.emplace_back("Allow", kRoutes.at(route).method == "GET" ? "GET, HEAD" : "POST");
      return counted(std::move(refused));
    }
    if (kRoutes.at(route).path == "/healthz") {
      http::Response response;
      response.body = R"({"status":"ok"})";
      return counted(std::move(response));
    }
    if (kRoutes.at(route).path == "/readyz") return counted(ReadinessResponse(readiness_()));

    auto caller = authenticate_(request);
    if (!caller) return counted(ToResponse(FromError(caller.error())));
    if (method == "POST") return Post(route, request, std::move(*caller), std::move(counted));
    if (route == 2) return counted(KeysResponse(service_.Visible(*caller)));
    Key(request, *caller, counted);
  }

 private:
  void Key(const http::Request& request, const signing::Caller& caller, const http::Responder& respond) {
    const auto policy = service_.Visible(caller, request.target.substr(kKeyPrefix.size()));
    if (!policy) return respond(ToResponse(MakeProblem("NotAllowed")));
    respond(KeyResponse(*policy, WantsJson(request)));
  }

  void Post(std::size_t route, const http::Request& request, signing::Caller caller, http::Responder respond) {
    if (request.content_type != "application/json") {
      return respond(ToResponse(MakeProblem("UnsupportedMediaType")));
    }
    const bool batch = route == 1;
    if (request.body.size() > (batch ? options_.batch_body_bytes : options_.sign_body_bytes)) {
      return respond(ToResponse(MakeProblem("TooLarge")));
    }
    auto key = IdempotencyKey(request);
    if (!key) return respond(ToResponse(FromError(key.error())));
    if (!batch) return Sign(request.body, *key, std::move(caller), std::move(respond));
    if (*key) {
      return respond(ToResponse(MakeProblem("Malformed", "Idempotency-Key: served on /v1/sign only, not for batches")));
    }
    Batch(request.body, std::move(caller), std::move(respond));
  }

  /// p1363 is for ECDSA. The algorithm is fixed here where the policy would choose it, so that no signature
  /// is made, recorded and then not given out.
  base::Status CheckEncoding(const signing::Caller& caller, SignBody& body) const {
    if (body.encoding == SignatureEncoding::kAsn1) return {};
    if (!body.call.algorithm) {
      const auto policy = service_.Visible(caller, body.call.policy);
      if (!policy || policy->compiled->policy().spec.algorithms.empty()) return {};  // refused by the service
      body.call.algorithm = policy->compiled->policy().spec.algorithms.front();
    }
    if (encoding::Info(*body.call.algorithm).key == encoding::KeyAlgorithm::kEcdsa) return {};
    return base::MakeError(base::Code::kInvalidArgument, "Malformed",
                           "encoding: p1363 is for ECDSA signatures: ask for asn1 or leave it out");
  }

  void Sign(std::string_view text, std::optional<std::string_view> key, signing::Caller caller,
            http::Responder respond) {
    auto body = ParseSignBody(text);
    if (!body) return respond(ToResponse(FromError(body.error())));
    if (const auto checked = CheckEncoding(caller, *body); !checked) {
      return respond(ToResponse(FromError(checked.error())));
    }
    if (key) {
      std::string name = IdempotencyCache::Key(caller.principal.username, body->call.policy, *key);
      switch (answers_.Begin(name, crypto::Sha256(base::AsBytes(text)), respond)) {
        case IdempotencyCache::Verdict::kAnswered:
          return;
        case IdempotencyCache::Verdict::kConflict:
          return respond(ToResponse(MakeProblem("IdempotencyConflict")));
        case IdempotencyCache::Verdict::kTooMany:
          return respond(ToResponse(MakeProblem("Busy", "too many requests wait for this idempotency key")));
        case IdempotencyCache::Verdict::kFirst:
          respond = [self = shared_from_this(), name = std::move(name),
                     respond = std::move(respond)](http::Response response) {
            self->answers_.Finish(name, response);
            respond(std::move(response));
          };
      }
    }
    service_.Sign(caller, std::move(body->call),
                  [respond = std::move(respond), encoding = body->encoding](signing::SigningService::Answer answer) {
                    respond(SignResponse(answer, encoding));
                  });
  }

  void Batch(std::string_view text, const signing::Caller& caller, http::Responder respond) {
    auto bodies = ParseBatchBody(text);
    if (!bodies) return respond(ToResponse(FromError(bodies.error())));
    std::vector<signing::SignCall> calls;
    std::vector<SignatureEncoding> encodings;
    calls.reserve(bodies->size());
    encodings.reserve(bodies->size());
    for (std::size_t i = 0; i < bodies->size(); ++i) {
      SignBody& body = (*bodies)[i];
      if (const auto checked = CheckEncoding(caller, body); !checked) {
        return respond(
            ToResponse(MakeProblem("Malformed", "items[" + std::to_string(i) + "]." + checked.error().message)));
      }
      calls.push_back(std::move(body.call));
      encodings.push_back(body.encoding);
    }
    service_.SignBatch(caller, std::move(calls),
                       [respond = std::move(respond),
                        encodings = std::move(encodings)](const std::vector<signing::SigningService::Answer>& answers) {
                         respond(BatchResponse(answers, encodings));
                       });
  }

  const Options options_;
  signing::SigningService& service_;
  const base::Clock& clock_;
  const Authenticate authenticate_;
  const Readiness readiness_;
  RouteMetrics metrics_;
  IdempotencyCache answers_;
};

SigningApi::SigningApi(Options options, Dependencies dependencies)
    : impl_(std::make_shared<Impl>(options, std::move(dependencies))) {}
SigningApi::~SigningApi() = default;

void SigningApi::Handle(const http::Request& request, http::Responder respond) {
  impl_->Handle(request, std::move(respond));
}

http::Handler SigningApi::handler() const {
  return [impl = impl_](const http::Request& request, http::Responder respond) {
    impl->Handle(request, std::move(respond));
  };
}

}  // namespace signet::frontend
