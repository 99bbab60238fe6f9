#include "operator/once.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "obs/log.hpp"
#include "operator/core.hpp"
#include "operator/run.hpp"
#include "reconcile/approval_index.hpp"
#include "reconcile/request_status.hpp"
#include "reconcile/resources.hpp"
#include "store/directory_store.hpp"

namespace signet::app {
namespace {

using namespace std::chrono_literals;
using reconcile::Outcome;

constexpr auto kHsmPatience = 30s;  // several processes starting on one SoftHSM directory need some
constexpr int kTries = 5;           // for what a moment later is different
constexpr auto kBetweenTries = 200ms;

std::shared_ptr<const nlohmann::json> Read(kube::ObjectStore& store, const kube::Resource& resource,
                                           std::string_view ns, std::string_view name) {
  auto object = store.Get(resource, ns, name);
  return object ? std::make_shared<const nlohmann::json>(std::move(*object)) : nullptr;
}

/// Nothing: a token is there, and the others had time to come. Otherwise why not.
std::optional<Ending> AwaitHsm(Core& core) {
  const auto deadline = core.clock.Steady() + kHsmPatience;
  for (;;) {
    const auto state = core.HsmState();
    if (state.ready && state.reason.empty()) return std::nullopt;
    const std::string line = state.reason + ": " + state.message;
    if (state.fatal_configuration) return Ending{ExitCode::kConfiguration, line};
    // A PIN that was refused is not tried again, and what is configured does not change. All else may come.
    constexpr std::array kStays = {"PinRefused",      "PinLocked",    "PinFinalTry",   "PinFileUnreadable",
                                   "StateUnreadable", "ModuleFailed", "TokenAmbiguous"};
    const bool may_come = std::find(kStays.begin(), kStays.end(), state.reason) == kStays.end();
    if (!may_come || core.clock.Steady() >= deadline) {
      if (state.ready) return std::nullopt;  // with the keys of the tokens that are there
      return Ending{ExitCode::kHsm, line};
    }
    // The workers' loop runs in a thread of its own; this one has nothing else to do.
    std::this_thread::sleep_for(20ms);
  }
}

controller::Key KeyOf(const nlohmann::json& object) {
  const auto& meta = object["metadata"];
  return {meta.value("namespace", ""), meta.value("name", "")};
}

/// The last outcome of `call`, which is repeated while it asks to be called again within a moment.
template <class Call>
Outcome Settle(Call call) {
  Outcome outcome;
  for (int i = 0; i < kTries; ++i) {
    if (i > 0) std::this_thread::sleep_for(kBetweenTries);  // as the work queue would, which --once has not
    outcome = call();
    const bool soon = outcome.kind == Outcome::Kind::kAfter && outcome.after <= kBetweenTries;
    if (outcome.kind != Outcome::Kind::kRetry && !soon) break;
  }
  return outcome;
}

struct Tally {
  std::atomic<int> decided{0};
  std::atomic<int> waiting{0};
  std::atomic<int> failed{0};
};

void HandleRequest(Core& core, const controller::Key& key, Tally& tally) {
  const auto outcome = Settle([&] { return core.request_reconciler->Reconcile(key); });
  if (outcome.kind == Outcome::Kind::kRetry) {
    obs::Err("request not handled", {{"request", controller::Describe(key)}, {"error", base::Describe(outcome.error)}});
    ++tally.failed;
    return;
  }
  const auto object = Read(*core.store, reconcile::SigningRequests(), key.ns, key.name);
  const auto view = object ? reconcile::ViewRequest(*object) : base::Result<reconcile::RequestView>(base::Error{});
  if (view && view->decided) ++tally.decided;
  if (view && !view->decided) ++tally.waiting;
}

void HandleRequests(Core& core, const std::vector<controller::Key>& keys, std::uint32_t workers, Tally& tally) {
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i = next++; i < keys.size(); i = next++) HandleRequest(core, keys[i], tally);
  };
  std::vector<std::thread> threads;
  for (std::size_t i = 1; i < std::min<std::size_t>(workers, keys.size()); ++i) threads.emplace_back(work);
  work();
  for (auto& thread : threads) thread.join();
}

