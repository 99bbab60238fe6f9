#include "policy/policy_changes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <string_view>

namespace signet::policy {
namespace {

using api::SigningPolicySpec;

bool Same(const api::LabelSelector& a, const api::LabelSelector& b) {
  const auto same = [](const api::LabelSelectorRequirement& x, const api::LabelSelectorRequirement& y) {
    return x.key == y.key && x.op == y.op && x.values == y.values;
  };
  return a.match_labels == b.match_labels && std::equal(a.match_expressions.begin(), a.match_expressions.end(),
                                                        b.match_expressions.begin(), b.match_expressions.end(), same);
}

bool Same(const api::Subject& a, const api::Subject& b) {
  if (a.kind != b.kind || a.name != b.name || a.ns != b.ns) return false;
  if (a.namespace_selector.has_value() != b.namespace_selector.has_value()) return false;
  return !a.namespace_selector || Same(*a.namespace_selector, *b.namespace_selector);
}

/// Everything that `b` lets through, `a` lets through: one pattern of names, and no more media types.
bool Covers(const api::ArtifactRule& a, const api::ArtifactRule& b) {
  if (a.name != b.name) return false;
  if (a.media_types.empty()) return true;
  if (b.media_types.empty()) return false;
  return std::all_of(b.media_types.begin(), b.media_types.end(), [&a](const auto& type) {
    return std::find(a.media_types.begin(), a.media_types.end(), type) != a.media_types.end();
  });
}

bool Covers(const api::Window& a, const api::Window& b) {
  const auto zone = [](const api::Window& window) {
    return window.time_zone.empty() ? std::string_view("UTC") : std::string_view(window.time_zone);
  };
  if (a.from.minutes != b.from.minutes || a.to.minutes != b.to.minutes || zone(a) != zone(b)) return false;
  if (a.days.empty()) return true;
  if (b.days.empty()) return false;
  return std::all_of(b.days.begin(), b.days.end(),
                     [&a](int day) { return std::find(a.days.begin(), a.days.end(), day) != a.days.end(); });
}

/// The items of `after` that no item of `before` covers.
template <class Item, class Test>
std::vector<const Item*> Added(const std::vector<Item>& before, const std::vector<Item>& after, Test covers) {
  std::vector<const Item*> added;
  for (const auto& item : after) {
    if (std::none_of(before.begin(), before.end(), [&](const Item& old) { return covers(old, item); })) {
      added.push_back(&item);
    }
  }
  return added;
}

std::string Text(const api::TimeOfDay& time) {
  return fmt::format("{:02}:{:02}", time.minutes / 60, time.minutes % 60);
}

void Subjects(const SigningPolicySpec& before, const SigningPolicySpec& after, std::vector<std::string>& out) {
  for (const auto* subject : Added(before.subjects, after.subjects, [](auto&a, auto&b) { return Same(a, b); })) {
    out.push_back(fmt::format("spec.subjects: {} may ask now", Describe(*subject)));
  }
}

void Artifacts(const SigningPolicySpec& before, const SigningPolicySpec& after, std::vector<std::string>& out) {
  if (before.artifacts.empty()) return;
  if (after.artifacts.empty()) {
    out.emplace_back("spec.artifacts: removed, so every artifact may be signed, and requests that name none");
    return;
  }
  for (const auto* rule : Added(before.artifacts, after.artifacts, [](auto&a, auto&b) { return Covers(a, b); })) {
    out.push_back(fmt::format("spec.artifacts: {} may be signed now{}", rule->name,
                              rule->media_types.empty() ? ", with every media type" : ", with these media types"));
  }
}

void Windows(const SigningPolicySpec& before, const SigningPolicySpec& after, std::vector<std::string>& out) {
  if (before.windows.empty()) return;
  if (after.windows.empty()) {
    out.emplace_back("spec.windows: removed, so signing is possible at any time");
    return;
  }
  for (const auto* window : Added(before.windows, after.windows, [](auto&a, auto&b) { return Covers(a, b); })) {
    out.push_back(fmt::format("spec.windows: {} to {} {} is new or changed, so signing may be possible at other times",
                              Text(window->from), Text(window->to),
                              window->time_zone.empty() ? "UTC" : window->time_zone));
  }
}

void Limit(std::string_view path, const std::optional<std::int64_t>& before, const std::optional<std::int64_t>& after,
           std::vector<std::string>& out) {
  if (!before) return;
  if (!after) {
    out.push_back(fmt::format("{}: removed (was {})", path, *before));
  } else if (*after > *before) {
    out.push_back(fmt::format("{}: raised from {} to {}", path, *before, *after));
  }
}

void Quotas(const SigningPolicySpec& before, const SigningPolicySpec& after, std::vector<std::string>& out) {
  if (!before.quota) return;
  const api::Quota none;
  const auto& next = after.quota ? *after.quota : none;
  Limit("spec.quota.perSecond", before.quota->per_second, next.per_second, out);
  Limit("spec.quota.perDay", before.quota->per_day, next.per_day, out);
  if (after.quota && before.quota->scope == api::Quota::Scope::kPolicy && next.scope == api::Quota::Scope::kSubject) {
    out.emplace_back("spec.quota.scope: every subject has a budget of its own now");
  }
}

void ApprovalRules(const SigningPolicySpec& before, const SigningPolicySpec& after, std::vector<std::string>& out) {
  if (!before.approvals) return;
  const auto& old = *before.approvals;
  if (!after.approvals) {
    if (old.required > 0) out.emplace_back("spec.approvals: removed, so nobody's approval is needed");
    return;
  }
  const auto& next = *after.approvals;
  if (next.required < old.required) {
    out.push_back(fmt::format("spec.approvals.required: lowered from {} to {}", old.required, next.required));
  }
  for (const auto* approver : Added(old.approvers, next.approvers, [](auto&a, auto&b) { return Same(a, b); })) {
    out.push_back(fmt::format("spec.approvals.approvers: {} may approve now", Describe(*approver)));
  }
  if (old.require_signed && !next.require_signed) {
    out.emplace_back("spec.approvals.requireSigned: switched off, so approvals count without the approver's signature");
  }
  if (old.valid_for && (!next.valid_for || *next.valid_for > *old.valid_for)) {
    out.push_back(next.valid_for ? fmt::format("spec.approvals.validFor: lengthened from {}s to {}s",
                                               old.valid_for->count(), next.valid_for->count())
                                 : std::string("spec.approvals.validFor: removed, so approvals do not expire"));
  }
}

void Pods(const SigningPolicySpec& before, const SigningPolicySpec& after, std::vector<std::string>& out) {
  if (!before.pod) return;
  if (!after.pod) {
    out.emplace_back("spec.pod: removed, so pods with any image may ask, and callers of every door");
    return;
  }
  for (const auto* digest : Added(before.pod->image_digests, after.pod->image_digests, std::equal_to<>())) {
    out.push_back(fmt::format("spec.pod.imageDigests: containers may run {} now", *digest));
  }
}

void Switches(const SigningPolicySpec& before, const SigningPolicySpec& after, std::vector<std::string>& out) {
  if (before.suspend && !after.suspend) out.emplace_back("spec.suspend: switched off, so the policy signs again");
  if (!before.allow_direct && after.allow_direct) {
    out.emplace_back("spec.allowDirect: switched on, so sidecars that hold a PIN themselves may sign under it");
  }
  if (before.verify_signatures && !after.verify_signatures) {
    out.emplace_back("spec.verifySignatures: switched off, so a faulty signature of an EC key may be released");
  }
}

}  // namespace

std::string Describe(const api::Subject& subject) {
  switch (subject.kind) {
    case api::Subject::Kind::kUser:
      return "User " + subject.name;
    case api::Subject::Kind::kGroup:
      return "Group " + subject.name;
    case api::Subject::Kind::kServiceAccount:
      break;
  }
  if (subject.namespace_selector) {
    return fmt::format("ServiceAccount {} of the namespaces that namespaceSelector matches", subject.name);
  }
  return fmt::format("ServiceAccount {}/{}", subject.ns, subject.name);
}

bool ChangesKey(const SigningPolicySpec& before, const SigningPolicySpec& after) {
  if (encoding::FormatPkcs11Uri(before.key.uri) != encoding::FormatPkcs11Uri(after.key.uri)) return true;
  if (!before.key.generate || !after.key.generate) return false;
  return before.key.generate->algorithm != after.key.generate->algorithm ||
         before.key.generate->size != after.key.generate->size;
}

std::vector<std::string> Widenings(const SigningPolicySpec& before, const SigningPolicySpec& after) {
  std::vector<std::string> out;
  if (encoding::FormatPkcs11Uri(before.key.uri) != encoding::FormatPkcs11Uri(after.key.uri)) {
    out.push_back(fmt::format("spec.key.uri: another key is used now ({})", after.key.uri.text));
  }
  Subjects(before, after, out);
  for (const auto algorithm : after.algorithms) {
    if (std::find(before.algorithms.begin(), before.algorithms.end(), algorithm) == before.algorithms.end()) {
      out.push_back(fmt::format("spec.algorithms: {} may be used now", encoding::Info(algorithm).name));
    }
  }
  Artifacts(before, after, out);
  Windows(before, after, out);
  Quotas(before, after, out);
  ApprovalRules(before, after, out);
  Pods(before, after, out);
  Switches(before, after, out);
  return out;
}

}  // namespace signet::policy
