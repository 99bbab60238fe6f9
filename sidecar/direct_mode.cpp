#include "sidecar/direct_mode.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "audit/journal.hpp"
#include "base/clock.hpp"
#include "frontend/routes.hpp"
#include "http/asio_reactor.hpp"
#include "obs/log.hpp"
#include "policy/quota.hpp"
#include "sidecar/doors.hpp"
#include "signing/folder_policies.hpp"
#include "signing/key_proofs.hpp"
#include "signing/service.hpp"
#include "token/worker_hsm.hpp"

namespace signet::app {
namespace {

/// Members are in the order in which they depend on each other. Everything runs on the loop's thread,
/// which is the main one.
class DirectSidecar {
 public:
  explicit DirectSidecar(const config::SidecarConfig& config) : config_(config) {}

  Ending Run();

 private:
  std::optional<Ending> Open();
  std::optional<Ending> OpenHsm();
  void OpenApi();
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
  Doors doors_{config_, *reactor_};
  Ending ending_;
};

std::optional<Ending> DirectSidecar::OpenHsm() {
  auto options = config::ToWorkerHsmOptions(config_.hsm);
  if (!options) return Fail(ExitCode::kConfiguration, options.error());
  options->state_dir = config::PinStateFolder(config_.hsm, config_.audit);
  // The record first: of two processes by mistake, the second must not even try the PIN.
  auto journal = audit::Journal::Open(config::ToJournalOptions(config_.audit), *reactor_, clock_);
  if (!journal) return Fail(ExitCode::kConfiguration, journal.error());
  journal_ = std::move(*journal);
  options->record_proof = signing::RecordProofsIn(*journal_);
  auto hsm = token::WorkerHsm::Create(std::move(*options), *reactor_, clock_);
  if (!hsm) {
    const bool ours = hsm.error().code == base::Code::kInvalidArgument;
    return Fail(ours ? ExitCode::kConfiguration : ExitCode::kHsm, hsm.error());
  }
  hsm_ = std::move(*hsm);
  return std::nullopt;
}

void DirectSidecar::OpenApi() {
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

std::optional<Ending> DirectSidecar::Open() {
  if (auto ending = OpenHsm()) return ending;
  signing::FolderPolicies::Options options{config_.policies, config_.policy_poll, config_.hsm.state_dir};
  auto policies = signing::FolderPolicies::Open(std::move(options), *reactor_, clock_, *hsm_);
  if (!policies) return Fail(ExitCode::kConfiguration, policies.error());
  policies_ = std::move(*policies);
  OpenApi();
  const auto opened = doors_.Open(api_->handler(), [this] { return Checks(); });
  if (!opened) return Fail(ExitCode::kConfiguration, opened.error());
  return std::nullopt;
}

std::vector<frontend::Check> DirectSidecar::Checks() const {
  auto checks = standard_checks_();
  if (doors_.draining()) checks.push_back({"process", false, "Draining", "the sidecar is ending"});
  // Not a reason to be NotReady: the set before it signs on.
  const auto health = policies_->State();
  checks.push_back({"policyFolder", true, health.problem.empty() ? "" : "PoliciesInvalid", health.problem});
  return checks;
}

void DirectSidecar::HsmChanged() {
  const auto state = hsm_->State();
  if (!state.reason.empty() && state.reason != "Starting") {
    obs::Warn(state.ready ? "a token is away" : "HSM not ready",
              {{"reason", state.reason}, {"message", state.message}});
  }
  if (state.ready) {
    obs::Info("HSM ready", {{"workers", state.workers_ready}});
    policies_->RetryKeys();
  }
  if (!state.fatal_configuration) return;
  ending_ = {ExitCode::kConfiguration, state.reason + ": " + state.message};
  Terminate();
}

void DirectSidecar::Terminate() {
  if (doors_.draining()) return;
  obs::Info("ending: no new requests", {{"in_work", service_->in_flight()}});
  doors_.Drain(
      [this] { Drained(); },
      [this] {
        ending_ = {ExitCode::kOther, "requests were still in work after the drain timeout; the record tells which"};
        reactor_->Stop();
      });
}

void DirectSidecar::Drained() {
  journal_->Event("stopped", {{"program", "signet-sidecar"}}, [this](const base::Status&) { reactor_->Stop(); });
}

Ending DirectSidecar::Run() {
  reactor_->OnTerminate([this] { Terminate(); });  // before there is a socket to remove
  if (auto ending = Open()) return *ending;
  hsm_->OnStateChange([this] { HsmChanged(); });
  reactor_->Post([this] {
    journal_->Event("started", {{"program", "signet-sidecar"}, {"version", SIGNET_VERSION}},
                    [](const base::Status&) {});
    HsmChanged();
  });
  obs::Info("serving", {{"socket", config_.socket_path}, {"subject", config_.subject}});
  reactor_->Run();
  doors_.Close();
  return ending_;
}

}  // namespace

Ending RunDirectMode(const config::SidecarConfig& config) { return DirectSidecar(config).Run(); }

}  // namespace signet::app
