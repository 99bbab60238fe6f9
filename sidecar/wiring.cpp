#include "sidecar/wiring.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "audit/journal.hpp"
#include "base/clock.hpp"
#include "frontend/metrics_endpoint.hpp"
#include "frontend/problem.hpp"
#include "frontend/routes.hpp"
#include "http/asio_reactor.hpp"
#include "http/server.hpp"
#include "obs/log.hpp"
#include "policy/quota.hpp"
#include "signing/folder_policies.hpp"
#include "signing/service.hpp"
#include "token/worker_hsm.hpp"

namespace signet::app {
namespace {

/// Members are in the order in which they depend on each other. Everything runs on the loop's thread,
/// which is the main one.
class Sidecar {
 public:
  explicit Sidecar(const config::SidecarConfig& config) : config_(config) {}

  Ending Run();

 private:
  std::optional<Ending> Open();
  std::optional<Ending> OpenHsm();
  void OpenApi();
  base::Status Listen();
  base::Status Serve(http::Server::Options options, http::Handler handler);
  [[nodiscard]] std::vector<frontend::Check> Checks() const;
  void HsmChanged();
  void Terminate();
  void Drained();

  const config::SidecarConfig& config_;
  const base::Clock& clock_ = base::SystemClock();
  std::unique_ptr<http::AsioReactor> reactor_ = http::AsioReactor::Create();
  std::unique_ptr<audit::Journal> journal_;
  std::unique_ptr<token::WorkerHsm> hsm_;
  std::unique_ptr<signing::FolderPolicies> policies_;
  policy::QuotaLedger quotas_{clock_};
  std::unique_ptr<signing::SigningService> service_;
  frontend::Readiness standard_checks_;
  std::unique_ptr<frontend::SigningApi> api_;
  std::vector<std::unique_ptr<http::Server>> doors_;
  std::unique_ptr<http::Server> metrics_;

