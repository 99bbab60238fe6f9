#include "operator/gateway.hpp"

#include <algorithm>
#include <future>
#include <utility>

#include "authn/bearer_token.hpp"
#include "config/endpoint.hpp"
#include "encoding/text.hpp"
#include "frontend/problem.hpp"
#include "obs/log.hpp"
#include "obs/metrics.hpp"

namespace signet::app {
namespace {

using base::Code;

constexpr std::chrono::milliseconds kStartInterval{200};     // between tries until there is a certificate
constexpr std::chrono::milliseconds kPolicyPatience{2'000};  // a live read that takes longer is not waited for
constexpr std::size_t kMostBuffered = 64U << 20;             // octets of all bodies being received
constexpr authn::Errands::Options kIdentityErrands{4, 256, 256};
constexpr authn::Errands::Options kPolicyErrands{2, 64, 0};
constexpr std::size_t kMostCallers = 4096;  // whose rates are kept, or who wait for one policy's read

void CountRefusal(std::string_view reason) {
  obs::GetCounter("signet_gateway_refusals_total", "Callers that the gateway turned away before any policy was asked.",
                  {{"reason", reason}})
      .Add();
}

base::Error Unauthenticated(std::string why) {
  return base::MakeError(Code::kUnauthenticated, "Unauthenticated", std::move(why));
}

base::Result<std::string_view> TokenOf(const http::Request& request) {
  std::optional<std::string_view> value;
  for (const auto& [name, text] : request.headers) {
    if (name != "authorization") continue;
    if (value) return Unauthenticated("several Authorization fields");
    value = text;
  }
  if (!value) return Unauthenticated("no Authorization field");
  return authn::BearerOf(*value);
}

/// Do labels of namespaces decide who is a subject of the policy?
bool AsksForLabels(const signing::ActivePolicy& active) {
  const auto& subjects = active.compiled->policy().spec.subjects;
  return std::any_of(subjects.begin(), subjects.end(),
                     [](const auto& subject) { return subject.namespace_selector.has_value(); });
}

/// Does the policy ask for the images of the calling pod?
bool AsksForImages(const signing::ActivePolicy& active) { return active.compiled->policy().spec.pod.has_value(); }

}  // namespace

Gateway::Gateway(Options options, Core& core, std::unique_ptr<kube::ObjectStore> identities, Hooks hooks)
    : options_(std::move(options)),
      core_(core),
      hooks_(std::move(hooks)),
      identities_(std::move(identities)),
      url_(options_.plan.url),
      limiter_({static_cast<double>(options_.config.rate), 2.0 * options_.config.rate, kMostCallers}, core.clock),
      refreshes_({0, kMostCallers, 0}),
      identity_errands_(kIdentityErrands),
      policy_errands_(kPolicyErrands) {}

Gateway::~Gateway() = default;

std::variant<std::unique_ptr<Gateway>, Ending> Gateway::Open(Options options, Core& core,
                                                             std::unique_ptr<kube::ObjectStore> identities,
                                                             Hooks hooks) {
  std::unique_ptr<Gateway> gateway(new Gateway(std::move(options), core, std::move(identities), std::move(hooks)));
  gateway->OpenApi();
  if (auto listening = gateway->Listen(); !listening) return Fail(ExitCode::kConfiguration, listening.error());
  return gateway;
}

void Gateway::OpenApi() {
  authn::TokenReviewer::Options review;
  review.audience = options_.config.audience;
  reviewer_ = std::make_unique<authn::TokenReviewer>(
      std::move(review),
      authn::TokenReviewer::Dependencies{core_.reactor.get(), &core_.clock, identities_.get(), &identity_errands_});
  pods_ = std::make_unique<authn::PodLookup>(
      authn::PodLookup::Options{},
      authn::PodLookup::Dependencies{core_.reactor.get(), &core_.clock, identities_.get(), &identity_errands_});
  frontend::SigningApi::Dependencies api;
  api.service = core_.service.get();
  api.clock = &core_.clock;
  api.authenticate = [this](const http::Request& request, frontend::CallerDone later) {
    return Authenticate(request, std::move(later));
  };
  api.readiness = hooks_.readiness;
  api.prepare = [this](signing::Caller caller, const std::string& policy, frontend::CallerDone done) {
    Prepare(std::move(caller), policy, std::move(done));
  };
  api.limit = [this](const signing::Caller& caller, double requests) {
    auto wait = limiter_.Take(caller.pod->uid, requests);
    if (wait) CountRefusal("RateLimited");
    return wait;
  };
  api.pod = [this](const signing::Caller& caller, const std::string& own, const http::Responder& respond) {
    DescribePod(caller, own, respond);
  };
  api.authorities = [this] {
    const std::lock_guard lock(mutex_);
    return authorities_;
  };
  api_ = std::make_unique<frontend::SigningApi>(frontend::SigningApi::Options{}, std::move(api));
}

base::Status Gateway::Listen() {
  const auto& plan = options_.plan;
  http::Server::Options server;
  server.tcp = plan.listen;
  server.allow_remote = true;
  server.wanted_headers = {"accept", "authorization", "idempotency-key", "signet-container"};
  server.limits.connections = kMostConnections;
  server.limits.buffered_bytes = kMostBuffered;
  server.tls = [this] {
    const std::lock_guard lock(mutex_);
    return context_;
  };
  TRY(server_, http::Server::Listen(*core_.reactor, std::move(server), api_->handler(), frontend::RefuseWithProblem));
  if (url_.ends_with(":0")) url_ = url_.substr(0, url_.size() - 1) + std::to_string(server_->port());

  authn::GatewayCertificate::Options certificate;
  certificate.ns = options_.ns;
  certificate.dns_names = plan.dns_names;
  certificate.ip_addresses = plan.ip_addresses;
  certificate.lifetime = std::chrono::duration_cast<std::chrono::seconds>(options_.config.certificate_lifetime);
  certificate_ = std::make_unique<authn::GatewayCertificate>(*core_.store, core_.clock, std::move(certificate));
  obs::Info("gateway listening", {{"port", server_->port()}, {"reachedBy", url_}});
  return {};
}

void Gateway::Start() {
  keeper_ = std::thread([this] { Keep(); });
}

bool Gateway::IsReady() const {
  const std::lock_guard lock(mutex_);
  return context_ != nullptr && !draining_;
}

frontend::Check Gateway::ReadyCheck() const {
  if (draining_) return {"gateway", false, "Draining", "this replica is ending"};
  const std::lock_guard lock(mutex_);
  frontend::Check check{"gateway", context_ != nullptr, "", ""};
  // Later problems leave what is served as it is: told, and no reason to be taken out of service.
  if (problem_) {
    check.reason = problem_->reason.empty() ? "GatewayUnavailable" : problem_->reason;
    check.message = problem_->message;
  } else if (!context_) {
    check.reason = "Starting";
    check.message = "the gateway's authority is being read";
  }
  return check;
}

// ---- the keeper ----

void Gateway::Keep() {
  for (;;) {
    Look();
    std::unique_lock lock(mutex_);
    const auto& config = options_.config;
    const auto pause = context_ ? config.check_interval : std::min(kStartInterval, config.check_interval);
    if (changed_.wait_for(lock, pause, [this] { return stopping_; })) return;
  }
}

void Gateway::Look() {
  auto status = certificate_->Look();
  auto& ends = obs::GetGauge("signet_gateway_certificate_expiry_seconds",
                             "When the certificate that the gateway serves ends, in seconds since 1970.");
  if (certificate_->context()) {
    ends.Set(std::chrono::duration<double>(certificate_->not_after().time_since_epoch()).count());
  }
  const std::lock_guard lock(mutex_);
  context_ = certificate_->context();
  authorities_ = certificate_->bundle();
  if (status) {
    problem_.reset();
    return;
  }
  if (!problem_ || problem_->message != status.error().message) {
    obs::Warn("gateway", {{"error", base::Describe(status.error())}});
  }
  problem_ = std::move(status.error());
}

// ---- who calls (loop thread) ----

std::optional<Gateway::CallerResult> Gateway::Authenticate(const http::Request& request, frontend::CallerDone later) {
  const auto token = TokenOf(request);
  if (!token) {
    CountRefusal("Unauthenticated");
    return CallerResult(token.error());
  }
  const auto known = [this, client = request.client](const authn::TokenReviewer::Answer& reviewed) {
    const auto link = reviewed ? client.lock() : nullptr;
    if (link) link->Prove();
    return ToCaller(reviewed);
  };
  const auto answer = reviewer_->Review(
      *token,
      [known, later = std::move(later)](const authn::TokenReviewer::Answer& reviewed) { later(known(reviewed)); },
      std::string(request.source));
  if (!answer) return std::nullopt;
  return known(*answer);
}

Gateway::CallerResult Gateway::ToCaller(const authn::TokenReviewer::Answer& answer) const {
  if (!answer) {
    CountRefusal(answer.error().reason);
    return base::Error(answer.error());
  }
  if (!hooks_.has_policies()) {
    return base::MakeError(Code::kUnavailable, "NotReady", "the policies have not been read yet: ask again shortly");
  }
  signing::Caller caller;
  caller.door = signing::Door::kGateway;
  caller.principal = (*answer)->principal;
  caller.pod = (*answer)->pod;
  return caller;
}

// ---- before the decision (loop thread) ----

void Gateway::Prepare(signing::Caller caller, const std::string& policy, frontend::CallerDone done) {
  // Who is no subject as far as we know is refused at once, as under a name that does not exist: a live read would tell
  // by its time which policies there are. Visible() has counted the policy as used, so it is read within a second, and
  // somebody who was just added is served from then on.
  const auto active = core_.service->Visible(caller, policy);
  if (active == nullptr) return FindImages(std::move(caller), policy, done);
  auto find = [this, caller, policy, done = std::move(done)] { FindImages(caller, policy, done); };
  // Counted from the caller's pod: its service account's namespace is the only one whose labels can matter here.
  auto then = [this, ns = caller.pod->ns, asks = AsksForLabels(*active), find = std::move(find)] {
    if (!asks || !core_.namespace_freshness->NeedsRead(ns)) return find();
    Refresh(*core_.namespace_freshness, "namespace/", ns, find);
  };
  if (!core_.freshness->NeedsRead(policy)) return then();
  Refresh(*core_.freshness, "policy/", policy, std::move(then));
}

/// An object that was not read lately is read live before a subject's first use of it. When that takes long, what is
/// known decides: the service looks at its age.
void Gateway::Refresh(reconcile::LiveReads& reads, const std::string& kind, const std::string& name,
                      std::function<void()> then) {
  struct Wait {
    std::function<void()> then;
    base::Reactor::Id timer = 0;
  };
  auto wait = std::make_shared<Wait>();
  wait->then = std::move(then);
  const auto go_on = [this, wait] {
    core_.reactor->Cancel(wait->timer);
    if (const auto go = std::exchange(wait->then, nullptr)) go();
  };
  const auto next = refreshes_.Join(kind + name, [go_on](const auto&) { go_on(); });
  if (next == authn::JointCache<bool>::Next::kFull) return go_on();
  wait->timer = core_.reactor->After(kPolicyPatience, go_on);
  if (next == authn::JointCache<bool>::Next::kWait) return;
  const auto finish = [this, key = kind + name] {
    const auto now = core_.clock.Steady();
    refreshes_.Finish(key, std::make_shared<const bool>(true), now, now, now);
  };
  const bool sent = policy_errands_.Send([this, &reads, name, finish] {
    reads.EnsureFresh(name);
    core_.reactor->Post(finish);
  });
  if (!sent) core_.reactor->Post(finish);
}

void Gateway::FindImages(signing::Caller caller, const std::string& policy, const frontend::CallerDone& done) {
  const auto active = core_.service->Visible(caller, policy);
  if (!active || !AsksForImages(*active)) return done(std::move(caller));
  const auto pod = *caller.pod;
  // Read now: a pod whose image was patched a moment ago must not sign with what it ran before.
  pods_->ReadNow(pod, [caller = std::move(caller), done](const authn::PodLookup::Answer& found) mutable {
    if (!found) {
      CountRefusal(found.error().reason);
      return done(base::Error(found.error()));
    }
    caller.images = std::shared_ptr<const identity::PodImages>(*found, &(*found)->images);
    done(std::move(caller));
  });
}

void Gateway::DescribePod(const signing::Caller& caller, const std::string& own, const http::Responder& respond) {
  const auto answer = [own, respond](const authn::PodLookup::Answer& found) {
    if (!found) return respond(frontend::ToResponse(frontend::FromError(found.error())));
    const auto& facts = **found;
    http::Response response;
    response.body = R"({"name":)";
    encoding::AppendJsonString(response.body, facts.pod.name);
    response.body += R"(,"namespace":)";
    encoding::AppendJsonString(response.body, facts.pod.ns);
    response.body += R"(,"uid":)";
    encoding::AppendJsonString(response.body, facts.pod.uid);
    response.body += authn::OthersEnded(facts, own) ? R"(,"othersEnded":true})" : R"(,"othersEnded":false})";
    respond(std::move(response));
  };
  if (const auto known = pods_->Find(*caller.pod, answer)) answer(*known);
}

// ---- the end ----

void Gateway::WindDown() {
  draining_ = true;
  wound_down_ = core_.clock.Steady();
  core_.reactor->Post([this] { server_->WindDown(); });
}

bool Gateway::Drain(std::chrono::milliseconds limit) {
  const auto delay = std::min(options_.config.drain_delay, limit / 2);
  {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, wound_down_ + delay, [this] { return stopping_; });
  }
  auto drained = std::make_shared<std::promise<void>>();
  auto future = drained->get_future();
  core_.reactor->Post([this, drained] { server_->Drain([drained] { drained->set_value(); }); });
  return future.wait_for(limit - delay) == std::future_status::ready;
}

void Gateway::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (keeper_.joinable()) keeper_.join();
  identity_errands_.Stop();
  policy_errands_.Stop();
  auto closed = std::make_shared<std::promise<void>>();
  auto future = closed->get_future();
  core_.reactor->Post([this, closed] {
    server_.reset();
    reviewer_.reset();
    pods_.reset();
    closed->set_value();
  });
  future.wait();
}

}  // namespace signet::app
