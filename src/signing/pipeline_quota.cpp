// The pipeline's quota step: takes an operation's place in the budget, and waits briefly where it must first be lent.
#include <chrono>
#include <utility>

#include "signing/pipeline.hpp"

namespace signet::signing {
namespace {

using namespace std::chrono_literals;
using base::Code;
using base::MakeError;
using Why = policy::QuotaRefusal::Why;

// A lease takes two short calls of the API server. Longer than this is an outage, and the caller should know.
constexpr base::Duration kPatience = 2s;
constexpr base::Duration kRetryQuota = 1s;

Refused Unavailable() {
  return {MakeError(Code::kUnavailable, "QuotaUnavailable",
                    "this replica's part of the day's budget is used up, and more cannot be had from the API server "
                    "now; nothing was signed: ask again"),
          kRetryQuota};
}

Refused UsedUp(const policy::QuotaRefusal& refusal, bool shared) {
  return {MakeError(Code::kResourceExhausted, "QuotaExceeded",
                    shared ? "the policy's quota is used up (perDay by all replicas together, or perSecond in this "
                             "replica): ask again later"
                           : "the policy's quota is used up (counted in this process alone): ask again later"),
          refusal.retry_after};
}

}  // namespace

void Pipeline::TakeQuota(const OperationPtr& operation) {
  const auto& quota = operation->active->compiled->policy().spec.quota;
  if (!quota) return AppendIntent(operation);
  const auto& principal = operation->caller.principal.username;
  const auto refusal = deps_.quotas->Reserve(operation->call.policy, *quota, principal);
  if (!refusal) return AppendIntent(operation);
  switch (refusal->why) {
    case Why::kUsedUp:
      return Refuse(operation, UsedUp(*refusal, deps_.quotas->IsShared()));
    case Why::kUnavailable:
      return Refuse(operation, Unavailable());
    case Why::kWaiting:
      return AwaitQuota(operation, *quota);
  }
}

void Pipeline::AwaitQuota(const OperationPtr& operation, const api::Quota& quota) {
  const auto now = deps_.clock->Steady();
  if (!operation->quota_deadline) operation->quota_deadline = now + kPatience;
  if (now >= *operation->quota_deadline) return Refuse(operation, Unavailable());
  // Whichever comes first takes the operation out: a lender that hangs keeps the empty slot, and nothing of the
  // caller's.
  auto slot = std::make_shared<OperationPtr>(operation);
  const auto left = std::chrono::ceil<std::chrono::microseconds>(*operation->quota_deadline - now);
  const auto timer = deps_.reactor->After(left, [this, alive = alive_, slot] {
    const auto waiting = std::exchange(*slot, nullptr);
    if (*alive && waiting) Refuse(waiting, Unavailable());
  });
  const bool waits = deps_.quotas->WhenAnswered(operation->call.policy, quota, operation->caller.principal.username,
                                                [this, alive = alive_, slot, timer] {
                                                  const auto waiting = std::exchange(*slot, nullptr);
                                                  if (!*alive || !waiting) return;
                                                  deps_.reactor->Cancel(timer);
                                                  Resume(waiting);
                                                });
  if (waits) return;
  deps_.reactor->Cancel(timer);
  Refuse(operation, Unavailable());
}

/// What stood before the wait need not stand now.
void Pipeline::Resume(const OperationPtr& operation) {
  if (auto refused = Recheck(*operation)) return Refuse(operation, *std::move(refused));
  operation->active = deps_.policies->Find(operation->call.policy);
  TakeQuota(operation);
}

}  // namespace signet::signing
