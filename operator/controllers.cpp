#include "operator/controllers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>

#include "authn/own_name.hpp"
#include "controller/controller.hpp"
#include "controller/informer.hpp"
#include "controller/manager.hpp"
#include "crypto/digest.hpp"
#include "encoding/text.hpp"
#include "obs/log.hpp"
#include "obs/metrics.hpp"
#include "operator/core.hpp"
#include "operator/gateway.hpp"
#include "operator/probes.hpp"
#include "operator/webhooks.hpp"
#include "reconcile/approval_gate.hpp"
#include "reconcile/approval_index.hpp"
#include "reconcile/outcome.hpp"
#include "reconcile/request_filter.hpp"
#include "reconcile/resources.hpp"

namespace signet::app {
namespace {

using namespace std::chrono_literals;

constexpr auto kHsmFirstVerdict = 10s;
constexpr auto kUnsettledTick = 2s;
constexpr auto kExpiredTick = 1s;
constexpr std::size_t kMostExpired = 1000;  // deletions that are begun in one tick
constexpr int kExpiryWorkers = 4;
constexpr auto kIdentityFirstByte = 3s;  // callers of the gateway wait for it
constexpr auto kIdentityTotal = 5s;
constexpr int kMostWorkers = 64;  // of one controller

/// The first ending that anybody reports.
class Finish {
 public:
  void Report(Ending ending) {
    {
      const std::lock_guard lock(mutex_);
      if (!ending_) ending_ = std::move(ending);
    }
    reported_.notify_all();
  }
  Ending Wait() {
    std::unique_lock lock(mutex_);
    reported_.wait(lock, [this] { return ending_.has_value(); });
    return *ending_;
  }
  bool WaitFor(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    return reported_.wait_for(lock, limit, [this] { return ending_.has_value(); });
  }

 private:
  std::mutex mutex_;
  std::condition_variable reported_;
  std::optional<Ending> ending_;  ///< guarded by mutex_
};

/// Ends the process when shutting down takes longer than `limit`. What is open then is settled by the
/// next process, as after a crash.
class DrainLimit {
 public:
  explicit DrainLimit(std::chrono::milliseconds limit) : thread_([this, limit] { Run(limit); }) {}
  ~DrainLimit() {
    drained_.Report({});
    thread_.join();
  }
  DrainLimit(const DrainLimit&) = delete;
  DrainLimit& operator=(const DrainLimit&) = delete;

 private:
  void Run(std::chrono::milliseconds limit) {
    if (drained_.WaitFor(limit)) return;
    obs::Err("work in hand did not end in time: leaving it to the next process");
    std::_Exit(static_cast<int>(ExitCode::kOther));
  }
  Finish drained_;
  std::thread thread_;
};

class Operator {
 public:
  Operator(const CommandLine& command, const Environment& environment) : command_(command), environment_(environment) {}

  Ending Run();

 private:
  std::optional<Ending> Open();
  std::optional<Ending> SetLease();
  std::optional<Ending> OpenWebhooks();
  std::optional<Ending> OpenGateway();
  void AwaitWebhooks();
  CoreHooks Hooks();
  void Wire();
  void OnHsmChange();
  void TellUnsettled();
  void DeleteExpired();
  void EnqueueWaiting(const std::string& policy);
  [[nodiscard]] std::vector<frontend::Check> Checks() const;
  [[nodiscard]] frontend::Check PoliciesCheck() const;

