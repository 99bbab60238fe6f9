#include "operator/core.hpp"

#include <algorithm>
#include <utility>

#include "config/approval_roots.hpp"
#include "obs/log.hpp"
#include "reconcile/on_loop.hpp"
#include "reconcile/pin_secret.hpp"
#include "reconcile/resources.hpp"
#include "signing/key_proofs.hpp"

namespace signet::app {

std::variant<std::unique_ptr<Core>, Ending> Core::Open(const config::OperatorConfig& config,
                                                       std::unique_ptr<kube::ObjectStore> store, std::string instance,
                                                       CoreHooks hooks) {
  std::unique_ptr<Core> core(new Core);
  core->store = std::move(store);
  if (auto ending = core->OpenParts(config, hooks)) return *ending;
  core->Wire(config, std::move(instance), std::move(hooks));
  return core;
}

std::optional<Ending> Core::OpenParts(const config::OperatorConfig& config, const CoreHooks& hooks) {
  reactor = http::AsioReactor::Create();
  if (!config.approval_roots.empty()) {
    auto roots = config::LoadApprovalRoots(config.approval_roots);
    if (!roots) return Fail(ExitCode::kConfiguration, roots.error());
    approval_roots_ = std::move(*roots);
  }
  auto hsm_options = config::ToWorkerHsmOptions(config.hsm);
  if (!hsm_options) return Fail(ExitCode::kConfiguration, hsm_options.error());
  hsm_options->state_dir = config::PinStateFolder(config.hsm, config.audit);
  if (!hooks.ns.empty()) {
    hsm_options->pin_memory = std::make_shared<reconcile::SecretPinMemory>(*store, hooks.ns, hooks.pod_uid);
  }
  auto opened = audit::Journal::Open(config::ToJournalOptions(config.audit), *reactor, clock);
  if (!opened) return Fail(ExitCode::kConfiguration, opened.error());
  journal = std::move(*opened);
  hsm_options->record_proof = signing::RecordProofsIn(*journal);
  auto made = token::WorkerHsm::Create(std::move(*hsm_options), *reactor, clock);
  if (!made) {
    const bool ours = made.error().code == base::Code::kInvalidArgument;
    return Fail(ours ? ExitCode::kConfiguration : ExitCode::kHsm, made.error());
  }
  hsm = std::move(*made);
  return std::nullopt;
}

void Core::Wire(const config::OperatorConfig& config, std::string instance, CoreHooks hooks) {
  labels = std::make_unique<reconcile::NamespaceLabels>(*reactor);
  if (!hooks.ns.empty()) {
    reconcile::QuotaLender::Options lending;
    lending.ns = hooks.ns;
    lending.borrower = {journal->stream(), hooks.replica};
    lender = std::make_unique<reconcile::QuotaLender>(std::move(lending), *store, *reactor);
    quotas.ShareThrough(lender.get());
  }
  signing::SigningService::Options service_options;
  service_options.approval_roots = approval_roots_;
  service_options.policy_max_age = std::chrono::duration_cast<std::chrono::seconds>(config.policy_max_age);
  service = signing::SigningService::Create(
      service_options, {reactor.get(), &clock, hsm.get(), journal.get(), &policies, &quotas,
                        [this](std::string_view ns) { return labels->Find(ns); }, [this] { return ClusterId(); },
                        [this](std::string_view ns) { return labels->ConfirmedAt(ns); }});
  if (store->TrustsRequesters()) {
    events = std::make_unique<reconcile::LogEventRecorder>();
  } else {
    reconcile::StoreEventRecorder::Options event_options;
    event_options.instance = std::move(instance);
    events = std::make_unique<reconcile::StoreEventRecorder>(*store, clock, std::move(event_options));
  }

  reconcile::PolicyReconciler::Options policy_options;
  policy_options.shared_budgets = !hooks.ns.empty();
  policy_reconciler = std::make_unique<reconcile::PolicyReconciler>(
      policy_options, reconcile::PolicyReconciler::Dependencies{
                          reactor.get(), &clock, store.get(), hsm.get(), journal.get(), &policies, events.get(),
                          hooks.policy, hooks.leads, hooks.enqueue_policy, hooks.policy_published});

  reconcile::LiveReads::Options fresh;
  // A GET every `policy_refresh` at most, and one second for what follows it.
  fresh.max_age = std::max<base::Duration>(config.policy_refresh - std::chrono::seconds(1), config.policy_refresh / 2);
  const auto refresh = [this](const std::string& name) { return policy_reconciler->Refresh(name); };
  reconcile::LiveReads::Source reads;
  reads.known = [this](const std::string& name) { return policies.Peek(name) != nullptr; };
  // A folder costs nothing to read: all of its policies are kept fresh.
  reads.used = [this, all = store->TrustsRequesters()](base::Duration used_within) {
    return all ? policies.Names() : policies.UsedWithin(used_within);
  };
  reads.read = refresh;
  freshness = std::make_unique<reconcile::LiveReads>(fresh, clock, std::move(reads));
  namespace_freshness = std::make_unique<reconcile::LiveReads>(
      fresh, clock,
      reconcile::LiveReads::Source{{}, {}, [this](const std::string& name) { return RefreshNamespace(name); }});

  reconcile::RequestReconciler::Options request_options;
  request_options.waiting_grace = hooks.waiting_grace;
  request_reconciler = std::make_unique<reconcile::RequestReconciler>(
      request_options,
      reconcile::RequestReconciler::Dependencies{
          reactor.get(), &clock, store.get(), service.get(), events.get(), hooks.request,
          [this](const std::string& name) { freshness->EnsureFresh(name); }, refresh, hooks.stamped, hooks.approvals,
          [this, read = hooks.read_approvals](const controller::Key& key) { return read(*store, key); },
          [this](const std::string& name) { namespace_freshness->EnsureFresh(name); },
          [this](const std::string& name) { return RefreshNamespace(name); }},
      journal->unsettled());
  hsm->OnStateChange(hooks.hsm_changed);
}

Core::~Core() { Close(); }

void Core::Start() {
  reactor->Post([this] {
    journal->Event("started", {{"program", "signet-operator"}, {"version", SIGNET_VERSION}},
                   [](const base::Status&) {});
  });
  loop_ = std::thread([this] { reactor->Run(); });
}

void Core::Close() {
  freshness.reset();
  namespace_freshness.reset();
  events.reset();
  if (loop_.joinable()) {
    reactor->Post([this] {
      journal->Event("stopped", {{"program", "signet-operator"}}, [](const base::Status&) {});
      reactor->Post([this] { reactor->Stop(); });
    });
    loop_.join();
  }
  lender.reset();  // after the loop, on which it is asked
  request_reconciler.reset();
  policy_reconciler.reset();
  service.reset();
  hsm.reset();
  journal.reset();
}

token::HsmState Core::HsmState() {
  auto state = reconcile::AskLoop<token::HsmState>(
      *reactor, [this](const std::function<void(token::HsmState)>& answer) { answer(hsm->State()); });
  return state.value_or(token::HsmState{});
}

std::string Core::ClusterId() const { return store->TrustsRequesters() ? "directory" : labels->Uid(kClusterNamespace); }

base::Status Core::RefreshNamespace(const std::string& name) {
  const auto asked = clock.Steady();
  auto live = store->Get(reconcile::Namespaces(), "", name);
  if (live) {
    labels->Set(*live, asked);
    return {};
  }
  if (live.error().code == base::Code::kNotFound) {
    labels->Remove(name);
    return {};
  }
  // Without the right to read namespaces, selectors never match, or by labels that go stale; that must not hold up
  // every denial.
  if (live.error().code == base::Code::kPermissionDenied) return {};
  return live.error();
}

}  // namespace signet::app
