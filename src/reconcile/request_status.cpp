#include "reconcile/request_status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "api/json.hpp"
#include "api/object_json.hpp"
#include "base/printable.hpp"
#include "encoding/json.hpp"
#include "encoding/text.hpp"
#include "reconcile/conditions.hpp"

namespace signet::reconcile {
namespace {

using encoding::TextAt;

api::SigningRequestStatus Base(const RequestView& view) {
  api::SigningRequestStatus status;
  status.observed_generation = view.meta.generation;
  status.conditions = view.conditions;
  status.approvals = view.approvals;
  return status;
}

nlohmann::json Ended(const RequestView& view, std::string_view type, std::string reason, std::string message,
                     base::TimePoint now) {
  auto status = Base(view);
  const auto generation = view.meta.generation;
  const std::string summary = reason + ": " + message;
  SetCondition(status.conditions, {std::string(type), true, std::move(reason), std::move(message), generation, {}},
               now);
  SetCondition(status.conditions, {"Ready", false, std::string(type), summary, generation, {}}, now);
  status.finished_at = base::FormatTimeSeconds(now);
  return api::StatusToJson(status);
}

bool IsEnd(const std::vector<api::Condition>& conditions) {
  return IsTrue(conditions, "Ready") || IsTrue(conditions, "Denied") || IsTrue(conditions, "Failed");
}

bool IsOneOf(std::string_view text, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), text) != names.end();
}

}  // namespace

std::vector<api::ApprovalStatus> ShownApprovals(std::vector<api::ApprovalStatus> approvals) {
  for (auto& line : approvals) {
    for (std::string* text : {&line.approver, &line.message, &line.signed_by}) *text = base::PrintableLine(*text);
  }
  if (approvals.size() <= kMaxShownApprovals) return approvals;
  const auto decides = [](const api::ApprovalStatus& line) { return line.counts || line.reason == "Denies"; };
  std::stable_partition(approvals.begin(), approvals.end(), decides);
  // Many may say yes: one no among them is what ends the request.
  std::stable_partition(approvals.begin(), approvals.end(), [](const auto& line) { return line.reason == "Denies"; });
  approvals.resize(kMaxShownApprovals);
  return approvals;
}

base::Result<RequestView> ViewRequest(const nlohmann::json& object) {
  RequestView view;
  TRY(view.meta, api::MetadataFromJson(object));
  view.conditions = ReadConditions(object);
  const auto* ready = api::FindCondition(view.conditions, "Ready");
  if (ready != nullptr && !ready->status) view.waiting_reason = ready->reason;
  view.decided = IsEnd(view.conditions);
  if (const auto status = object.find("status"); status != object.end() && status->is_object()) {
    view.record = TextAt(*status, "record");
    view.approvals = api::RequestStatusFromJson(*status).approvals;
    if (auto time = base::ParseTime(TextAt(*status, "finishedAt"))) view.finished_at = *time;
  }
  if (const auto spec = object.find("spec"); spec != object.end() && spec->is_object()) {
    const auto ttl = spec->find("ttlSecondsAfterFinished");
    if (ttl != spec->end() && ttl->is_number_integer() && *ttl >= 0) {
      view.ttl_seconds_after_finished = ttl->get<std::int64_t>();
    }
  }
  return view;
}

bool IsDecided(const nlohmann::json& object) { return IsEnd(ReadConditions(object)); }

nlohmann::json WaitingStatus(const RequestView& view, std::string reason, std::string message, base::TimePoint now) {
  auto status = Base(view);
  SetCondition(status.conditions, {"Ready", false, std::move(reason), std::move(message), view.meta.generation, {}},
               now);
  return api::StatusToJson(status);
}

nlohmann::json DeniedStatus(const RequestView& view, std::string reason, std::string message, base::TimePoint now) {
  return Ended(view, "Denied", std::move(reason), std::move(message), now);
}

nlohmann::json FailedStatus(const RequestView& view, std::string reason, std::string message, base::TimePoint now) {
  return Ended(view, "Failed", std::move(reason), std::move(message), now);
}

nlohmann::json SignedStatus(const RequestView& view, const signing::Signed& made, base::TimePoint now) {
  auto status = Base(view);
  const auto generation = view.meta.generation;
  SetCondition(status.conditions,
               {"Approved",
                true,
                "PolicyAllows",
                fmt::format("policy {} (generation {}) allows it", made.policy_name, made.policy_generation),
                generation,
                {}},
               now);
  SetCondition(status.conditions,
               {"Ready", true, "Signed", "signed and verified with status.publicKey", generation, {}}, now);
  status.approvals = ShownApprovals(made.approvals);
  status.signature = encoding::ToBase64(made.signature);
  status.algorithm = std::string(encoding::Info(made.algorithm).name);
  status.key_id = made.public_key.keyID();
  status.public_key = made.public_key.pem();
  status.policy_name = made.policy_name;
  status.policy_uid = made.policy_uid;
  status.policy_generation = made.policy_generation;
  status.signed_at = base::FormatTimeSeconds(made.signed_at);
  status.finished_at = base::FormatTimeSeconds(now);
  status.record = made.record;
  return api::StatusToJson(status);
}

std::string NotAllowedMessage(const api::SigningRequestSpec& spec) {
  return fmt::format(
      "{} may not sign under a policy named {}: check policyRef.name, or ask the platform team to list you "
      "in its subjects",
      spec.requester ? spec.requester->username : "nobody", spec.policy_name);
}

Classified Classify(const base::Error& error, const api::SigningRequestSpec& spec) {
  using base::Code;
  const std::string& reason = error.reason;
  if (reason == "NotAllowed") return {Verdict::kDenied, reason, NotAllowedMessage(spec)};
  if (IsOneOf(reason,
              {"AlgorithmNotAllowed", "ArtifactNotAllowed", "ImageNotAllowed", "Suspended", "DeniedByApprover"})) {
    return {Verdict::kDenied, reason, error.message};
  }
  if (IsOneOf(reason, {"ApprovalRequired", "AwaitingApproval"})) {
    return {Verdict::kWaiting, "AwaitingApproval", error.message};
  }
  if (error.code == Code::kDeadlineExceeded) return {Verdict::kUnknown, "HSMUnavailable", error.message};
  if (IsOneOf(reason, {"QuotaExceeded", "QuotaUnavailable", "OutsideWindow", "KeyNotReady", "HSMUnavailable",
                       "PolicyStale", "AuditUnavailable", "Busy"})) {
    return {Verdict::kWaiting, reason, error.message};
  }
  if (error.code == Code::kUnavailable || error.code == Code::kResourceExhausted || error.code == Code::kAborted) {
    return {Verdict::kWaiting, reason.empty() ? "Pending" : reason, error.message};
  }
  return {Verdict::kFailed, reason.empty() ? "SigningFailed" : reason, error.message};
}

}  // namespace signet::reconcile
