#include "reconcile/request_reconciler.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "api/json.hpp"
#include "api/texts.hpp"
#include "base/kill_point.hpp"
#include "obs/log.hpp"
#include "obs/metrics.hpp"
#include "reconcile/on_loop.hpp"
#include "reconcile/request_call.hpp"
#include "reconcile/request_filter.hpp"
#include "reconcile/resources.hpp"

namespace signet::reconcile {
namespace {

using namespace std::chrono_literals;

constexpr base::Duration kShortest = 20ms;
constexpr base::Duration kLongestBackoff = 5s;
constexpr base::Duration kLongestWait = 10min;

/// For what no event announces the end of: 100 ms, 200 ms, ... 5 s.
base::Duration Backoff(int attempts) {
  return std::min<base::Duration>(kLongestBackoff, base::Duration(100ms) * (1 << std::min(attempts, 10)));
}

bool PassesByItself(std::string_view reason) {
  return reason == "Busy" || reason == "HSMUnavailable" || reason == "AuditUnavailable" || reason == "PolicyStale" ||
         reason == "QuotaExceeded" || reason == "Pending";
}

/// Whichever of the two is newer; resource versions of one store count up.
bool IsNewer(const std::string& left, const std::string& right) {
  return left.size() != right.size() ? left.size() > right.size() : left > right;
}

}  // namespace

RequestReconciler::RequestReconciler(Options options, Dependencies dependencies,
                                     const std::vector<audit::OpenOperation>& unsettled)
    : options_(options), deps_(std::move(dependencies)) {
  for (const auto& open : unsettled) {
    if (open.request_uid.empty()) continue;
    auto& memory = memory_[RequestKey{open.request_namespace, open.request_name}];
    memory.undelivered.push_back({open.operation, open.request_uid, std::nullopt, true, {}});
  }
}

std::vector<RequestKey> RequestReconciler::Unsettled() const {
  const std::lock_guard lock(mutex_);
  std::vector<RequestKey> out;
  for (const auto& [key, memory] : memory_) {
    if (!memory.undelivered.empty()) out.push_back(key);
  }
  return out;
}

std::vector<RequestKey> RequestReconciler::WaitingFor(const std::string& policy) const {
  const std::lock_guard lock(mutex_);
  std::vector<RequestKey> out;
  for (const auto& [key, memory] : memory_) {
    const bool waits = memory.waiting_since && (policy.empty() || memory.policy == policy);
    if (waits) out.push_back(key);
  }
  return out;
}

RequestReconciler::Memory RequestReconciler::Recall(const RequestKey& key) const {
  const std::lock_guard lock(mutex_);
  const auto it = memory_.find(key);
  return it == memory_.end() ? Memory{} : it->second;
}

void RequestReconciler::Remember(const RequestKey& key, Memory memory) {
  const std::lock_guard lock(mutex_);
  if (memory.uid.empty() && memory.undelivered.empty()) {
    memory_.erase(key);
  } else {
    memory_[key] = std::move(memory);
  }
}

void RequestReconciler::Forget(const RequestKey& key) {
  const std::lock_guard lock(mutex_);
  const auto known = memory_.find(key);
  if (known == memory_.end() || !known->second.undelivered.empty() || at_work_.contains(key)) return;
  memory_.erase(known);
}

base::Result<std::shared_ptr<const nlohmann::json>> RequestReconciler::Find(const RequestKey& key) const {
  auto copy = deps_.cached(key);
  if (copy == nullptr || !RequestFilter::IsAbridged(*copy)) return copy;
  auto live = deps_.store->Get(SigningRequests(), key.ns, key.name);
  if (live) return std::make_shared<const nlohmann::json>(std::move(*live));
  if (live.error().code == base::Code::kNotFound) return nullptr;
  return base::Error(live.error());
}

RequestReconciler::Turn::Turn(RequestReconciler& owner, const RequestKey& key) : owner_(owner), key_(key) {
  const std::lock_guard lock(owner_.mutex_);
  mine_ = owner_.at_work_.insert(key_).second;
}

RequestReconciler::Turn::~Turn() {
  const std::lock_guard lock(owner_.mutex_);
  if (mine_) owner_.at_work_.erase(key_);
}

Outcome RequestReconciler::Reconcile(const RequestKey& key) {
  const Turn turn(*this, key);
  if (!turn.mine()) return Outcome::After(kRetrySoon);
  Memory memory = Recall(key);
  const Outcome outcome = Run(key, memory);
  Remember(key, std::move(memory));
  return outcome;
}

Outcome RequestReconciler::Run(const RequestKey& key, Memory& memory) {
  if (auto outcome = SettleOld(key, memory)) return *outcome;
  const auto found = Find(key);
  if (!found) return Outcome::Retry(found.error());
  const auto& object = *found;
  if (object == nullptr) {
    memory = {};
    return Outcome::Done();
  }
  auto viewed = ViewRequest(*object);
  if (!viewed) {
    obs::Warn("request without usable metadata", {{"error", base::Describe(viewed.error())}});
    return Outcome::Done();
  }
  RequestView& view = *viewed;
  if (memory.uid != view.meta.uid) {
    memory = {};
    memory.uid = view.meta.uid;
  }
  if (view.decided) {
    memory = {};
    return AfterTtl(view);
  }
  if (memory.finished || view.meta.deleting) return Outcome::Done();
  if (!memory.waiting_reason.empty()) {
    view.waiting_reason = memory.waiting_reason;
    view.approvals = memory.approvals;
  }
  if (!memory.resource_version.empty() && IsNewer(memory.resource_version, view.meta.resource_version)) {
    view.meta.resource_version = memory.resource_version;
  }
  if (view.meta.generation > 1) {
    return Failed(view, "SpecChanged", "the spec was changed after the request was made: make a new request", memory);
  }
  auto request = api::RequestFromJson(*object);
  if (!request) return Failed(view, "Invalid", request.error().message, memory);
  if (auto texts = api::CheckTexts(*object); !texts) return Failed(view, "Invalid", texts.error().message, memory);
  return Decide(view, *object, request->spec, memory);
}

// ---- the decision ----------------------------------------------------------------------

signing::SigningService::Answer RequestReconciler::Sign(const signing::Caller& caller, const signing::SignCall& call) {
  using Answer = signing::SigningService::Answer;
  auto answer = AskLoop<Answer>(
      *deps_.reactor,
      [service = deps_.service, caller, call](std::function<void(Answer)> done) {
        service->Sign(caller, call, std::move(done));
      },
      [service = deps_.service](const Answer& late) {
        if (late) service->Settle({late->record, audit::Released::kNo, "Abandoned"}, {});
      });
  if (answer) return std::move(*answer);
  return tl::make_unexpected(signing::Refused{
      base::MakeError(base::Code::kDeadlineExceeded, "HSMUnavailable", "the signing service gave no answer in time"),
      std::nullopt});
}

base::Status RequestReconciler::ReadApprovals(signing::SignCall& call) {
  if (!deps_.read_approvals) return base::MakeError(base::Code::kUnavailable, "PolicyStale", "no store has approvals");
  const auto asked = deps_.clock->Steady();
  TRY(call.approvals, deps_.read_approvals({call.request_namespace, call.request_name}));
  call.approvals_read = asked;
  return {};
}

signing::SigningService::Answer RequestReconciler::SignWithApprovals(const signing::Caller& caller,
                                                                     signing::SignCall& call) {
  auto answer = Sign(caller, call);
  if (answer || !answer.error().wants_approvals) return answer;
  if (auto read = ReadApprovals(call); !read) {
    obs::Debug("approvals not read", {{"request", call.request_name}, {"error", base::Describe(read.error())}});
    return answer;
  }
  EnsureNamespaces(caller, call);
  return Sign(caller, call);
}

/// Selectors of subjects and approvers look at the labels of accounts' namespaces.
void RequestReconciler::EnsureNamespaces(const signing::Caller& caller, const signing::SignCall& call) {
  if (!deps_.ensure_namespace) return;
  std::set<std::string> namespaces;
  const auto add = [&](std::string_view username) {
    if (const auto account = identity::ParseServiceAccount(username)) namespaces.emplace(account->ns);
  };
  add(caller.principal.username);
  for (const auto& approval : call.approvals) {
    if (approval.vouched && approval.spec.approver) add(approval.spec.approver->username);
  }
  for (const auto& ns : namespaces) deps_.ensure_namespace(ns);
}

base::Result<policy::Decision> RequestReconciler::Explain(const signing::Caller& caller,
                                                          const signing::SignCall& call) {
  auto decision = AskLoop<policy::Decision>(
      *deps_.reactor, [service = deps_.service, caller, call](const std::function<void(policy::Decision)>& done) {
        done(service->Explain(caller, call));
      });
  if (!decision) return base::MakeError(base::Code::kUnavailable, "Busy", "the signing service gave no answer in time");
  return std::move(*decision);
}

base::Status RequestReconciler::ReadLive(const api::SigningRequestSpec& spec) {
  TRY_VOID(deps_.refresh_policy(spec.policy_name));
  const auto account = identity::ParseServiceAccount(spec.requester->username);
  if (account && deps_.refresh_namespace) TRY_VOID(deps_.refresh_namespace(std::string(account->ns)));
  return {};
}

Outcome RequestReconciler::Decide(RequestView& view, const nlohmann::json& object, const api::SigningRequestSpec& spec,
                                  Memory& memory) {
  memory.policy = spec.policy_name;
  if (deps_.clock->Now() >= view.meta.creation_time + spec.expires_after) {
    return Denied(view, "Expired", "not decided before expiresAfter had passed: make a new request", memory);
  }
  auto proven = CallerOf(*deps_.store, deps_.stamped, object, spec);
  if (!proven)
    return Wait(view, spec, {Verdict::kWaiting, "RequesterUnknown", proven.error().message}, kLongestWait, memory);
  deps_.ensure_fresh(spec.policy_name);
  const auto& caller = *proven;
  auto call = CallOf(view.meta, spec);
  if (deps_.approvals) call.approvals = deps_.approvals({view.meta.ns, view.meta.name});
  EnsureNamespaces(caller, call);
  auto answer = SignWithApprovals(caller, call);
  const auto written =
      std::exchange(view.approvals, ShownApprovals(answer ? answer->approvals : answer.error().approvals));
  if (!answer && Classify(answer.error().error, spec).verdict == Verdict::kDenied) {
    if (auto outcome = Confirm(view, spec, caller, call, memory)) return *outcome;
    answer = SignWithApprovals(caller, call);  // the copies were wrong: what is live allows it
  }
  if (answer) return Deliver(view, std::move(*answer), memory);

  auto why = Classify(answer.error().error, spec);
  switch (why.verdict) {
    case Verdict::kDenied:
      return Outcome::After(kRetrySoon);  // changed once more in between: from the start
    case Verdict::kFailed:
      return Failed(view, why.reason, why.message, memory);
    case Verdict::kUnknown:
      if (++memory.unknown_outcomes > options_.unknown_outcomes) {
        return Failed(view, "OutcomeUnknown", "the HSM left open too often whether it signed: " + why.message, memory);
      }
      break;
    case Verdict::kWaiting:
      break;
  }
  if (written != view.approvals) view.waiting_reason.clear();  // somebody approved: to be written
  return Wait(view, spec, why, answer.error().retry_after, memory);
}

std::optional<Outcome> RequestReconciler::Confirm(const RequestView& view, const api::SigningRequestSpec& spec,
                                                  const signing::Caller& caller, signing::SignCall& call,
                                                  Memory& memory) {
  if (auto read = ReadLive(spec); !read) return Outcome::Retry(read.error());
  if (!call.approvals.empty()) {
    if (auto read = ReadApprovals(call); !read) return Outcome::Retry(read.error());
  }
  auto decision = Explain(caller, call);
  if (!decision) return Outcome::Retry(decision.error());
  if (decision->allowed()) return std::nullopt;
  base::Error refusal =
      base::MakeError(base::Code::kPermissionDenied, std::string(policy::Name(decision->reason)), decision->message);
  const auto why = Classify(refusal, spec);
  if (why.verdict == Verdict::kDenied) return Denied(view, why.reason, why.message, memory);
  return std::nullopt;  // would wait: let Sign say for how long
}

Outcome RequestReconciler::Wait(const RequestView& view, const api::SigningRequestSpec& spec, const Classified& why,
                                std::optional<base::Duration> retry_after, Memory& memory) {
  const auto now = deps_.clock->Steady();
  if (!memory.waiting_since) {
    memory.waiting_since = now;
    memory.attempts = 0;
  }
  const auto until_expiry = view.meta.creation_time + spec.expires_after - deps_.clock->Now();
  auto delay = std::min(retry_after.value_or(Backoff(memory.attempts++)), kLongestWait);
  delay = std::max(std::min<base::Duration>(delay, until_expiry), kShortest);

  const bool hiccup = PassesByItself(why.reason) && now - *memory.waiting_since < options_.waiting_grace;
  if (why.reason == view.waiting_reason) return Outcome::After(delay);
  // Written a little later, if it still lasts then.
  if (hiccup) return Outcome::After(std::min(delay, options_.waiting_grace));
  auto written = deps_.store->PatchStatus(SigningRequests(), view.meta.ns, view.meta.name, view.meta.uid,
                                          view.meta.resource_version,
                                          WaitingStatus(view, why.reason, why.message, deps_.clock->Now()));
  if (!written) {
    memory.resource_version.clear();
    if (written.error().code == base::Code::kNotFound) return Outcome::Done();
    if (written.error().code == base::Code::kAborted) return Outcome::After(kRetrySoon);
    return Outcome::Retry(written.error());
  }
  memory.waiting_reason = why.reason;
  memory.approvals = view.approvals;
  if (auto meta = api::MetadataFromJson(*written)) memory.resource_version = meta->resource_version;
  return Outcome::After(delay);
}

// ---- the other ends --------------------------------------------------------------------

Outcome RequestReconciler::End(const RequestView& view, const nlohmann::json& status, std::string_view result,
                               Memory& memory) {
  auto written = deps_.store->PatchStatus(SigningRequests(), view.meta.ns, view.meta.name, view.meta.uid,
                                          view.meta.resource_version, status);
  if (!written) {
    memory.resource_version.clear();
    if (written.error().code == base::Code::kNotFound) return Outcome::Done();
    if (written.error().code == base::Code::kAborted) return Outcome::After(kRetrySoon);
    return Outcome::Retry(written.error());
  }
  memory = {};
  memory.uid = view.meta.uid;
  memory.finished = true;
  obs::GetCounter("signet_requests_finished_total", "SigningRequests decided", {{"result", result}}).Add();
  return Outcome::Done();
}

Outcome RequestReconciler::Denied(const RequestView& view, const std::string& reason, const std::string& message,
                                  Memory& memory) {
  auto outcome = End(view, DeniedStatus(view, reason, message, deps_.clock->Now()), "denied", memory);
  if (memory.finished) {
    deps_.events->Record(SigningRequests(), view.meta, EventRecorder::Type::kWarning, "Denied",
                         reason + ": " + message);
  }
  return outcome;
}

Outcome RequestReconciler::Failed(const RequestView& view, const std::string& reason, const std::string& message,
                                  Memory& memory) {
  auto outcome = End(view, FailedStatus(view, reason, message, deps_.clock->Now()), "failed", memory);
  if (memory.finished) {
    deps_.events->Record(SigningRequests(), view.meta, EventRecorder::Type::kWarning, "Failed",
                         reason + ": " + message);
  }
  return outcome;
}

Outcome RequestReconciler::AfterTtl(const RequestView& view) {
  if (!view.ttl_seconds_after_finished || !view.finished_at || view.meta.deleting) return Outcome::Done();
  const auto left = *view.finished_at + std::chrono::seconds(*view.ttl_seconds_after_finished) - deps_.clock->Now();
  if (left > base::Duration::zero()) return Outcome::After(left);
  return DeleteRequest(*deps_.store, {view.meta.ns, view.meta.name}, view.meta.uid);
}

Outcome DeleteRequest(kube::ObjectStore& store, const RequestKey& key, std::string_view uid) {
  auto deleted = store.Delete(SigningRequests(), key.ns, key.name, uid);
  if (deleted || deleted.error().code == base::Code::kNotFound || deleted.error().code == base::Code::kAborted) {
    return Outcome::Done();
  }
  return Outcome::Retry(deleted.error());
}

}  // namespace signet::reconcile