Ending Handle(Core& core, reconcile::ApprovalIndex& index, const config::OperatorConfig& config) {
  if (auto ending = AwaitHsm(core)) return *ending;
  auto namespaces = core.store->ListAll(reconcile::Namespaces());
  auto policies = core.store->ListAll(reconcile::SigningPolicies());
  auto approvals = core.store->ListAll(reconcile::SigningApprovals());
  auto requests = core.store->ListAll(reconcile::SigningRequests());
  for (const auto* list : {&namespaces, &policies, &approvals, &requests}) {
    if (!*list) return Fail(ExitCode::kOther, list->error());
  }
  for (const auto& object : namespaces->items) core.labels->Set(object);
  for (const auto& object : approvals->items)
    index.Change(KeyOf(object), std::make_shared<const nlohmann::json>(object));
  Tally tally;
  // Twice: the second look sees which policies share a key.
  for (int round = 0; round < 2; ++round) {
    for (const auto& object : policies->items) {
      const auto key = KeyOf(object);
      const auto outcome = Settle([&] { return core.policy_reconciler->Reconcile(key.name); });
      if (outcome.kind == Outcome::Kind::kRetry && round == 1) {
        obs::Err("policy not handled", {{"policy", key.name}, {"error", base::Describe(outcome.error)}});
        ++tally.failed;
      }
    }
  }
  std::vector<controller::Key> keys = core.request_reconciler->Unsettled();
  for (const auto& object : requests->items) keys.push_back(KeyOf(object));
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  HandleRequests(core, keys, config.request_workers, tally);

  obs::Info("done", {{"policies", policies->items.size()},
                     {"decided", tally.decided.load()},
                     {"waiting", tally.waiting.load()},
                     {"failed", tally.failed.load()}});
  if (const auto state = core.HsmState(); !state.ready || !state.reason.empty()) {
    return {ExitCode::kHsm, state.reason + ": " + state.message};
  }
  const auto problems = dynamic_cast<store::DirectoryStore&>(*core.store).Problems();
  if (!problems.empty()) {
    return {ExitCode::kOther,
            fmt::format("{}{}", problems.front().message,
                        problems.size() > 1 ? fmt::format(" (and {} more)", problems.size() - 1) : "")};
  }
  if (tally.failed > 0) {
    return {ExitCode::kOther, fmt::format("{} objects could not be handled: see the log", tally.failed.load())};
  }
  return {};
}

}  // namespace

Ending RunOnce(const config::OperatorConfig& config) {
  auto folder = OpenFolder(config);
  if (!folder) return Fail(ExitCode::kConfiguration, folder.error());
  auto* store = folder->get();
  reconcile::ApprovalIndex index({});
  CoreHooks hooks;
  hooks.approvals = [&index](const controller::Key& request) { return index.For(request); };
  hooks.read_approvals = [&index](kube::ObjectStore& source, const controller::Key& request) {
    return index.ReadLive(source, request);
  };
  hooks.policy = [store](std::string_view name) { return Read(*store, reconcile::SigningPolicies(), "", name); };
  hooks.request = [store](const controller::Key& key) {
    return Read(*store, reconcile::SigningRequests(), key.ns, key.name);
  };
  hooks.leads = [] { return true; };  // the folder's lock is ours
  hooks.enqueue_policy = [](const std::string&) {};
  hooks.policy_published = [](const std::string&) {};
  hooks.hsm_changed = [] {};
  auto opened = Core::Open(config, std::move(*folder), "signet-operator", std::move(hooks));
  if (auto* ending = std::get_if<Ending>(&opened)) return *ending;
  auto& core = *std::get<std::unique_ptr<Core>>(opened);
  core.Start();
  auto ending = Handle(core, index, config);
  core.Close();
  return ending;
}

}  // namespace signet::app
