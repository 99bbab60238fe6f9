// operator/core.hpp - loop, HSM, record, service and reconcilers, wired; used by both ways to run.
//
// Ownership:     owns everything; members are in the order in which they depend on each other.
// Thread-safety: Open and Close on the main thread; the members as their headers say.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <variant>

#include "audit/journal.hpp"
#include "base/clock.hpp"
#include "config/operator_config.hpp"
#include "http/asio_reactor.hpp"
#include "kube/object_store.hpp"
#include "operator/exit_code.hpp"
#include "policy/quota.hpp"
#include "reconcile/cluster_policies.hpp"
#include "reconcile/events.hpp"
#include "reconcile/live_reads.hpp"
#include "reconcile/namespace_labels.hpp"
#include "reconcile/policy_reconciler.hpp"
#include "reconcile/quota_lender.hpp"
#include "reconcile/request_reconciler.hpp"
#include "signing/service.hpp"
#include "token/worker_hsm.hpp"

namespace signet::app {

/// Its uid is the cluster's name in approval statements.
inline constexpr std::string_view kClusterNamespace = "kube-system";

/// What differs between running on informers and running once.
struct CoreHooks {
  std::function<std::shared_ptr<const nlohmann::json>(std::string_view name)> policy;
  std::function<std::shared_ptr<const nlohmann::json>(const controller::Key&)> request;
  std::function<bool()> leads;
  std::function<void(const std::string& policy)> enqueue_policy;
  std::function<void(const std::string& policy)> policy_published;
  std::function<std::vector<policy::Approval>(const controller::Key& request)> approvals;
  std::function<base::Result<std::vector<policy::Approval>>(kube::ObjectStore& store, const controller::Key& request)>
      read_approvals;
  std::function<base::Status(const nlohmann::json& object)> stamped;
  std::function<void()> hsm_changed;  ///< loop thread
  base::Duration waiting_grace{0};
  std::string ns;       ///< of this operator; day's budgets and refused PINs are shared there. Empty: with nobody
  std::string replica;  ///< this process's name there
  std::string pod_uid;  ///< of the pod whose only operator this is; empty: not known
};

class Core {
 public:
  /// Everything but the loop's thread is in place afterwards.
  static std::variant<std::unique_ptr<Core>, Ending> Open(const config::OperatorConfig& config,
                                                          std::unique_ptr<kube::ObjectStore> store,
                                                          std::string instance, CoreHooks hooks);
  ~Core();  ///< closes
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  /// Starts the loop.
  void Start();
  /// Ends the loop and frees what lives on it; the record is written. May be called twice.
  void Close();

  [[nodiscard]] token::HsmState HsmState();

  const base::Clock& clock = base::SystemClock();
  std::unique_ptr<http::AsioReactor> reactor;
  std::unique_ptr<kube::ObjectStore> store;
  std::unique_ptr<audit::Journal> journal;
  std::unique_ptr<token::WorkerHsm> hsm;
  policy::QuotaLedger quotas{clock};
  reconcile::ClusterPolicies policies{clock};
  std::unique_ptr<reconcile::NamespaceLabels> labels;
  std::unique_ptr<reconcile::QuotaLender> lender;  ///< nullptr: budgets are not shared
  std::unique_ptr<signing::SigningService> service;
  std::unique_ptr<reconcile::EventRecorder> events;
  std::unique_ptr<reconcile::PolicyReconciler> policy_reconciler;
  std::unique_ptr<reconcile::LiveReads> freshness;            ///< of policies
  std::unique_ptr<reconcile::LiveReads> namespace_freshness;  ///< of their labels
  std::unique_ptr<reconcile::RequestReconciler> request_reconciler;

 private:
  Core() = default;
  std::optional<Ending> OpenParts(const config::OperatorConfig& config, const CoreHooks& hooks);
  void Wire(const config::OperatorConfig& config, std::string instance, CoreHooks hooks);
  base::Status RefreshNamespace(const std::string& name);
  [[nodiscard]] std::string ClusterId() const;

  std::shared_ptr<const policy::ApprovalRoots> approval_roots_;  ///< nullptr: none
  std::thread loop_;
};

}  // namespace signet::app
