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
#include "obs/log.hpp"

namespace signet::frontend {
namespace {

constexpr std::array kRoutes = {
    Route{"POST", "/v1/sign"},         Route{"POST", "/v1/sign/batch"}, Route{"GET", "/v1/keys"},
    Route{"GET", "/v1/keys/{policy}"}, Route{"GET", "/v1/pod"},         Route{"GET", "/healthz"},
    Route{"GET", "/readyz"},           Route{"GET", "/v1/authorities"},
};
constexpr std::size_t kOther = kRoutes.size();
constexpr std::string_view kKeyPrefix = "/v1/keys/";

std::string_view PathOf(std::size_t route) { return route < kRoutes.size() ? kRoutes.at(route).path : "other"; }

bool WantsJson(const http::Request& request) {
  const auto accept = http::FindHeader(request, "accept");
  return accept && accept->find("application/json") != std::string_view::npos;
}

/// A request that outlives the handler's call: it waits for its caller's name. Credentials are left out.
class KeptRequest {
 public:
  void Keep(const http::Request& request) {
    method_ = request.method;
    target_ = request.target;
    content_type_ = request.content_type;
    body_ = request.body;
    for (const auto& [name, value] : request.headers) {
      if (name != "authorization") headers_.emplace_back(name, value);
    }
  }
  [[nodiscard]] http::Request View() const {
    http::Request request;
    request.method = method_;
    request.target = target_;
    request.content_type = content_type_;
    request.body = body_;
    request.headers.assign(headers_.begin(), headers_.end());
    return request;
  }
  http::Responder respond;

 private:
  std::string method_, target_, content_type_, body_;
  std::vector<std::pair<std::string, std::string>> headers_;
};

/// Whose idempotency keys they are: of a service account's pods, each has its own.
std::string OwnerOf(const signing::Caller& caller) {
  return caller.pod ? caller.principal.username + "/" + caller.pod->uid : caller.principal.username;
}

/// The duty to end the work on an idempotency key. Lost unused, it ends it with 500, so that nobody waits for ever.
class KeyInWork {
 public:
  /// @param answers kept alive by whoever shares them
  KeyInWork(std::shared_ptr<IdempotencyCache> answers, std::string name)
      : answers_(std::move(answers)), name_(std::move(name)) {}
  KeyInWork(const KeyInWork&) = delete;
  KeyInWork& operator=(const KeyInWork&) = delete;
  ~KeyInWork() {
    if (used_) return;
    try {
      obs::Err("a request with an idempotency key was dropped without an answer");
      answers_->Finish(name_, {ToResponse(MakeProblem("Internal", "the request was dropped: see the log")), {}});
    } catch (const std::exception& error) {
      obs::Err("who waits for an idempotency key could not be told", {{"error", error.what()}});
    }
  }
  void Finish(IdempotencyCache::Kept answer, bool keep = true) {
    if (!std::exchange(used_, true)) answers_->Finish(name_, std::move(answer), keep);
  }

