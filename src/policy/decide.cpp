#include "policy/decide.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "policy/approval_roots.hpp"
#include "policy/count_approvals.hpp"
#include "policy/glob.hpp"
#include "policy/schedule.hpp"

namespace signet::policy {
namespace {

using Labels = std::map<std::string, std::string>;
using Operator = api::LabelSelectorRequirement::Operator;

bool Meets(const api::LabelSelectorRequirement& requirement, const Labels& labels) {
  const auto label = labels.find(requirement.key);
  const bool present = label != labels.end();
  const auto listed = [&] {
    const auto& values = requirement.values;
    return std::find(values.begin(), values.end(), label->second) != values.end();
  };
  switch (requirement.op) {
    case Operator::kIn:
      return present && listed();
    case Operator::kNotIn:
      return !present || !listed();
    case Operator::kExists:
      return present;
    case Operator::kDoesNotExist:
      return !present;
  }
  return false;
}

bool Selects(const api::LabelSelector& selector, const Labels& labels) {
  if (selector.match_labels.empty() && selector.match_expressions.empty()) return false;
  for (const auto& [key, value] : selector.match_labels) {
    const auto label = labels.find(key);
    if (label == labels.end() || label->second != value) return false;
  }
  return std::all_of(selector.match_expressions.begin(), selector.match_expressions.end(),
                     [&](const auto& requirement) { return Meets(requirement, labels); });
}

bool IsInNamespace(const api::Subject& subject, std::string_view ns, const Facts& facts) {
  if (!subject.namespace_selector) return !subject.ns.empty() && subject.ns == ns;
  if (facts.namespace_labels == nullptr || !*facts.namespace_labels) return false;
  const Labels* labels = (*facts.namespace_labels)(ns);
  return labels != nullptr && Selects(*subject.namespace_selector, *labels);
}

Decision Refused(Reason reason, std::string message) {
  Decision decision;
  decision.reason = reason;
  decision.message = std::move(message);
  return decision;
}

std::string AlgorithmAdvice(const api::SigningPolicySpec& spec) {
  std::string names;
  for (const auto algorithm : spec.algorithms) {
    names += names.empty() ? "the policy allows " : ", ";
    names += encoding::Info(algorithm).name;
  }
  return names.empty() ? "the policy allows no algorithm" : names;
}

/// One of `entries` names the principal; `globs` are their names.
bool Names(const std::vector<api::Subject>& entries, const std::vector<Glob>& globs,
           const identity::Principal& principal, const Facts& facts) {
  if (principal.username.empty()) return false;
  const auto account = identity::ParseServiceAccount(principal.username);
  const bool is_system = principal.username.starts_with("system:");
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const Glob& name = globs[i];
    switch (entries[i].kind) {
      case api::Subject::Kind::kServiceAccount:
        if (account && name.Matches(account->name) && IsInNamespace(entries[i], account->ns, facts)) return true;
        break;
      case api::Subject::Kind::kUser:
        if (!is_system && name.Matches(principal.username)) return true;
        break;
      case api::Subject::Kind::kGroup:
        if (facts.match_groups && std::any_of(principal.groups.begin(), principal.groups.end(),
                                              [&](const auto& group) { return name.Matches(group); })) {
          return true;
        }
        break;
    }
  }
  return false;
}

/// Why the calling pod does not meet the rule; nothing: it does.
std::optional<Decision> JudgePod(const api::PodRule& rule, const Facts& facts) {
  if (!facts.from_pod) {
    return Refused(Reason::kImageNotAllowed,
                   "the policy asks which images the calling pod runs (spec.pod.imageDigests), and only callers of the "
                   "gateway have a pod that can be checked: ask through a sidecar in gateway mode");
  }
  const auto& allowed = rule.image_digests;
  if (facts.images != nullptr) {
    if (const auto& unpinned = facts.images->unpinned; !unpinned.empty()) {
      return Refused(
          Reason::kImageNotAllowed,
          fmt::format("the pod's spec names the image of {} without a digest, so it may run another one at any "
                      "time: write repository@sha256:... for every container",
                      unpinned.front()));
    }
    for (const auto& digest : facts.images->digests) {
      if (std::find(allowed.begin(), allowed.end(), digest) != allowed.end()) continue;
      return Refused(
          Reason::kImageNotAllowed,
          fmt::format(
              "a container of this pod runs or is to run {}, which the policy's pod.imageDigests do not list (every "
              "container counts, sidecars and init containers too)",
              digest));
    }
  }
  if (facts.images == nullptr || !facts.images->complete || facts.images->digests.empty()) {
    return Refused(
        Reason::kPodPending,
        "for some container of this pod, spec and status do not name the same image (yet): ask again when the "
        "node has started what the spec names");
  }
  return std::nullopt;
}

}  // namespace

std::string_view Name(Reason reason) {
  static constexpr std::array<std::string_view, 11> kNames = {
      "Allowed",       "NotAllowed",       "Suspended",        "AlgorithmNotAllowed", "ArtifactNotAllowed",
      "OutsideWindow", "AwaitingApproval", "DeniedByApprover", "QuotaExceeded",       "ImageNotAllowed",
      "PodPending"};
  return kNames.at(static_cast<std::size_t>(reason));
}

