#include "frontend/admission.hpp"

#include <fmt/format.h>

#include <utility>

#include "api/json.hpp"
#include "api/texts.hpp"
#include "frontend/problem.hpp"
#include "frontend/review_server.hpp"
#include "obs/log.hpp"

namespace signet::frontend {
namespace {

using nlohmann::json;
using Operation = AdmissionReview::Operation;

constexpr std::string_view kRequest = "SigningRequest";
constexpr std::string_view kApproval = "SigningApproval";
constexpr std::string_view kPolicy = "SigningPolicy";
constexpr std::string_view kNamespaceController = "system:serviceaccount:kube-system:namespace-controller";

const json* FindMember(const json& object, std::string_view name) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(name);
  return it == object.end() ? nullptr : &*it;
}

std::string TextOf(const json* value) {
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

/// Names the caller and nobody else, or is absent.
bool NamesCaller(const json* stated, const json& caller) {
  if (stated == nullptr) return true;
  if (!stated->is_object()) return false;
  for (const auto& [key, value] : stated->items()) {
    const json* ours = FindMember(caller, key);
    if (ours == nullptr || *ours != value) return false;
  }
  return stated->contains("username");
}

/// What the client must leave to us; ok: `spec` has none of it, or names the caller.
base::Status CheckUnstamped(const json& spec, const char* who, const json& caller) {
  const auto refuse = [](std::string message) {
    return base::MakeError(base::Code::kPermissionDenied, std::move(message));
  };
  if (FindMember(spec, "stamp") != nullptr) return refuse("spec.stamp is made by Signet: leave it out");
  if (!NamesCaller(FindMember(spec, who), caller)) {
    return refuse(fmt::format("spec.{} is stamped by Signet: leave it out", who));
  }
  return {};
}

/// The patch that stamps `spec` with `who` = the caller, after `spec` has been given everything else.
json StampPatch(const authn::Sealer& sealer, const AdmissionReview& review, json spec, const char* who,
                base::TimePoint now) {
  spec[who] = review.user_info;
  return json::array(
      {{{"op", "add"}, {"path", std::string("/spec/") + who}, {"value", review.user_info}},
       {{"op", "add"}, {"path", "/spec/stamp"}, {"value", sealer.Stamp(review.kind, review.ns, spec, now)}}});
}

AdmissionVerdict MutateRequest(const authn::Sealer& sealer, const AdmissionReview& review, base::TimePoint now) {
  const json* spec = FindMember(review.object, "spec");
  if (spec == nullptr || !spec->is_object()) return AdmissionVerdict::Invalid("spec: is missing");
  if (auto fine = CheckUnstamped(*spec, "requester", review.user_info); !fine) {
    return AdmissionVerdict::Forbid(fine.error().message);
  }
  AdmissionVerdict verdict;
  verdict.patch = StampPatch(sealer, review, *spec, "requester", now);
  return verdict;
}

/// Specs of requests and approvals never change; metadata may.
AdmissionVerdict CheckImmutable(const AdmissionReview& review) {
  const json none;
  const json* before = FindMember(review.old_object, "spec");
  const json* after = FindMember(review.object, "spec");
  if ((before == nullptr ? none : *before) == (after == nullptr ? none : *after)) return AdmissionVerdict::Allow();
  return AdmissionVerdict::Invalid(fmt::format("spec: a {} is immutable: make a new one", review.kind));
}

bool IsOurs(const AdmissionReview& review) {
  return review.group == api::kGroupName &&
         (review.kind == kRequest || review.kind == kApproval || review.kind == kPolicy);
}

}  // namespace

Admission::Admission(Options options, Dependencies dependencies)
    : options_(std::move(options)), deps_(std::move(dependencies)) {}

void Admission::Handle(const http::Request& request, http::Responder respond) {
  const bool mutate = request.target == "/mutate";
  if (!mutate && request.target != "/validate") {
    return respond(ToResponse(MakeProblem("NotFound", "try /mutate or /validate")));
  }
  const auto label = [](const AdmissionReview& review) { return IsOurs(review) ? review.kind : std::string("other"); };
  ServeReview(*deps_.clock, mutate ? "mutate" : "validate", request, std::move(respond), label,
              [this, mutate](const AdmissionReview& review, Answer answer) {
                if (mutate) return Mutate(review, std::move(answer));
                Validate(review, std::move(answer));
              });
}

void Admission::Mutate(const AdmissionReview& review, Answer answer) const {
  const bool creates = review.operation == Operation::kCreate && review.sub_resource.empty();
  if (!IsOurs(review) || review.kind == kPolicy || !creates) return answer(AdmissionVerdict::Allow());
  if (review.kind == kApproval) return MutateApproval(review, std::move(answer));
  answer(MutateRequest(*deps_.sealer, review, deps_.clock->Now()));
}

void Admission::MutateApproval(const AdmissionReview& review, Answer answer) const {
  const json* spec = FindMember(review.object, "spec");
  if (spec == nullptr || !spec->is_object()) return answer(AdmissionVerdict::Invalid("spec: is missing"));
  if (auto fine = CheckUnstamped(*spec, "approver", review.user_info); !fine) {
    return answer(AdmissionVerdict::Forbid(fine.error().message));
  }
  const auto stamp = [this, review](json made, json patch) {
    AdmissionVerdict verdict;
    const json stamped = StampPatch(*deps_.sealer, review, std::move(made), "approver", deps_.clock->Now());
    patch.insert(patch.end(), stamped.begin(), stamped.end());
    verdict.patch = std::move(patch);
    return verdict;
  };
  const json* reference = FindMember(*spec, "requestRef");
  const RequestRef request{review.ns, reference == nullptr ? "" : TextOf(FindMember(*reference, "name")),
                           reference == nullptr ? "" : TextOf(FindMember(*reference, "uid"))};
  // What is wrong with the rest is told by /validate, once, with the code that reads it later. A signed approval says
  // itself which revision was seen: filling it in would turn a mistake into a statement.
  const bool complete = FindMember(*spec, "policy") != nullptr || FindMember(*spec, "signed") != nullptr;
  if (complete || request.name.empty() || request.uid.empty() || !deps_.revision) {
    return answer(stamp(*spec, json::array()));
  }
  deps_.revision(request, false,
                 [stamp, spec = *spec, answer = std::move(answer)](base::Result<api::PolicyRevision> found) mutable {
                   if (!found && found.error().code != base::Code::kNotFound) {
                     return answer(AdmissionVerdict::FromError(found.error()));
                   }
                   json patch = json::array();
                   if (found) {
                     spec["policy"] = {{"uid", found->uid}, {"generation", found->generation}};
                     patch.push_back({{"op", "add"}, {"path", "/spec/policy"}, {"value", spec["policy"]}});
                   }
                   answer(stamp(std::move(spec), std::move(patch)));
                 });
}

void Admission::Validate(const AdmissionReview& review, Answer answer) const {
  if (!IsOurs(review)) return answer(AdmissionVerdict::Allow());
  if (review.sub_resource == "status") {
    if (review.user.username == options_.operator_username) return answer(AdmissionVerdict::Allow());
    return answer(AdmissionVerdict::Forbid(
        fmt::format("the status of {} is written by Signet's operator alone", review.resource)));
  }
  if (!review.sub_resource.empty()) return answer(AdmissionVerdict::Allow());
  if (review.kind == kPolicy) return ValidatePolicy(review, std::move(answer));
  if (review.operation == Operation::kUpdate) return answer(CheckImmutable(review));
  if (review.operation == Operation::kDelete && review.kind == kApproval) {
    return ValidateRemoval(review, std::move(answer));
  }
  if (review.operation != Operation::kCreate) return answer(AdmissionVerdict::Allow());
  if (review.kind == kApproval) return ValidateApproval(review, std::move(answer));
  answer(ValidateRequest(review));
}

base::Status Admission::CheckStamp(const AdmissionReview& review, const char* who,
                                   const std::optional<api::Stamp>& stamp) const {
  const auto refuse = [](std::string message) {
    return base::MakeError(base::Code::kPermissionDenied, std::move(message));
  };
  const json& spec = review.object["spec"];
  const json* named = FindMember(spec, who);
  if (!stamp || named == nullptr) {
    return refuse(
        "it was not stamped: is the MutatingWebhookConfiguration signet.dev missing? the operator puts it "
        "back within seconds: try again");
  }
  if (!deps_.sealer->Verifies(review.kind, review.ns, spec)) {
    return refuse(
        "the seal does not fit: spec.stamp was made elsewhere, or another admission webhook changed the spec "
        "after Signet had sealed it");
  }
  const auto now = deps_.clock->Now();
  const auto distance = now > stamp->time ? now - stamp->time : stamp->time - now;
  if (distance > authn::StampJudge::kMaxDistance || *named != review.user_info) {
    return refuse(fmt::format("spec.{} and spec.stamp are made by Signet for this request alone: leave them out", who));
  }
  return {};
}

AdmissionVerdict Admission::ValidateRequest(const AdmissionReview& review) const {
  const auto request = api::RequestFromJson(review.object);
  if (!request) return AdmissionVerdict::Invalid(request.error().message);
  if (auto texts = api::CheckTexts(review.object); !texts) return AdmissionVerdict::Invalid(texts.error().message);
  if (auto stamped = CheckStamp(review, "requester", request->spec.stamp); !stamped) {
    return AdmissionVerdict::Forbid(stamped.error().message);
  }
  AdmissionVerdict verdict;
  if (review.dry_run) verdict.warnings = Explain(review, request->spec);
  return verdict;
}

std::vector<std::string> Admission::Explain(const AdmissionReview& review, const api::SigningRequestSpec& spec) const {
  signing::Caller caller;
  caller.door = signing::Door::kController;
  caller.principal = {review.user.username, review.user.uid, review.user.groups, review.user.extra,
                      identity::Proof::kAdmission};
  signing::SignCall call;
  call.policy = spec.policy_name;
  call.digest = spec.digest;
  call.message = spec.message;
  call.algorithm = spec.algorithm;
  call.artifact = spec.artifact;
  call.request_namespace = review.ns;
  call.request_name = review.name;
  const auto decision = deps_.service->Explain(caller, call);
  std::vector<std::string> lines;
  if (!decision.allowed()) {
    lines.push_back(
        fmt::format("dry run: would not be signed now ({}): {}", policy::Name(decision.reason), decision.message));
    if (decision.retry_at)
      lines.push_back("dry run: the window opens at " + base::FormatTimeSeconds(*decision.retry_at));
    return lines;
  }
  const auto active = deps_.service->Visible(caller, spec.policy_name);
  if (active && !active->key) {
    lines.push_back(fmt::format("dry run: the policy allows it, but its key is not ready ({}): {}",
                                active->not_ready_reason, active->not_ready_message));
    return lines;
  }
  lines.push_back(fmt::format("dry run: would be signed now under policy {} with {}, if its quota allows it",
                              spec.policy_name, encoding::Info(decision.algorithm).name));
  return lines;
}

void Admission::ValidateApproval(const AdmissionReview& review, Answer answer) const {
  const auto approval = api::ApprovalFromJson(review.object);
  if (!approval) return answer(AdmissionVerdict::Invalid(approval.error().message));
  if (auto texts = api::CheckTexts(review.object); !texts) {
    return answer(AdmissionVerdict::Invalid(texts.error().message));
  }
  if (auto stamped = CheckStamp(review, "approver", approval->spec.stamp); !stamped) {
    return answer(AdmissionVerdict::Forbid(stamped.error().message));
  }
  const RequestRef request{review.ns, approval->spec.request_name, approval->spec.request_uid};
  auto then = [this, request, seen = approval->spec.policy, answer = std::move(answer)](const base::Status& counts) {
    if (!counts) return answer(AdmissionVerdict::FromError(counts.error()));
    if (!deps_.revision) return answer(AdmissionVerdict::Allow());
    if (!seen) return answer(AdmissionVerdict::Forbid(std::string(kNothingToApprove)));
    CheckRevision(request, *seen, false, answer);
  };
  if (!deps_.would_count) return then({});
  deps_.would_count(review.object, std::move(then));
}

/// A no that was deleted before it was acted on would be no no. The garbage collector is asked as anybody: who may
/// write an object may give it an owner that is not there. Where the owner is the request, it is gone or going.
void Admission::ValidateRemoval(const AdmissionReview& review, Answer answer) const {
  const json* spec = FindMember(review.old_object, "spec");
  const bool denies = spec != nullptr && TextOf(FindMember(*spec, "decision")) == api::Name(api::Decision::kDeny);
  if (!denies || !deps_.may_be_removed || review.user.username == kNamespaceController) {
    return answer(AdmissionVerdict::Allow());
  }
  deps_.may_be_removed(review.old_object, [answer = std::move(answer)](const base::Status& may) {
    answer(may ? AdmissionVerdict::Allow() : AdmissionVerdict::FromError(may.error()));
  });
}

/// A cache may lag behind what the approver has seen: what does not fit is looked at live.
void Admission::CheckRevision(const RequestRef& request, const api::PolicyRevision& seen, bool live,
                              Answer answer) const {
  deps_.revision(request, live,
                 [this, request, seen, live, answer = std::move(answer)](const base::Result<api::PolicyRevision>& now) {
                   const bool fits = now && now->uid == seen.uid && now->generation == seen.generation;
                   if (fits) return answer(AdmissionVerdict::Allow());
                   if (!now && now.error().code != base::Code::kNotFound) {
                     return answer(AdmissionVerdict::FromError(now.error()));
                   }
                   if (!live) return CheckRevision(request, seen, true, answer);
                   if (!now) return answer(AdmissionVerdict::Forbid(std::string(kNothingToApprove)));
                   answer(AdmissionVerdict::Conflict(
                       "the policy was edited since you looked at it: read it, and approve again if you still agree"));
                 });
}

}  // namespace signet::frontend