  const CommandLine& command_;
  const Environment& environment_;
  const base::Clock& clock_ = base::SystemClock();
  Finish finish_;
  std::string lease_namespace_;
  std::unique_ptr<Core> core_;
  std::unique_ptr<kube::ObjectStore> lease_store_;
  std::unique_ptr<reconcile::Adapter> policy_adapter_;
  std::unique_ptr<reconcile::Adapter> request_adapter_;
  std::unique_ptr<reconcile::Adapter> settle_adapter_;
  std::unique_ptr<reconcile::Adapter> expiry_adapter_;
  reconcile::RequestFilter request_filter_;
  std::unique_ptr<controller::Informer> policies_;
  std::unique_ptr<controller::Informer> requests_;
  std::unique_ptr<controller::Informer> approvals_;
  std::unique_ptr<reconcile::ApprovalIndex> approval_index_;
  std::unique_ptr<controller::Informer> namespaces_;
  std::unique_ptr<controller::Controller> policy_controller_;
  std::unique_ptr<controller::Controller> request_controller_;
  std::unique_ptr<controller::Controller> settle_controller_;  ///< for replicas that do not lead
  std::unique_ptr<controller::Controller> expiry_controller_;  ///< deletes decided requests after their time to live
  std::unique_ptr<controller::Manager> manager_;
  std::unique_ptr<reconcile::ApprovalGate> approval_gate_;
  std::unique_ptr<Webhooks> webhooks_;  ///< nullptr: none
  std::unique_ptr<Gateway> gateway_;    ///< nullptr: none
  std::unique_ptr<Probes> probes_;
};

CoreHooks Operator::Hooks() {
  CoreHooks hooks;
  hooks.policy = [this](std::string_view name) { return policies_->Get({"", std::string(name)}); };
  hooks.request = [this](const controller::Key& key) { return requests_->Get(key); };
  hooks.leads = [this] { return manager_->IsLeader(); };
  hooks.enqueue_policy = [this](const std::string& name) { policy_controller_->Enqueue({"", name}); };
  hooks.policy_published = [this](const std::string& name) { EnqueueWaiting(name); };
  hooks.hsm_changed = [this] { OnHsmChange(); };
  hooks.approvals = [this](const controller::Key& request) { return approval_index_->For(request); };
  hooks.read_approvals = [this](kube::ObjectStore& store, const controller::Key& request) {
    return approval_index_->ReadLive(store, request);
  };
  hooks.waiting_grace = 1s;
  return hooks;
}

void Operator::EnqueueWaiting(const std::string& policy) {
  for (const auto& key : core_->request_reconciler->WaitingFor(policy)) request_controller_->Enqueue(key);
}

std::optional<Ending> Operator::Open() {
  const auto& config = command_.config;
  kube::RestOptions rest;
  rest.max_in_flight = std::max<std::size_t>(rest.max_in_flight, config.request_workers + 8);
  auto store =
      config.StoreFolder().empty() ? OpenCluster(config, environment_, rest, &lease_namespace_) : OpenFolder(config);
  if (!store) return Fail(ExitCode::kConfiguration, store.error());
  CoreHooks hooks = Hooks();
  if (config.StoreFolder().empty()) {
    hooks.stamped = [this](const nlohmann::json& object) -> base::Status {
      if (webhooks_) return webhooks_->Judge(object);
      return base::MakeError(base::Code::kUnauthenticated, "NotStamped",
                             "this operator runs without Signet's admission webhook, so nobody vouches for who asks");
    };
  }
  const std::string host = environment_.host_name.empty() ? "signet-operator" : environment_.host_name;
  if (config.StoreFolder().empty()) {
    hooks.ns = config.leader_election.ns.empty() ? lease_namespace_ : config.leader_election.ns;
    hooks.replica = host;
    hooks.pod_uid = environment_.pod_uid;
  }
  approval_index_ = std::make_unique<reconcile::ApprovalIndex>(hooks.stamped);
  auto opened = Core::Open(config, std::move(*store), host, std::move(hooks));
  if (auto* ending = std::get_if<Ending>(&opened)) return *ending;
  core_ = std::move(std::get<std::unique_ptr<Core>>(opened));
  Wire();
  if (auto ending = SetLease()) return ending;
  if (auto ending = OpenGateway()) return ending;
  return OpenWebhooks();
}

void Operator::Wire() {
  const auto& config = command_.config;
  auto& core = *core_;
  policies_ = std::make_unique<controller::Informer>(*core.store, reconcile::SigningPolicies(),
                                                     controller::Informer::Options{}, clock_);
  requests_ = std::make_unique<controller::Informer>(*core.store, reconcile::SigningRequests(),
                                                     controller::Informer::Options{}, clock_);
  requests_->SetFilter(request_filter_);
  requests_->AddHandler([&core](const controller::Key& key, const auto&, const auto& after) {
    if (after == nullptr) core.request_reconciler->Forget(key);
  });
  approvals_ = std::make_unique<controller::Informer>(*core.store, reconcile::SigningApprovals(),
                                                      controller::Informer::Options{}, clock_);
  namespaces_ = std::make_unique<controller::Informer>(*core.store, reconcile::Namespaces(),
                                                       controller::Informer::Options{}, clock_);
  approvals_->AddHandler([this](const controller::Key& key, const auto&, const auto& after) {
    for (const auto& request : approval_index_->Change(key, after)) request_controller_->Enqueue(request);
  });
  // In force without waiting for a worker.
  policies_->AddHandler([this, &core](const controller::Key& key, const auto& before, const auto& after) {
    if (webhooks_) webhooks_->OnPolicy(key.name, before, after);
    if (after != nullptr) {
      core.policy_reconciler->Observe(*after, reconcile::ClusterPolicies::Origin::kCache);
    } else {
      core.policies.Remove(key.name, before == nullptr ? "" : (*before)["metadata"].value("uid", ""));
    }
  });
  namespaces_->AddHandler([this, &core](const controller::Key& key, const auto& before, const auto& after) {
    if (after != nullptr) {
      core.labels->Set(*after);
      if (before == nullptr && key.name == kClusterNamespace) EnqueueWaiting("");  // approvals name the cluster
    } else {
      core.labels->Remove(key.name);
    }
  });

  policy_adapter_ = std::make_unique<reconcile::Adapter>(
      [&core](const controller::Key& key) { return core.policy_reconciler->Reconcile(key.name); });
  request_adapter_ = std::make_unique<reconcile::Adapter>(
      [&core](const controller::Key& key) { return core.request_reconciler->Reconcile(key); });
  settle_adapter_ = std::make_unique<reconcile::Adapter>(
      [&core](const controller::Key& key) { return core.request_reconciler->SettleByReading(key); });
  expiry_adapter_ = std::make_unique<reconcile::Adapter>([this, &core](const controller::Key& key) {
    const auto uid = request_filter_.UidOf(key);
    return uid ? reconcile::DeleteRequest(*core.store, key, *uid) : reconcile::Outcome::Done();
  });
  controller::Controller::Options options;
  options.name = "policy";
  options.workers = std::clamp(static_cast<int>(config.policy_workers), 1, kMostWorkers);
  options.max_delay = 5s;
  policy_controller_ = std::make_unique<controller::Controller>(options, *policy_adapter_, clock_);
  policy_controller_->Watch(*policies_);
  options.name = "request";
  options.workers = std::clamp(static_cast<int>(config.request_workers), 1, kMostWorkers);
  request_controller_ = std::make_unique<controller::Controller>(options, *request_adapter_, clock_);
  request_controller_->Watch(*requests_);
  options.name = "settle";
  options.workers = 1;
  settle_controller_ = std::make_unique<controller::Controller>(options, *settle_adapter_, clock_);
  options.name = "expiry";
  options.workers = kExpiryWorkers;
  expiry_controller_ = std::make_unique<controller::Controller>(options, *expiry_adapter_, clock_);

  manager_ = std::make_unique<controller::Manager>(clock_);
  manager_->Add(*policies_);
  manager_->Add(*approvals_);
  manager_->Add(*requests_, controller::Manager::Syncs::kLater);
  // Every replica signs (the gateway), so every replica has the policies and finds their keys; only the leader makes
  // keys and writes statuses, and looks at every policy when it begins to lead.
  manager_->Add(*policy_controller_, controller::Manager::Runs::kAlways);
  manager_->Add(*settle_controller_, controller::Manager::Runs::kAlways);
  manager_->Add(*request_controller_);
  manager_->Add(*expiry_controller_);
  manager_->OnLeading([this] {
    for (const auto& key : policies_->Keys()) policy_controller_->Enqueue(key);
  });
}

std::optional<Ending> Operator::SetLease() {
  const auto& wanted = command_.config.leader_election;
  if (core_->store->TrustsRequesters() || !wanted.enabled) return std::nullopt;
  kube::RestOptions rest;
  rest.deadlines.first_byte = wanted.renew_deadline / 2;
  rest.deadlines.total = wanted.renew_deadline * 3 / 4;
  auto store = OpenCluster(command_.config, environment_, rest, nullptr);
  if (!store) return Fail(ExitCode::kConfiguration, store.error());
  lease_store_ = std::move(*store);
  controller::LeaseOptions lease;
  lease.ns = wanted.ns.empty() ? lease_namespace_ : wanted.ns;
  lease.name = wanted.name;
  lease.identity = wanted.identity;
  if (lease.identity.empty()) {
    const std::string host = environment_.host_name.empty() ? "signet-operator" : environment_.host_name;
    lease.identity = host + "_" + encoding::ToHex(crypto::RandomBytes(4));
  }
  lease.lease_duration = wanted.lease_duration;
  lease.renew_deadline = wanted.renew_deadline;
  lease.retry_period = wanted.retry_period;
  if (auto set = manager_->SetLease(*lease_store_, std::move(lease)); !set) {
    return Fail(ExitCode::kConfiguration, set.error());
  }
  return std::nullopt;
}

std::optional<Ending> Operator::OpenWebhooks() {
  const auto& config = command_.config;
  if (core_->store->TrustsRequesters()) return std::nullopt;
  Webhooks::Options options;
  options.config = config.webhook;
  options.ns = config.leader_election.ns.empty() ? lease_namespace_ : config.leader_election.ns;
  auto plan = config::PlanWebhook(config.webhook, config.kubeconfig.empty(), options.ns);
  if (!plan) return Fail(ExitCode::kConfiguration, plan.error());
  if (!*plan) {
    if (auto off = config::PlanInjection(config.injection, false, ""); !off) {
      return Fail(ExitCode::kConfiguration, off.error());
    }
    obs::Warn("no admission webhook: nobody vouches for spec.requester, so no request will be signed (--webhook)");
    return std::nullopt;
  }
  options.plan = std::move(**plan);
  auto injection = config::PlanInjection(config.injection, true, gateway_ ? gateway_->url() : "");
  if (!injection) return Fail(ExitCode::kConfiguration, injection.error());
  options.injection = std::move(*injection);
  if (options.injection) options.injection->audience = config.gateway.audience;
  options.username = config.username;
  if (options.username.empty()) {
    auto cluster = FindCluster(config, environment_);
    auto name = cluster ? authn::OwnName(*cluster) : base::Result<std::string>(cluster.error());
    if (!name) return Fail(ExitCode::kConfiguration, name.error());
    options.username = std::move(*name);
  }
  Webhooks::Hooks hooks;
  hooks.leads = [this] { return manager_->IsLeader(); };
  hooks.request = [this](const controller::Key& key) { return requests_->Get(key); };
  hooks.policy = [this](std::string_view name) { return policies_->Get({"", std::string(name)}); };
  hooks.policies = [this] { return policies_->All(); };
  reconcile::ApprovalGate::Dependencies gate;
  gate.reactor = core_->reactor.get();
  gate.store = core_->store.get();
  gate.service = core_->service.get();
  gate.approvals = approval_index_.get();
  gate.stamped = [this](const nlohmann::json& object) { return webhooks_->Judge(object); };
  gate.cached = hooks.request;
  approval_gate_ = std::make_unique<reconcile::ApprovalGate>(std::move(gate));
  hooks.would_count = [this](const nlohmann::json& approval) { return approval_gate_->Check(approval); };
  hooks.may_be_removed = [this](const nlohmann::json& approval) { return approval_gate_->CheckRemoval(approval); };
  auto opened = Webhooks::Open(std::move(options), *core_, std::move(hooks));
  if (auto* ending = std::get_if<Ending>(&opened)) return *ending;
  webhooks_ = std::move(std::get<std::unique_ptr<Webhooks>>(opened));
  return std::nullopt;
}

std::optional<Ending> Operator::OpenGateway() {
  const auto& config = command_.config;
  if (core_->store->TrustsRequesters()) return std::nullopt;
  Gateway::Options options;
  options.config = config.gateway;
  options.ns = config.leader_election.ns.empty() ? lease_namespace_ : config.leader_election.ns;
  auto plan = config::PlanGateway(config.gateway, config.kubeconfig.empty(), options.ns);
  if (!plan) return Fail(ExitCode::kConfiguration, plan.error());
  if (!*plan) return std::nullopt;
  options.plan = std::move(**plan);
  kube::RestOptions rest;
  rest.deadlines.first_byte = kIdentityFirstByte;
  rest.deadlines.total = kIdentityTotal;
  auto identities = OpenCluster(config, environment_, rest, nullptr);
  if (!identities) return Fail(ExitCode::kConfiguration, identities.error());
  Gateway::Hooks hooks;
  hooks.readiness = [this] { return Checks(); };
  hooks.has_policies = [this] { return policies_->HasSynced(); };
  auto opened = Gateway::Open(std::move(options), *core_, std::move(*identities), std::move(hooks));
  if (auto* ending = std::get_if<Ending>(&opened)) return *ending;
  gateway_ = std::move(std::get<std::unique_ptr<Gateway>>(opened));
  return std::nullopt;
}

/// Seal and certificate before controllers: without the seal's key every request would look forged.
void Operator::AwaitWebhooks() {
  if (!webhooks_) return;
  webhooks_->Start();
  while (!webhooks_->IsReady() && !finish_.WaitFor(10ms)) {
  }
}

/// Loop thread.
void Operator::OnHsmChange() {
  const auto state = core_->hsm->State();
  if (state.fatal_configuration) {
    finish_.Report({ExitCode::kConfiguration, state.reason + ": " + state.message});
    return;
  }
  if (!state.reason.empty())
    obs::Warn(state.ready ? "a token is away" : "HSM not ready",
              {{"reason", state.reason}, {"message", state.message}});
  if (!state.ready) return;
  obs::Info("HSM ready", {{"workers", state.workers_ready}});
  for (const auto& key : policies_->Keys()) policy_controller_->Enqueue(key);
  EnqueueWaiting("");
}

/// Requests that are gone are in no informer, and a replica that does not lead has a record to settle, too: signatures
/// whose end is open are looked after on this tick. Loop thread.
void Operator::TellUnsettled() {
  auto& worker = request_controller_->IsRunning() ? *request_controller_ : *settle_controller_;
  for (const auto& key : core_->request_reconciler->Unsettled()) worker.Enqueue(key);
  core_->reactor->After(kUnsettledTick, [this] { TellUnsettled(); });
}

/// Decided requests are in no informer's copy. Loop thread.
void Operator::DeleteExpired() {
  if (expiry_controller_->IsRunning()) {
    for (const auto& key : request_filter_.TakeDue(clock_.Now(), kMostExpired)) expiry_controller_->Enqueue(key);
  }
  core_->reactor->After(kExpiredTick, [this] { DeleteExpired(); });
}

/// Loop thread.
std::vector<frontend::Check> Operator::Checks() const {
  std::vector<frontend::Check> checks = {frontend::CheckHsm(*core_->hsm), frontend::CheckJournal(*core_->journal)};
  // Requests are dealt with one by one, while the rest of a long list is still being read.
  const bool synced = policies_->HasSynced() && requests_->HasAnswered();
  checks.push_back({"objects", synced, synced ? "" : "NotSynced",
                    synced ? ""
                           : "policies and requests have not been listed yet: is the API server reachable, are "
                             "the CRDs applied, may this account list them?"});
  if (webhooks_) checks.push_back(webhooks_->ReadyCheck());
  checks.push_back(PoliciesCheck());
  if (gateway_) checks.push_back(gateway_->ReadyCheck());
  return checks;
}

/// Policies are read live when they are used: those that could not be are named; while nothing is used, the watch says
/// whether the API server is there. Without policies there is nothing that could be out of date.
frontend::Check Operator::PoliciesCheck() const {
  const auto oldest = clock_.Steady() - command_.config.policy_max_age;
  std::vector<std::string> stale;
  for (const auto& name : core_->freshness->Failing()) {
    const auto policy = core_->policies.Peek(name);
    if (policy != nullptr && policy->confirmed_at < oldest) stale.push_back(name);
  }
  const auto all = core_->policies.All();
  const auto heard = policies_->LastConfirmed();
  const bool silent = !all.empty() && heard && *heard < oldest &&
                      std::all_of(all.begin(), all.end(), [&](const auto& one) { return one->confirmed_at < oldest; });
  if (stale.empty() && silent) {
    return {"policies", false, "PolicyStale",
            "the store of the policies has not been heard of lately: is the API server (or the folder) reachable?"};
  }
  return frontend::CheckStale(stale);
}

Ending Operator::Run() {
  if (auto ending = Open()) return *ending;
  core_->reactor->OnTerminate([this] { finish_.Report({}); });
  auto probes = Probes::Listen(*core_->reactor, clock_,
                               {command_.config.metrics, command_.health, command_.config.metrics_token_file},
                               [this] { return Checks(); });
  if (!probes) return Fail(ExitCode::kConfiguration, probes.error());
  probes_ = std::move(*probes);
  core_->Start();
  manager_->StartInformers();
  // Not the manager's: without the right to read namespaces only selectors fail to match.
  namespaces_->Start();

  // Statuses should not say "starting" after every restart: let the HSM come up first, if it comes.
  const auto deadline = clock_.Steady() + kHsmFirstVerdict;
  while (core_->HsmState().reason == "Starting" && clock_.Steady() < deadline && !finish_.WaitFor(10ms)) {
  }
  if (gateway_) gateway_->Start();
  AwaitWebhooks();
  manager_->Start();
  // Once controllers run: a request that was signed before a crash is decided, so no informer speaks of it.
  core_->reactor->Post([this] {
    TellUnsettled();
    DeleteExpired();
  });
  core_->freshness->Start();
  auto ending = finish_.Wait();
  obs::Info("stopping");
  const DrainLimit limit(command_.config.drain_timeout);
  if (gateway_) gateway_->WindDown();
  if (webhooks_) webhooks_->Stop();
  manager_->Stop();
  if (gateway_) {
    gateway_->Drain(command_.config.drain_timeout);
    gateway_->Stop();
  }
  if (webhooks_) webhooks_->Drain(command_.config.drain_timeout);
  namespaces_->Stop();
  core_->reactor->Post([this] {
    probes_.reset();
    webhooks_.reset();
    gateway_.reset();
  });
  core_->Close();
  obs::Info("stopped");
  return ending;
}

}  // namespace

Ending RunControllers(const CommandLine& command, const Environment& environment) {
  return Operator(command, environment).Run();
}

}  // namespace signet::app