 private:
  const std::shared_ptr<IdempotencyCache> answers_;
  const std::string name_;
  bool used_ = false;
};
using KeyInWorkPtr = std::shared_ptr<KeyInWork>;

std::vector<IdempotencyCache::Made> MadeIn(const std::vector<signing::SigningService::Answer>& answers) {
  std::vector<IdempotencyCache::Made> made;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (!answers[i]) continue;
    made.push_back({i, answers[i]->record, answers[i]->public_key.keyID(), answers[i]->algorithm});
  }
  return made;
}

http::Response RateLimited(base::Duration wait) {
  auto problem = MakeProblem("RateLimited");
  problem.retry_after = std::max(std::chrono::ceil<std::chrono::seconds>(wait), std::chrono::seconds(1));
  return ToResponse(problem);
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
        prepare_(std::move(dependencies.prepare)),
        limit_(std::move(dependencies.limit)),
        pod_(std::move(dependencies.pod)),
        authorities_(std::move(dependencies.authorities)),
        answers_(std::make_shared<IdempotencyCache>(
            IdempotencyCache::Options{options.idempotency_entries, options.idempotency_time}, clock_)) {}

  void Handle(const http::Request& request, http::Responder respond) {
    const std::size_t route = FindRoute(request.target);
    http::Responder counted = [self = shared_from_this(), route, start = clock_.Steady(),
                               respond = std::move(respond)](http::Response response) {
      self->metrics_.Count(PathOf(route), response.status, self->clock_.Steady() - start);
      respond(std::move(response));
    };
    if (route == kOther || (kRoutes.at(route).path == "/v1/pod" && !pod_) ||
        (kRoutes.at(route).path == "/v1/authorities" && !authorities_)) {
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
    if (kRoutes.at(route).path == "/v1/authorities") return counted(AuthoritiesResponse(authorities_()));

    auto kept = std::make_shared<KeptRequest>();
    auto caller = authenticate_(request, [self = shared_from_this(), route, kept](base::Result<signing::Caller> known) {
      self->Serve(route, kept->View(), std::move(known), std::move(kept->respond));
    });
    if (caller) return Serve(route, request, std::move(*caller), std::move(counted));
    kept->Keep(request);
    kept->respond = std::move(counted);
  }

 private:
  void Serve(std::size_t route, const http::Request& request, base::Result<signing::Caller> caller,
             http::Responder respond) {
    if (!caller) return respond(ToResponse(FromError(caller.error())));
    if (const auto wait = TakeTurns(*caller, 1)) return respond(RateLimited(*wait));
    if (kRoutes.at(route).method == "POST") return Post(route, request, std::move(*caller), std::move(respond));
    if (kRoutes.at(route).path == "/v1/keys") return respond(KeysResponse(service_.Visible(*caller)));
    if (kRoutes.at(route).path == "/v1/pod") {
      const auto own = http::FindHeader(request, "signet-container");
      return pod_(*caller, std::string(own.value_or("")), std::move(respond));
    }
    Key(request, *caller, respond);
  }

  [[nodiscard]] std::optional<base::Duration> TakeTurns(const signing::Caller& caller, double requests) const {
    return limit_ && requests > 0 ? limit_(caller, requests) : std::nullopt;
  }

  void Prepared(signing::Caller caller, const std::string& policy, CallerDone done) const {
    if (!prepare_) return done(std::move(caller));
    prepare_(std::move(caller), policy, std::move(done));
  }

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
    Batch(request.body, *key, std::move(caller), std::move(respond));
  }

  /// Returns true if `respond` has been or will be called: the request was made before, or cannot be made. What it
  /// needs for that it takes. Otherwise the work is the caller's, with `work` to end it.
  bool IsAnswered(signing::Caller& caller, std::vector<signing::SignCall>& calls, std::string_view key,
                  std::string_view text, http::Responder& respond, KeyInWorkPtr& work) {
    const auto name = IdempotencyCache::Key(OwnerOf(caller), calls.front().policy, key);
    const auto found = answers_->Begin(name, crypto::Sha256(base::AsBytes(text)));
    switch (found.verdict) {
      case IdempotencyCache::Verdict::kDone:
        Replay(std::move(caller), std::move(calls), found.kept, std::move(respond));
        return true;
      case IdempotencyCache::Verdict::kInWork:
        answers_->Wait(name, [self = shared_from_this(), caller = std::move(caller), calls = std::move(calls),
                              respond = std::move(respond)](const IdempotencyCache::KeptPtr& kept) {
          self->Replay(caller, calls, kept, respond);
        });
        return true;
      case IdempotencyCache::Verdict::kConflict:
        respond(ToResponse(MakeProblem("IdempotencyConflict")));
        return true;
      case IdempotencyCache::Verdict::kTooMany:
        respond(ToResponse(MakeProblem("Busy", "too many requests wait for this idempotency key")));
        return true;
      case IdempotencyCache::Verdict::kFirst:
        work = std::make_shared<KeyInWork>(answers_, name);
    }
    return false;
  }

  /// Gives an answer once more, if its signatures would be made now, too.
  void Replay(signing::Caller caller, std::vector<signing::SignCall> calls, IdempotencyCache::KeptPtr kept,
              http::Responder respond) {
    if (kept->response.status != 200) return respond(kept->response);
    const std::string policy = calls.front().policy;
    std::vector<signing::Replayed> items;
    for (const auto& made : kept->made) {
      items.push_back({std::move(calls.at(made.item)), made.record, made.key_id, made.algorithm});
    }
    Prepared(std::move(caller), policy,
             [self = shared_from_this(), items = std::move(items), kept = std::move(kept),
              respond = std::move(respond)](base::Result<signing::Caller> ready) mutable {
               if (!ready) return respond(ToResponse(FromError(ready.error())));
               self->service_.Replay(*ready, std::move(items),
                                     [kept, respond = std::move(respond)](const std::optional<signing::Refused>& no) {
                                       if (no) return respond(ToResponse(FromRefused(*no)));
                                       http::Response again = kept->response;
                                       again.headers.emplace_back("Idempotency-Replayed", "true");
                                       respond(std::move(again));
                                     });
             });
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
    std::vector<signing::SignCall> calls;
    calls.push_back(std::move(body->call));
    KeyInWorkPtr work;
    if (key) {
      calls.front().idempotency_key = *key;
      if (IsAnswered(caller, calls, *key, text, respond, work)) return;
    }
    signing::SignCall call = std::move(calls.front());
    const std::string policy = call.policy;
    auto finish = [work = std::move(work), respond = std::move(respond)](
                      const http::Response& response, std::vector<IdempotencyCache::Made> made = {}) {
      if (work) work->Finish({response, std::move(made)});
      respond(response);
    };
    Prepared(std::move(caller), policy,
             [self = shared_from_this(), call = std::move(call), encoding = body->encoding,
              finish = std::move(finish)](base::Result<signing::Caller> ready) mutable {
               if (!ready) return finish(ToResponse(FromError(ready.error())));
               self->service_.Sign(
                   *ready, std::move(call),
                   [finish = std::move(finish), encoding](const signing::SigningService::Answer& answer) {
                     finish(SignResponse(answer, encoding), MadeIn({answer}));
                   });
             });
  }

  void Batch(std::string_view text, std::optional<std::string_view> key, signing::Caller caller,
             http::Responder respond) {
    auto bodies = ParseBatchBody(text);
    if (!bodies) return respond(ToResponse(FromError(bodies.error())));
    if (const auto wait = TakeTurns(caller, static_cast<double>(bodies->size() - 1))) {
      return respond(RateLimited(*wait));
    }
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
      if (key) body.call.idempotency_key = *key;
      calls.push_back(std::move(body.call));
      encodings.push_back(body.encoding);
    }
    KeyInWorkPtr work;
    if (key && IsAnswered(caller, calls, *key, text, respond, work)) return;
    const std::string policy = calls.front().policy;
    SignAll(std::move(caller), policy, std::move(calls), std::move(encodings), std::move(work), std::move(respond));
  }