  bool draining_ = false;
  std::size_t undrained_ = 0;
  Ending ending_;
};

std::optional<Ending> Sidecar::OpenHsm() {
  auto options = config::ToWorkerHsmOptions(config_.hsm);
  if (!options) return Fail(ExitCode::kConfiguration, options.error());
  // The record first: of two processes by mistake, the second must not even try the PIN.
  auto journal = audit::Journal::Open(config::ToJournalOptions(config_.audit), *reactor_, clock_);
  if (!journal) return Fail(ExitCode::kConfiguration, journal.error());
  journal_ = std::move(*journal);
  auto hsm = token::WorkerHsm::Create(std::move(*options), *reactor_, clock_);
  if (!hsm) {
    const bool ours = hsm.error().code == base::Code::kInvalidArgument;
    return Fail(ours ? ExitCode::kConfiguration : ExitCode::kHsm, hsm.error());
  }
  hsm_ = std::move(*hsm);
  return std::nullopt;
}

void Sidecar::OpenApi() {
  signing::SigningService::Options options;
  options.direct_mode = true;
  options.policy_max_age = std::chrono::duration_cast<std::chrono::seconds>(config_.policy_max_age);
  options.max_in_flight = config_.max_in_flight;
  service_ = signing::SigningService::Create(
      options, {reactor_.get(), &clock_, hsm_.get(), journal_.get(), policies_.get(), &quotas_, {}, {}});
  standard_checks_ =
      frontend::StandardReadiness({hsm_.get(), journal_.get(), policies_.get(), &clock_, options.policy_max_age});

  signing::Caller caller;
  caller.door = signing::Door::kSocket;
  caller.principal.username = config_.subject;
  caller.principal.proof = identity::Proof::kAsserted;
  api_ = std::make_unique<frontend::SigningApi>(
      frontend::SigningApi::Options{},
      frontend::SigningApi::Dependencies{service_.get(),
                                         &clock_,
                                         [caller](const http::Request& request, const frontend::CallerDone& /*later*/) {
                                           base::Result<signing::Caller> known = caller;
                                           known->peer = request.peer;
                                           return std::optional(std::move(known));
                                         },
                                         [this] { return Checks(); },
                                         {},
                                         {},
                                         {}});
}

base::Status Sidecar::Serve(http::Server::Options options, http::Handler handler) {
  TRY(auto server,
      http::Server::Listen(*reactor_, std::move(options), std::move(handler), frontend::RefuseWithProblem));
  doors_.push_back(std::move(server));
  return {};
}

base::Status Sidecar::Listen() {
  http::Server::Options unix_door;
  unix_door.unix_path = config_.socket_path;
  unix_door.unix_mode = config_.socket_mode;
  unix_door.allowed_uids = config_.allowed_uids;
  unix_door.limits = config_.limits;
  TRY_VOID(Serve(std::move(unix_door), api_->handler()));
  if (!config_.listen.empty()) {
    http::Server::Options port;
    port.tcp = config_.listen;
    port.require_loopback_host = true;
    port.limits = config_.limits;
    TRY_VOID(Serve(std::move(port), api_->handler()));
    obs::Info("listening", {{"address", "127.0.0.1"}, {"port", doors_.back()->port()}});
  }
  if (!config_.metrics.empty()) {
    http::Server::Options port;
    port.tcp = config_.metrics;
    port.allow_remote = true;  // Prometheus asks from elsewhere; nothing here signs
    port.limits.connections = 64;
    port.limits.body_bytes = 1024;
    TRY(metrics_,
        http::Server::Listen(*reactor_, std::move(port), frontend::MetricsEndpoint([this] { return Checks(); }),
                             frontend::RefuseWithProblem));
    obs::Info("metrics", {{"port", metrics_->port()}});
  }
  return {};
}

std::optional<Ending> Sidecar::Open() {
  if (auto ending = OpenHsm()) return ending;
  signing::FolderPolicies::Options options{config_.policies, config_.policy_poll, config_.hsm.state_dir};
  auto policies = signing::FolderPolicies::Open(std::move(options), *reactor_, clock_, *hsm_);
  if (!policies) return Fail(ExitCode::kConfiguration, policies.error());
  policies_ = std::move(*policies);
  OpenApi();
  if (const auto listening = Listen(); !listening) return Fail(ExitCode::kConfiguration, listening.error());
  return std::nullopt;
}

std::vector<frontend::Check> Sidecar::Checks() const {
  auto checks = standard_checks_();
  if (draining_) checks.push_back({"process", false, "Draining", "the sidecar is ending"});
  // Not a reason to be NotReady: the set before it signs on.
  const auto health = policies_->State();
  checks.push_back({"policyFolder", true, health.problem.empty() ? "" : "PoliciesInvalid", health.problem});
  return checks;
}

void Sidecar::HsmChanged() {
  const auto state = hsm_->State();
  if (state.ready) {
    obs::Info("HSM ready", {{"workers", state.workers_ready}});
    policies_->RetryKeys();
    return;
  }
  if (state.reason != "Starting") obs::Warn("HSM not ready", {{"reason", state.reason}, {"message", state.message}});
  if (!state.fatal_configuration) return;
  ending_ = {ExitCode::kConfiguration, state.reason + ": " + state.message};
  Terminate();
}

void Sidecar::Terminate() {
  if (draining_) return;
  draining_ = true;
  obs::Info("ending: no new requests", {{"in_work", service_->in_flight()}});
  undrained_ = doors_.size();
  for (const auto& door : doors_) door->Drain([this] { Drained(); });
  reactor_->After(config_.drain_timeout, [this] {
    if (undrained_ == 0) return;
    ending_ = {ExitCode::kOther, "requests were still in work after the drain timeout; the record tells which"};
    reactor_->Stop();
  });
}

void Sidecar::Drained() {
  if (--undrained_ > 0) return;
  journal_->Event("stopped", {{"program", "signet-sidecar"}}, [this](const base::Status&) { reactor_->Stop(); });
}

Ending Sidecar::Run() {
  if (auto ending = Open()) return *ending;
  hsm_->OnStateChange([this] { HsmChanged(); });
  reactor_->OnTerminate([this] { Terminate(); });
  reactor_->Post([this] {
    journal_->Event("started", {{"program", "signet-sidecar"}, {"version", SIGNET_VERSION}},
                    [](const base::Status&) {});
    HsmChanged();
  });
  obs::Info("serving", {{"socket", config_.socket_path}, {"subject", config_.subject}});
  reactor_->Run();
  doors_.clear();
  return ending_;
}

}  // namespace

Ending Run(const config::SidecarConfig& config) {
  config::Apply(config.log);
  return Sidecar(config).Run();
}

}  // namespace signet::app
