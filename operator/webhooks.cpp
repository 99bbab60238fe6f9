#include "operator/webhooks.hpp"

#include <fmt/format.h>

#include <future>
#include <utility>

#include "api/json.hpp"
#include "authn/installation_key.hpp"
#include "encoding/json.hpp"
#include "frontend/problem.hpp"
#include "obs/log.hpp"
#include "reconcile/resources.hpp"

namespace signet::app {
namespace {

using nlohmann::json;

constexpr std::chrono::milliseconds kReviewStartInterval{200};  // between tries until reviews can be answered
constexpr std::chrono::seconds kStall{3};
constexpr int kOverlapPauses = 3;  // of the time in which API servers learn, for paths: a review must never fail
constexpr std::chrono::milliseconds kLeadInterval{200};  // between looks at whether this replica leads
constexpr std::size_t kMostJobs = 64;
constexpr std::chrono::seconds kStrayEvery{10};      // lines in the log: what anybody can cause must not fill it
constexpr int kWorkers = 2;                          // one may wait for a slow answer
constexpr std::size_t kMostReviewBytes = 64U << 20;  // octets of all reviews being received

base::Error Nothing() { return base::MakeError(base::Code::kNotFound, "no such request, or no such policy"); }

/// The name of the policy that this request names, if it is the one with that uid.
base::Result<std::string> PolicyOf(const json& request, const std::string& uid) {
  if (uid.empty() || encoding::TextAt(encoding::At(request, "metadata"), "uid") != uid) return Nothing();
  const auto parsed = api::RequestFromJson(request);
  if (!parsed) return Nothing();
  return parsed->spec.policy_name;
}

base::Result<api::PolicyRevision> RevisionOf(const json& policy) {
  TRY(const auto metadata, api::MetadataFromJson(policy));
  return api::PolicyRevision{metadata.uid, metadata.generation};
}

}  // namespace

Webhooks::Webhooks(Options options, Core& core, Hooks hooks)
    : options_(std::move(options)), core_(core), hooks_(std::move(hooks)), changes_(*core.journal, core.clock) {}

Webhooks::~Webhooks() { Stop(); }

std::variant<std::unique_ptr<Webhooks>, Ending> Webhooks::Open(Options options, Core& core, Hooks hooks) {
  std::unique_ptr<Webhooks> webhooks(new Webhooks(std::move(options), core, std::move(hooks)));
  if (auto listening = webhooks->Listen(); !listening) {
    return Fail(ExitCode::kConfiguration, listening.error());
  }
  return webhooks;
}

base::Status Webhooks::Listen() {
  const auto& plan = options_.plan;
  http::Server::Options server;
  server.tcp = plan.listen;
  server.allow_remote = true;
  server.limits.body_bytes = frontend::Admission::kMostBody;
  server.limits.buffered_bytes = kMostReviewBytes;
  server.tls = [this] {
    const std::lock_guard lock(mutex_);
    return context_;
  };
  if (options_.injection) {
    injection_ =
        std::make_unique<InjectionFeed>(*options_.injection, options_.ns, SIGNET_VERSION, *core_.store, core_.clock);
  }
  const auto handle = [this](const http::Request& request, http::Responder respond) {
    Answer(request, std::move(respond));
  };
  TRY(server_, http::Server::Listen(*core_.reactor, std::move(server), handle, frontend::RefuseWithProblem));

  authn::WebhookCertificate::Options certificate;
  certificate.ns = options_.ns;
  certificate.dns_names = plan.dns_names;
  certificate.ip_addresses = plan.ip_addresses;
  certificate.lifetime = std::chrono::duration_cast<std::chrono::seconds>(options_.config.certificate_lifetime);
  certificate.pause = options_.config.rotation_pause;
  if (!options_.config.client_ca.empty()) {
    TRY(certificate.client_authorities, config::ReadClientAuthorities(options_.config.client_ca));
  }
  certificate_ = std::make_unique<authn::WebhookCertificate>(*core_.store, core_.clock, std::move(certificate));
  reconcile::WebhookEndpoint endpoint;
  endpoint.status_writer = options_.username;
  if (plan.host.empty()) {
    endpoint.service_ns = plan.service_ns;
    endpoint.service_name = plan.service_name;
    endpoint.service_port = plan.port;
  } else {
    const std::string host = plan.host.find(':') == std::string::npos ? plan.host : "[" + plan.host + "]";
    endpoint.url = fmt::format("https://{}:{}", host, plan.port == 0 ? server_->port() : plan.port);
  }
  obs::Info("admission webhook listening",
            {{"port", server_->port()},
             {"reachedBy", endpoint.url.empty() ? endpoint.service_ns + "/" + endpoint.service_name : endpoint.url}});
  configurations_ = std::make_unique<reconcile::WebhookConfigurations>(
      *core_.store, std::move(endpoint), injection_ ? std::optional(injection_->scope()) : std::nullopt);
  return {};
}

void Webhooks::Start() {
  keeper_ = std::thread([this] { Keep(); });
  for (int i = 0; i < kWorkers; ++i) workers_.emplace_back([this] { Work(); });
}

bool Webhooks::IsReady() const {
  const std::lock_guard lock(mutex_);
  return sealing_ && context_;
}

std::optional<base::Error> Webhooks::problem() const {
  const std::lock_guard lock(mutex_);
  return problem_;
}

frontend::Check Webhooks::ReadyCheck() const {
  const bool ready = IsReady();
  frontend::Check check{"webhook", ready, "", ""};
  const auto why = problem();
  // Later problems leave what is served as it is: told, and no reason to be taken out of service.
  if (why) {
    check.reason = why->reason.empty() ? "WebhookUnavailable" : why->reason;
    check.message = why->message;
  } else if (!ready) {
    check.reason = "Starting";
    check.message = "the seal's key and the webhook's certificate are being read";
  }
  return check;
}

std::shared_ptr<Webhooks::Sealing> Webhooks::Seal() const {
  const std::lock_guard lock(mutex_);
  return sealing_;
}

base::Status Webhooks::Judge(const json& object) {
  const auto sealing = Seal();
  if (!sealing) {
    return base::MakeError(base::Code::kUnauthenticated, "NotStamped", "the key of Signet's seal is not loaded yet");
  }
  const auto kind = object.find("kind");
  const bool named = kind != object.end() && kind->is_string();
  return sealing->judge.Judge(named ? kind->get_ref<const std::string&>() : std::string(), object);
}

// ---- the keeper ----

void Webhooks::Keep() {
  for (;;) {
    const bool led = hooks_.leads();
    auto status = Step();
    looked_at_ = core_.clock.Steady();
    std::unique_lock lock(mutex_);
    if (!status && (!problem_ || problem_->message != status.error().message)) {
      obs::Warn("admission webhook", {{"error", base::Describe(status.error())}});
    }
    if (status) {
      problem_.reset();
    } else {
      problem_ = std::move(status.error());
    }
    const bool starting = !sealing_ || !context_;
    const auto pause =
        starting ? std::min(kReviewStartInterval, options_.config.check_interval) : options_.config.check_interval;
    // Who begins to lead writes the configurations at once: nobody can ask for a signature before that.
    const auto until = core_.clock.Steady() + pause;
    while (core_.clock.Steady() < until && (led || !hooks_.leads())) {
      if (changed_.wait_for(lock, std::min(kLeadInterval, pause), [this] { return stopping_; })) return;
    }
  }
}

base::Status Webhooks::Step() {
  TRY_VOID(LoadSeal());
  // Before anything is served: which paths are of today.
  auto live = configurations_->LiveWord();
  if (!live && !IsReady()) return base::Error(live.error());
  const auto now = core_.clock.Steady();
  if (live) Seal()->tokens.Observe(*live, now);
  // This process stood still, and API servers that waited for it may have shown the path.
  if (looked_at_ && now - *looked_at_ > options_.config.check_interval + kStall) Seal()->tokens.OnFailure();
  const bool leads = hooks_.leads();
  // Told below, and no reason to let the certificate grow old.
  auto injection = injection_ ? injection_->Step(leads) : base::Status();
  TRY(auto state, certificate_->Look(leads));
  {
    const std::lock_guard lock(mutex_);
    context_ = state.serve;
  }
  if (!leads) led_ = false;
  if (!live) return base::Error(live.error());
  if (leads) {
    TRY_VOID(Lead(state, *live));
  }
  return injection;
}

base::Status Webhooks::Lead(const authn::WebhookCertificate::State& state, const std::string& live) {
  auto& tokens = Seal()->tokens;
  const auto& clock = core_.clock;
  // Who begins to lead does not know which reviews failed before.
  const std::string token = tokens.Choose(live, !led_, clock.Now(), clock.Steady());
  TRY_VOID(configurations_->Ensure(state.bundle, token));
  tokens.Observe(token, clock.Steady());
  led_ = true;
  certificate_->OnBundleInstalled(state.bundle);
  return {};
}

base::Status Webhooks::LoadSeal() {
  if (Seal()) return {};
  TRY(auto sealer, authn::LoadSealer(*core_.store, options_.ns));
  auto sealing = std::make_shared<Sealing>(
      std::move(sealer), core_.clock,
      authn::PathTokens::Options{options_.config.path_lifetime, kOverlapPauses * options_.config.rotation_pause});
  // Serve() is queued before the certificate, and so any connection, can be there.
  {
    const std::lock_guard lock(mutex_);
    sealing_ = std::move(sealing);
  }
  core_.reactor->Post([this] { Serve(); });
  return {};
}

/// Loop thread.
void Webhooks::Serve() {
  frontend::Admission::Dependencies dependencies;
  dependencies.clock = &core_.clock;
  dependencies.sealer = &Seal()->sealer;
  dependencies.service = core_.service.get();
  dependencies.changes = &changes_;
  dependencies.revision = [this](const frontend::Admission::RequestRef& request, bool live, RevisionDone done) {
    FindRevision(request, live, std::move(done));
  };
  if (hooks_.would_count) {
    dependencies.would_count = [this](json approval, std::function<void(base::Status)> done) {
      Ask<base::Status>([this, approval = std::move(approval)] { return hooks_.would_count(approval); },
                        std::move(done));
    };
  }
  if (hooks_.may_be_removed) {
    dependencies.may_be_removed = [this](json approval, std::function<void(base::Status)> done) {
      Ask<base::Status>([this, approval = std::move(approval)] { return hooks_.may_be_removed(approval); },
                        std::move(done));
    };
  }
  dependencies.policies = hooks_.policies;
  admission_ =
      std::make_unique<frontend::Admission>(frontend::Admission::Options{options_.username}, std::move(dependencies));
}

void Webhooks::Answer(const http::Request& request, http::Responder respond) {
  if (!admission_) {
    return respond(frontend::ToResponse(frontend::MakeProblem("NotReady", "the seal's key is not loaded yet")));
  }
  const auto slash = request.target.rfind('/');
  const auto token = request.target.substr(slash + 1);
  auto sealing = Seal();
  if (slash == 0 || slash == std::string_view::npos || !sealing->tokens.Accepts(token, core_.clock.Steady())) {
    return RefuseStray(respond);
  }
  if (const auto client = request.client.lock()) client->Prove();
  // An API server that gets no verdict may show the path to its user.
  http::Responder watched = [sealing, client = request.client, respond = std::move(respond)](http::Response response) {
    const auto link = client.lock();
    if (response.status != 200 || !link || link->gone()) sealing->tokens.OnFailure();
    respond(std::move(response));
  };
  http::Request review = request;
  review.target = request.target.substr(0, slash);
  if (review.target == "/inject" && injection_) return injection_->injector().Handle(review, std::move(watched));
  admission_->Handle(review, std::move(watched));
}

void Webhooks::RefuseStray(const http::Responder& respond) {
  const auto now = core_.clock.Steady();
  if (!strayed_at_ || now - *strayed_at_ > kStrayEvery) {
    strayed_at_ = now;
    obs::Warn("refused what was sent to the admission webhook on a path that no API server was told lately");
  }
  respond(frontend::ToResponse(
      frontend::MakeProblem("NotFound", "reviews come on the paths that Signet's webhook configurations name")));
}

void Webhooks::OnPolicy(const std::string& name, const std::shared_ptr<const json>& before,
                        const std::shared_ptr<const json>& after) {
  core_.reactor->Post([this, name, before, after] { changes_.Observe(name, before.get(), after.get()); });
}

// ---- what may block ----

template <class T>
void Webhooks::Ask(std::function<T()> work, std::function<void(T)> done) {
  Job job;
  job.run = [this, work = std::move(work), done] {
    auto result = std::make_shared<T>(work());
    core_.reactor->Post([done, result] { done(std::move(*result)); });
  };
  job.drop = [done](base::Error error) { done(T(std::move(error))); };
  {
    const std::lock_guard lock(mutex_);
    if (jobs_.size() < kMostJobs && !stopping_) {
      jobs_.push_back(std::move(job));
      changed_.notify_all();
      return;
    }
  }
  job.drop(base::MakeError(base::Code::kUnavailable, "Busy", "too much is being looked up: try again shortly"));
}

/// Loop thread.
void Webhooks::FindRevision(const frontend::Admission::RequestRef& request, bool live, RevisionDone done) {
  if (!live) {
    const auto object = hooks_.request({request.ns, request.name});
    const auto name = object ? PolicyOf(*object, request.uid) : base::Result<std::string>(Nothing());
    const auto policy = name ? hooks_.policy(*name) : nullptr;
    if (policy) return done(RevisionOf(*policy));
  }
  Ask<base::Result<api::PolicyRevision>>([this, request] { return ReadRevision(request); }, std::move(done));
}

base::Result<api::PolicyRevision> Webhooks::ReadRevision(const frontend::Admission::RequestRef& request) {
  TRY(const json object, core_.store->Get(reconcile::SigningRequests(), request.ns, request.name));
  TRY(const std::string name, PolicyOf(object, request.uid));
  TRY(const json policy, core_.store->Get(reconcile::SigningPolicies(), "", name));
  return RevisionOf(policy);
}

void Webhooks::Work() {
  for (;;) {
    Job next;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (stopping_) return;
      next = std::move(jobs_.front());
      jobs_.pop_front();
    }
    next.run();
  }
}

// ---- the end ----

void Webhooks::Stop() {
  std::deque<Job> open;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    open.swap(jobs_);
  }
  changed_.notify_all();
  if (keeper_.joinable()) keeper_.join();
  for (auto& worker : workers_) {
    if (worker.joinable()) worker.join();
  }
  for (auto& job : open) {
    core_.reactor->Post([drop = std::move(job.drop)] {
      drop(base::MakeError(base::Code::kUnavailable, "Stopping", "the operator is stopping: try again"));
    });
  }
}

bool Webhooks::Drain(std::chrono::milliseconds limit) {
  auto drained = std::make_shared<std::promise<void>>();
  auto future = drained->get_future();
  core_.reactor->Post([this, drained] { server_->Drain([drained] { drained->set_value(); }); });
  return future.wait_for(limit) == std::future_status::ready;
}

}  // namespace signet::app
