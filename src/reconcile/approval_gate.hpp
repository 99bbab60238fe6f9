// reconcile/approval_gate.hpp - tells an approver at once what the decision will say of their approval, and keeps a no
// until it was heard.
//
// For the admission webhook. Check is only a courtesy: what counts is the decision when the request is signed, which is
// made by the same function (policy::CompiledPolicy::Decide). CheckRemoval is not: a no that is gone counts for
// nothing.
//
// Ownership:     borrows everything in Dependencies.
// Thread-safety: any thread but the reactor's.
// Blocking:      on the loop, and on one GET where the copy does not have the request yet.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "api/approval.hpp"
#include "base/reactor.hpp"
#include "base/result.hpp"
#include "controller/work_queue.hpp"
#include "kube/object_store.hpp"
#include "reconcile/approval_index.hpp"
#include "reconcile/request_call.hpp"
#include "signing/service.hpp"

namespace signet::reconcile {

class ApprovalGate {
 public:
  struct Dependencies {
    base::Reactor* reactor = nullptr;
    kube::ObjectStore* store = nullptr;
    signing::SigningService* service = nullptr;
    const ApprovalIndex* approvals = nullptr;
    Stamped stamped;
    std::function<std::shared_ptr<const nlohmann::json>(const controller::Key& request)> cached;
  };
  explicit ApprovalGate(Dependencies dependencies) : deps_(std::move(dependencies)) {}

  /// Would this approval, stamped, count (or deny)?
  /// @return kPermissionDenied, reason as in status.approvals, saying why not; kNotFound no such request, or another of
  ///         that name; kFailedPrecondition it is decided already
  base::Status Check(const nlohmann::json& approval);
  /// May this SigningApproval be deleted?
  /// @return kFailedPrecondition, reason "DenialStands": it is a no that somebody is vouched for, and its request is
  /// open
  base::Status CheckRemoval(const nlohmann::json& approval);

 private:
  base::Result<std::shared_ptr<const nlohmann::json>> Find(const controller::Key& request, const std::string& uid);
  const Dependencies deps_;
};

}  // namespace signet::reconcile
