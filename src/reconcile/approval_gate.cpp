#include "reconcile/approval_gate.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "api/json.hpp"
#include "reconcile/on_loop.hpp"
#include "reconcile/request_filter.hpp"
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

/// Nothing will be signed for it any more, whatever is said now.
bool IsOver(const nlohmann::json& request) {
  const auto view = ViewRequest(request);
  return !view || view->decided || view->meta.deleting;
}

}  // namespace

base::Result<std::shared_ptr<const nlohmann::json>> ApprovalGate::Find(const controller::Key& request,
                                                                       const std::string& uid) {
  auto object = deps_.cached(request);
  // The copy may be behind (people and scripts are quick), and is abridged where the message is long.
  if (!HasUid(object, uid) || RequestFilter::IsAbridged(*object)) {
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

base::Status ApprovalGate::CheckRemoval(const nlohmann::json& approval) {
  const auto given = deps_.approvals->Read(approval);
  if (!given || given->spec.decision != api::Decision::kDeny || !given->vouched) return {};
  TRY(const auto meta, api::MetadataFromJson(approval));
  const std::string& name = given->spec.request_name;
  const std::string& uid = given->spec.request_uid;
  const auto copy = deps_.cached({meta.ns, name});
  if (HasUid(copy, uid) && IsOver(*copy)) return {};
  // An end is for ever; what the copy shows as open, or does not show, is looked at live.
  auto live = deps_.store->Get(SigningRequests(), meta.ns, name);
  if (!live && live.error().code != Code::kNotFound) return base::Error(live.error());
  if (!live) return {};
  const auto request = std::make_shared<const nlohmann::json>(std::move(*live));
  if (!HasUid(request, uid) || IsOver(*request)) return {};
  return MakeError(Code::kFailedPrecondition, "DenialStands",
                   fmt::format("this no still stands: the SigningRequest {} is not decided yet, and a Deny cannot be "
                               "taken back before it is; wait until it is Denied, or delete the request",
                               name));
}

}  // namespace signet::reconcile