  void SignAll(signing::Caller caller, const std::string& policy, std::vector<signing::SignCall> calls,
               std::vector<SignatureEncoding> encodings, KeyInWorkPtr work, http::Responder respond) {
    auto finish = [work = std::move(work), respond = std::move(respond)](
                      const http::Response& response, bool keep, std::vector<IdempotencyCache::Made> made = {}) {
      if (work) work->Finish({response, std::move(made)}, keep);
      respond(response);
    };
    Prepared(std::move(caller), policy,
             [self = shared_from_this(), calls = std::move(calls), encodings = std::move(encodings),
              finish = std::move(finish)](base::Result<signing::Caller> ready) mutable {
               if (!ready) return finish(ToResponse(FromError(ready.error())), false);
               self->service_.SignBatch(*ready, std::move(calls),
                                        [finish = std::move(finish), encodings = std::move(encodings)](
                                            const std::vector<signing::SigningService::Answer>& answers) {
                                          // A batch of which nothing was signed may be asked for again.
                                          const bool any = std::any_of(answers.begin(), answers.end(),
                                                                       [](const auto& a) { return a.has_value(); });
                                          finish(BatchResponse(answers, encodings), any, MadeIn(answers));
                                        });
             });
  }

  const Options options_;
  signing::SigningService& service_;
  const base::Clock& clock_;
  const Authenticate authenticate_;
  const Readiness readiness_;
  const Prepare prepare_;
  const Limit limit_;
  const DescribePod pod_;
  const Authorities authorities_;
  RouteMetrics metrics_;
  const std::shared_ptr<IdempotencyCache> answers_;
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
