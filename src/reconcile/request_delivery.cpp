#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "api/json.hpp"
#include "base/kill_point.hpp"
#include "obs/log.hpp"
#include "obs/metrics.hpp"
#include "reconcile/request_call.hpp"
#include "reconcile/request_reconciler.hpp"
#include "reconcile/resources.hpp"

// What RequestReconciler does once a signature is made: into the status, and the end of it into the record.
namespace signet::reconcile {
namespace {

using namespace std::chrono_literals;

/// A signature that was made and not delivered yet is taken back by these. Windows and quotas were met when it was
/// made.
bool TakesBack(policy::Reason reason) {
  using policy::Reason;
  return reason != Reason::kAllowed && reason != Reason::kOutsideWindow && reason != Reason::kQuotaExceeded;
}

/// The write was refused: the object has passed the version it named, or is gone.
bool IsPassedBy(const base::Error& error) {
  return error.code == base::Code::kAborted || error.code == base::Code::kNotFound;
}

}  // namespace

void RequestReconciler::Settle(const std::string& operation, audit::Released released, std::string reason) {
  if (released == audit::Released::kNo) {
    obs::Warn("signature discarded", {{"operation", operation}, {"reason", reason}});
    obs::GetCounter("signet_signatures_discarded_total", "Signatures made and never released", {{"reason", reason}})
        .Add();
  }
  if (released == audit::Released::kUnknown) {
    obs::Warn("signature perhaps published: its request is gone", {{"operation", operation}});
    obs::GetCounter("signet_signatures_delivery_unknown_total", "Signatures whose request went before it could be read")
        .Add();
  }
  deps_.reactor->Post([service = deps_.service, release = audit::Release{operation, released, std::move(reason)}] {
    service->Settle(release, {});
  });
}

void RequestReconciler::SettleGone(const Undelivered& open, std::string reason) {
  if (open.in_doubt) return Settle(open.operation, audit::Released::kUnknown, "DeliveryUnknown");
  Settle(open.operation, audit::Released::kNo, std::move(reason));
}

base::Result<RequestView> RequestReconciler::ReadRequest(const RequestKey& key) const {
  TRY(const auto live, deps_.store->Get(SigningRequests(), key.ns, key.name));
  return ViewRequest(live);
}

RequestReconciler::Standing RequestReconciler::Judge(const RequestView& live, const std::string& operation) {
  if (live.record == operation) return {false, true, {}};
  if (live.decided) return {false, false, "AlreadyDecided"};
  if (live.meta.generation > 1) return {false, false, "SpecChanged"};
  return {true, false, {}};
}

std::optional<RequestReconciler::Delivery> RequestReconciler::EndByReading(const Undelivered& open,
                                                                           const base::Result<RequestView>& live,
                                                                           base::Error& why) {
  if (!live && live.error().code != base::Code::kNotFound) {
    why = live.error();
    return Delivery::kOpen;
  }
  if (!live || live->meta.uid != open.uid) {
    SettleGone(open, live ? "RequestReplaced" : "RequestGone");
    return Delivery::kDiscarded;
  }
  const auto standing = Judge(*live, open.operation);
  if (standing.undecided) return std::nullopt;
  Settle(open.operation, standing.carries_it ? audit::Released::kYes : audit::Released::kNo, standing.reason);
  return standing.carries_it ? Delivery::kReleased : Delivery::kDiscarded;
}

Outcome RequestReconciler::SettleByReading(const RequestKey& key) {
  const Turn turn(*this, key);
  if (!turn.mine()) return Outcome::Done();
  Memory memory = Recall(key);
  if (memory.undelivered.empty()) return Outcome::Done();
  const auto cached = deps_.cached(key);
  if (cached != nullptr) {
    // While the copy shows it undecided, a read would end nothing.
    const auto view = ViewRequest(*cached);
    const bool undecided = view && std::all_of(memory.undelivered.begin(), memory.undelivered.end(), [&](auto& open) {
                             return view->meta.uid == open.uid && Judge(*view, open.operation).undecided;
                           });
    if (undecided) return Outcome::Done();
  }
  base::Error why;
  const auto live = ReadRequest(key);
  std::erase_if(memory.undelivered, [&](const Undelivered& open) {
    const auto end = EndByReading(open, live, why);
    if (end == Delivery::kReleased && cached != nullptr) {
      memory.uid = open.uid;
      memory.finished = true;
    }
    return end && *end != Delivery::kOpen;
  });
  const bool unread = !memory.undelivered.empty() && !live;
  Remember(key, std::move(memory));
  return unread ? Outcome::Retry(std::move(why)) : Outcome::Done();
}

std::optional<Outcome> RequestReconciler::SettleOld(const RequestKey& key, Memory& memory) {
  while (!memory.undelivered.empty()) {
    base::Error why;
    auto& open = memory.undelivered.back();
    const auto delivery = Redeliver(key, open, memory, why);
    if (delivery == Delivery::kOpen) return Outcome::Retry(std::move(why));
    if (delivery == Delivery::kReleased) {
      memory.uid = open.uid;
      memory.finished = true;
    }
    memory.undelivered.pop_back();
  }
  return std::nullopt;
}

RequestReconciler::Delivery RequestReconciler::Redeliver(const RequestKey& key, Undelivered& open, Memory& memory,
                                                         base::Error& why) {
  for (int rewrites = 0;; ++rewrites) {
    // One read for all that follows: what is judged here is what the write takes for granted.
    const auto object = deps_.store->Get(SigningRequests(), key.ns, key.name);
    const auto live = object ? ViewRequest(*object) : base::Result<RequestView>(object.error());
    if (const auto end = EndByReading(open, live, why)) return *end;
    std::string discard = "Interrupted";  // what an earlier process signed died with it: the request is signed anew
    if (open.made && rewrites >= options_.conflicts) {
      discard = "Conflict";
    } else if (open.made) {
      auto taken_back = TakenBack(*object, *live);
      if (!taken_back) {
        why = taken_back.error();
        return Delivery::kOpen;
      }
      discard = std::move(*taken_back);
    }
    if (discard.empty()) {
      if (const auto end = Write(*live, open, why)) return *end;
      continue;
    }
    const auto fenced = FenceOff(*live, open, discard, memory);
    if (fenced) {
      Settle(open.operation, audit::Released::kNo, discard);
      return Delivery::kDiscarded;
    }
    why = fenced.error();
    if (!IsPassedBy(why) || rewrites >= options_.conflicts) return Delivery::kOpen;
  }
}

base::Status RequestReconciler::FenceOff(const RequestView& live, const Undelivered& open, const std::string& reason,
                                         Memory& memory) {
  const std::string& version = live.meta.resource_version;
  // A write is refused once the version it names has passed: what is on its way can arrive at this version alone.
  if (!open.in_doubt || (!open.sent_version.empty() && open.sent_version != version)) return {};
  // The version makes the text new each time: a patch that changes nothing would leave the version as it is.
  const auto message = fmt::format(
      "the signature of operation {} did not get here in time and is discarded (at resourceVersion {}): the request is "
      "decided anew",
      open.operation, version);
  TRY(const auto written, deps_.store->PatchStatus(SigningRequests(), live.meta.ns, live.meta.name, open.uid, version,
                                                   WaitingStatus(live, reason, message, deps_.clock->Now())));
  memory.uid = open.uid;
  memory.waiting_reason = reason;
  memory.approvals = live.approvals;
  TRY(const auto meta, api::MetadataFromJson(written));
  memory.resource_version = meta.resource_version;
  return {};
}

base::Result<std::string> RequestReconciler::TakenBack(const nlohmann::json& object, const RequestView& live) {
  const auto request = api::RequestFromJson(object);
  if (!request) return std::string("Invalid");
  const auto caller = CallerOf(*deps_.store, deps_.stamped, object, request->spec);
  if (!caller) return std::string("PolicyChanged");
  TRY_VOID(ReadLive(request->spec));
  auto call = CallOf(live.meta, request->spec);
  if (deps_.read_approvals) {  // a no may have come since
    TRY_VOID(ReadApprovals(call));
    EnsureNamespaces(*caller, call);
  }
  TRY(const auto decision, Explain(*caller, call));
  return std::string(TakesBack(decision.reason) ? "PolicyChanged" : "");
}

std::optional<RequestReconciler::Delivery> RequestReconciler::Write(const RequestView& view, Undelivered& open,
                                                                    base::Error& why) {
  base::KillPoint(base::kKillBeforePatch);
  auto written =
      deps_.store->PatchStatusWithin(options_.delivery, SigningRequests(), view.meta.ns, view.meta.name, open.uid,
                                     view.meta.resource_version, SignedStatus(view, *open.made, deps_.clock->Now()));
  if (written) {
    base::KillPoint(base::kKillAfterPatch);
    Settle(open.operation, audit::Released::kYes, {});
    return Delivery::kReleased;
  }
  why = written.error();
  if (IsPassedBy(why)) return std::nullopt;
  open.in_doubt = true;
  open.sent_version = view.meta.resource_version;
  return Delivery::kOpen;
}

Outcome RequestReconciler::Deliver(const RequestView& view, signing::Signed made, Memory& memory) {
  base::Error why;
  Undelivered open{made.record, view.meta.uid, std::move(made), false, {}};
  auto delivery = Write(view, open, why);
  if (!delivery) delivery = Redeliver({view.meta.ns, view.meta.name}, open, memory, why);
  switch (*delivery) {
    case Delivery::kReleased:
      memory = {};
      memory.uid = view.meta.uid;
      memory.finished = true;
      obs::GetCounter("signet_requests_finished_total", "SigningRequests decided", {{"result", "signed"}}).Add();
      return Outcome::Done();
    case Delivery::kDiscarded:
      return Outcome::After(kRetrySoon);
    case Delivery::kOpen:
      break;
  }
  memory.undelivered.push_back(std::move(open));
  return Outcome::Retry(std::move(why));
}

}  // namespace signet::reconcile