struct CompiledPolicy::Prepared {
  struct ArtifactRule {
    Glob name;
    std::vector<Glob> media_types;
  };
  std::vector<Glob> subjects;   ///< names, in the order of spec.subjects
  std::vector<Glob> approvers;  ///< the same of spec.approvals.approvers
  std::vector<ArtifactRule> artifacts;
  Schedule schedule;

  [[nodiscard]] bool Covers(const api::Artifact* artifact) const {
    if (artifacts.empty()) return true;
    if (artifact == nullptr) return false;
    return std::any_of(artifacts.begin(), artifacts.end(), [&](const ArtifactRule& rule) {
      if (!rule.name.Matches(artifact->name)) return false;
      if (rule.media_types.empty()) return true;
      return std::any_of(rule.media_types.begin(), rule.media_types.end(),
                         [&](const Glob& glob) { return glob.Matches(artifact->media_type); });
    });
  }
};

base::Result<std::shared_ptr<const CompiledPolicy>> CompiledPolicy::Compile(api::SigningPolicy policy) {
  auto prepared = std::make_shared<Prepared>();
  for (const auto& subject : policy.spec.subjects) prepared->subjects.emplace_back(subject.name);
  if (policy.spec.approvals) {
    for (const auto& approver : policy.spec.approvals->approvers) prepared->approvers.emplace_back(approver.name);
  }
  for (const auto& rule : policy.spec.artifacts) {
    prepared->artifacts.push_back({Glob(rule.name), {rule.media_types.begin(), rule.media_types.end()}});
  }
  TRY(prepared->schedule, Schedule::Compile(policy.spec.windows));
  auto compiled = std::shared_ptr<CompiledPolicy>(new CompiledPolicy(std::move(policy)));
  compiled->prepared_ = std::move(prepared);
  return std::shared_ptr<const CompiledPolicy>(std::move(compiled));
}

bool CompiledPolicy::IsSubject(const Facts& facts) const {
  return facts.principal != nullptr && Names(policy_.spec.subjects, prepared_->subjects, *facts.principal, facts);
}

std::optional<Tally> CompiledPolicy::Approvals(const Facts& facts, encoding::SignatureAlgorithm algorithm) const {
  static const ApprovalContext kNone;
  const auto& approvals = policy_.spec.approvals;
  const auto* context = facts.approvals != nullptr ? facts.approvals : &kNone;
  const bool given = context->given != nullptr && !context->given->empty();
  const bool rooted = context->roots && !context->roots->For(policy_.metadata.name, context->key_id).empty();
  // Where approvals can be given, an approver may say no even if no yes is required.
  const bool can_be_denied = context->given != nullptr && approvals && !approvals->approvers.empty();
  if (!given && !rooted && !can_be_denied && !(approvals && approvals->required > 0)) return std::nullopt;
  return CountApprovals({policy_, context, facts.principal, algorithm, facts.artifact, facts.now,
                         [&](const identity::Principal& approver) {
                           return approvals && Names(approvals->approvers, prepared_->approvers, approver, facts);
                         }});
}

Decision CompiledPolicy::Decide(const Facts& facts) const {
  const auto& spec = policy_.spec;
  if (!IsSubject(facts)) return Refused(Reason::kNotAllowed, "this caller may not sign with this policy");
  if (spec.suspend) {
    return Refused(Reason::kSuspended, "the policy is suspended (spec.suspend): ask the platform team");
  }
  const auto& algorithms = spec.algorithms;
  const auto wanted =
      facts.algorithm ? std::find(algorithms.begin(), algorithms.end(), *facts.algorithm) : algorithms.begin();
  if (wanted == algorithms.end()) return Refused(Reason::kAlgorithmNotAllowed, AlgorithmAdvice(spec));
  if (!prepared_->Covers(facts.artifact)) {
    return Refused(Reason::kArtifactNotAllowed,
                   facts.artifact == nullptr ? "the policy lists artifacts: say which artifact you sign"
                                             : "no entry of the policy's artifacts covers this name and media type");
  }
  if (spec.pod) {
    if (auto refused = JudgePod(*spec.pod, facts)) return *std::move(refused);
  }
  Decision decision;
  decision.approvals = Approvals(facts, *wanted);
  const auto refuse = [&](Reason reason, std::string message) {
    decision.reason = reason;
    decision.message = std::move(message);
  };
  if (decision.approvals && decision.approvals->denied_by) {
    const auto& tally = *decision.approvals;
    refuse(Reason::kDeniedByApprover, fmt::format("{} said no{}{}", *tally.denied_by,
                                                  tally.denied_comment.empty() ? "" : ": ", tally.denied_comment));
    return decision;
  }
  if (!prepared_->schedule.IsOpen(facts.now)) {
    refuse(Reason::kOutsideWindow, "outside the policy's time windows");
    decision.retry_at = prepared_->schedule.NextOpening(facts.now);
    if (decision.retry_at) {
      decision.message += ": the next one opens at " + base::FormatTimeSeconds(*decision.retry_at);
    }
    return decision;
  }
  if (decision.approvals && !decision.approvals->complete()) {
    refuse(Reason::kAwaitingApproval, "approvals are missing: " + decision.approvals->missing);
    return decision;
  }
  decision.reason = Reason::kAllowed;
  decision.algorithm = *wanted;
  return decision;
}

}  // namespace signet::policy
