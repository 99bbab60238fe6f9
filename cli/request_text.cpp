#include "cli/request_text.hpp"

#include <fmt/format.h>

#include "api/json.hpp"
#include "cli/output.hpp"
#include "crypto/digest.hpp"

namespace signet::cli {

RequestState StateOf(const api::SigningRequest& request) {
  using Kind = RequestState::Kind;
  const auto& conditions = request.status.conditions;
  const auto holds = [&](std::string_view type) {
    const auto* found = api::FindCondition(conditions, type);
    return found != nullptr && found->status ? found : nullptr;
  };
  if (const auto* denied = holds("Denied")) return {Kind::kDenied, denied->reason, denied->message};
  if (const auto* failed = holds("Failed")) return {Kind::kFailed, failed->reason, failed->message};
  if (const auto* ready = holds("Ready")) return {Kind::kSigned, ready->reason, ready->message};
  if (const auto* ready = api::FindCondition(conditions, "Ready"))
    return {Kind::kWaiting, ready->reason, ready->message};
  return {Kind::kWaiting, "Pending", "the operator has not looked at it yet"};
}

std::string_view Name(RequestState::Kind kind) {
  switch (kind) {
    case RequestState::Kind::kSigned:
      return "Signed";
    case RequestState::Kind::kDenied:
      return "Denied";
    case RequestState::Kind::kFailed:
      return "Failed";
    case RequestState::Kind::kWaiting:
      break;
  }
  return "Waiting";
}

std::string Sentence(const RequestState& state) {
  const char* what = state.kind == RequestState::Kind::kDenied   ? "denied"
                     : state.kind == RequestState::Kind::kFailed ? "failed"
                     : state.kind == RequestState::Kind::kSigned ? "signed"
                                                                 : "waiting";
  return state.message.empty() ? fmt::format("{}, {}", what, state.reason)
                               : fmt::format("{}, {}: {}", what, state.reason, state.message);
}

std::string WaitingLine(const api::SigningRequest& request, const RequestState& state) {
  std::string out = state.message.empty() ? state.reason : fmt::format("{}: {}", state.reason, state.message);
  std::string who;
  for (const auto& approval : request.status.approvals) {
    if (approval.counts) who += (who.empty() ? "" : ", ") + approval.approver;
  }
  return who.empty() ? out : fmt::format("{}; approved by {}", out, who);
}

std::string ApprovalsText(const api::SigningRequest& request, base::TimePoint now) {
  std::string out;
  for (const auto& approval : request.status.approvals) {
    const std::string age = Age(approval.time, now);
    const bool why = !approval.message.empty() && !approval.counts;
    out += fmt::format("{}{} by {}{}: {}{}{}{}", out.empty() ? "" : "\n", approval.decision,
                       approval.approver.empty() ? "nobody known" : approval.approver,
                       age.empty() ? "" : ", " + age + " ago", approval.counts ? "counts" : approval.reason,
                       why ? ": " : "", why ? approval.message : "",
                       approval.signed_by.empty() ? "" : " (signed by " + approval.signed_by + ")");
  }
  return out;
}

std::string SubjectText(const api::Subject& subject) {
  switch (subject.kind) {
    case api::Subject::Kind::kServiceAccount:
      return fmt::format("ServiceAccount {}/{}", subject.namespace_selector ? "(selected namespaces)" : subject.ns,
                         subject.name);
    case api::Subject::Kind::kUser:
      return "User " + subject.name;
    case api::Subject::Kind::kGroup:
      break;
  }
  return "Group " + subject.name;
}

std::string ContentDigest(const api::SigningRequestSpec& spec) {
  if (spec.digest) return api::FormatDigest(*spec.digest);
  const base::ByteView message = spec.message ? base::ByteView(*spec.message) : base::ByteView();
  return "sha256:" + crypto::Sha256Hex(message);
}

std::string AlgorithmName(const api::SigningRequestSpec& spec, const api::SigningPolicy* policy) {
  if (spec.algorithm) return std::string(encoding::Info(*spec.algorithm).name);
  return policy == nullptr ? "" : std::string(encoding::Info(policy->spec.algorithms.front()).name);
}

std::string RandomSuffix() {
  constexpr std::string_view kLetters = "bcdfghjklmnpqrstvwxz2456789";  // no vowels, as Kubernetes does it
  constexpr std::size_t kLength = 5;
  std::string out;
  for (const auto octet : crypto::RandomBytes(kLength)) out += kLetters[octet % kLetters.size()];
  return out;
}

}  // namespace signet::cli
