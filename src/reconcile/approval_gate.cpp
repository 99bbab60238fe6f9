#include "reconcile/approval_gate.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "api/json.hpp"
#include "reconcile/on_loop.hpp"
#include "reconcile/request_status.hpp"
#include "reconcile/resources.hpp"

namespace signet::reconcile {
namespace {

using base::Code;
using base::MakeError;

constexpr std::chrono::seconds kPatience{5};  // a webhook's client waits 10

bool HasUid(const std::shared_ptr<const nlohmann::json>& object, const std::string& uid) {
  if (object == nullptr) return false;
  const auto meta = api::MetadataFromJson(*object);
  return meta && meta->uid == uid;
}

}  // namespace

base::Result<std::shared_ptr<const nlohmann::json>> ApprovalGate::Find(const controller::Key& request,
                                                                       const std::string& uid) {
  auto object = deps_.cached(request);
  if (!HasUid(object, uid)) {  // the copy may be behind: people and scripts are quick
    auto live = deps_.store->Get(SigningRequests(), request.ns, request.name);
    if (!live && live.error().code != Code::kNotFound) return live.error();
    object = live ? std::make_shared<const nlohmann::json>(std::move(*live)) : nullptr;
  }
  if (object == nullptr) {
    return MakeError(Code::kNotFound, "RequestNotFound",
                     fmt::format("there is no SigningRequest {} here", request.name));
  }
  if (!HasUid(object, uid)) {
    return MakeError(Code::kNotFound, "OtherRequest",
                     fmt::format("the SigningRequest {} has another uid: look at it again", request.name));
  }
  if (auto view = ViewRequest(*object); view && view->decided) {
    return MakeError(Code::kFailedPrecondition, "AlreadyDecided",
                     fmt::format("the SigningRequest {} is decided already", request.name));
  }
  return object;
}

base::Status ApprovalGate::Check(const nlohmann::json& approval) {
  TRY(auto given, deps_.approvals->Read(approval));
  given.vouched = true;  // it is being stamped
  TRY(const auto parsed, api::ApprovalFromJson(approval));
  const controller::Key key{parsed.metadata.ns, parsed.spec.request_name};
  TRY(const auto object, Find(key, parsed.spec.request_uid));
  TRY(const auto request, api::RequestFromJson(*object));
  TRY(const auto caller, CallerOf(*deps_.store, deps_.stamped, *object, request.spec));
  auto call = CallOf(request.metadata, request.spec);
  call.approvals = deps_.approvals->For(key);
  call.approvals.push_back(std::move(given));
  auto decision = AskLoop<policy::Decision>(
      *deps_.reactor,
      [service = deps_.service, caller, call](const std::function<void(policy::Decision)>& done) {
        done(service->Explain(caller, call));
      },
      {}, kPatience);
  if (!decision) return MakeError(Code::kUnavailable, "Busy", "the signing service gave no answer in time: try again");
  if (!decision->approvals || decision->approvals->approvals.empty()) {
    return MakeError(Code::kPermissionDenied, std::string(policy::Name(decision->reason)),
                     "there is nothing to approve: " + decision->message);
  }
  const auto& line = decision->approvals->approvals.back();
  if (line.counts || line.reason == "Denies") return {};
  return MakeError(Code::kPermissionDenied, line.reason, line.message);
}

}  // namespace signet::reconcile
