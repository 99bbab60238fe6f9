#include "policy/approvals.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "crypto/ssh_signature.hpp"
#include "policy/approval_roots.hpp"
#include "policy/approval_statement.hpp"
#include "policy/count_approvals.hpp"

namespace signet::policy {
namespace {

constexpr std::chrono::seconds kClockSkew{60};  // between an approver's machine and ours

using People = std::vector<std::string_view>;

bool Overlap(const People& left, const People& right) {
  return std::any_of(left.begin(), left.end(),
                     [&](auto person) { return std::find(right.begin(), right.end(), person) != right.end(); });
}

/// Why an approval does not count; an empty reason: it does.
struct No {
  std::string reason, message;
};

class Counter {
 public:
  Counter(const CountInput& input) : in_(input), policy_(input.policy), context_(*input.context) {
    if (context_.roots) rules_ = context_.roots->For(policy_.metadata.name, context_.key_id);
    signed_only_ = !rules_.empty() || (policy_.spec.approvals && policy_.spec.approvals->require_signed);
    per_rule_.resize(rules_.size());
    if (in_.requester) {
      requester_ = PeopleBehind(in_.requester->username, in_.requester->extra, context_.acting_for_extra_keys);
    }
  }

  Tally Run() {
    tally_.required = policy_.spec.approvals ? policy_.spec.approvals->required : 0;
    if (context_.given != nullptr) {
      for (const auto& given : *context_.given) Take(given);
    }
    tally_.counted = static_cast<int>(counted_.size());
    tally_.missing = Missing();
    return std::move(tally_);
  }

 private:
  void Take(const Approval& given) {
    const auto& spec = given.spec;
    api::ApprovalStatus line;
    line.name = given.name;
    line.approver = spec.approver ? spec.approver->username : "";
    line.decision = std::string(api::Name(spec.decision));
    line.time = given.time;
    line.policy_generation = spec.policy ? spec.policy->generation : 0;
    auto no = Standing(given);
    if (no.reason.empty() && spec.decision == api::Decision::kDeny) {
      line.reason = "Denies";
      line.message = "an approver said no: the request is denied";
      if (!tally_.denied_by) {
        tally_.denied_by = line.approver;
        tally_.denied_comment = spec.comment;
      }
      tally_.approvals.push_back(std::move(line));
      return;
    }
    if (no.reason.empty()) no = Fresh(given);
    std::vector<std::size_t> rules;
    if (no.reason.empty() && signed_only_) no = Signed(given, rules, line.signed_by);
    const People people =
        spec.approver ? PeopleBehind(spec.approver->username, spec.approver->extra, context_.acting_for_extra_keys)
                      : People{};
    if (no.reason.empty() &&
        std::any_of(counted_.begin(), counted_.end(), [&](const People& other) { return Overlap(people, other); })) {
      no = {"SamePerson", "this person's approval is counted already"};
    }
    line.counts = no.reason.empty();
    line.reason = line.counts ? "Counts" : std::move(no.reason);
    line.message = std::move(no.message);
    if (line.counts) {
      counted_.push_back(people);
      for (const auto rule : rules) ++per_rule_[rule];
    }
    tally_.approvals.push_back(std::move(line));
  }

  /// Is it about this request, proven, and of somebody who may say yes or no?
  No Standing(const Approval& given) const {
    const auto& spec = given.spec;
    if (spec.request_uid != context_.request_uid) {
      return {"OtherRequest", "given to another request of this name: requestRef.uid differs"};
    }
    if (!given.vouched || !spec.approver || spec.approver->username.empty()) {
      return {"NotStamped", given.not_vouched.empty() ? "nobody vouches for its approver" : given.not_vouched};
    }
    const identity::Principal approver{spec.approver->username, spec.approver->uid, spec.approver->groups,
                                       spec.approver->extra, identity::Proof::kAdmission};
    if (!in_.is_approver(approver)) {
      return {"NotAnApprover", "the policy's approvals.approvers do not name this user"};
    }
    if (Overlap(PeopleBehind(approver.username, approver.extra, context_.acting_for_extra_keys), requester_)) {
      return {"RequesterCannotApprove", "whoever asks cannot approve"};
    }
    return {};
  }

  No Fresh(const Approval& given) const {
    const auto& meta = policy_.metadata;
    const auto& seen = given.spec.policy;
    if (!seen || seen->uid != meta.uid || seen->generation != meta.generation) {
      return {"PolicyChanged", fmt::format("given for generation {} of the policy, which is at {} now: approve again",
                                           seen ? seen->generation : 0, meta.generation)};
    }
    const auto valid_for = policy_.spec.approvals ? policy_.spec.approvals->valid_for : std::nullopt;
    if (valid_for && in_.now >= given.time + *valid_for) {
      return {"Expired",
              fmt::format("counted until {}: approve again", base::FormatTimeSeconds(given.time + *valid_for))};
    }
    return {};
  }

  [[nodiscard]] ApprovalStatement StatementOf(const Approval& given) const {
    const auto& spec = given.spec;
    ApprovalStatement statement;
    statement.cluster = context_.cluster_id;
    statement.request_namespace = context_.request_namespace;
    statement.request_name = context_.request_name;
    statement.request_uid = context_.request_uid;
    statement.digest = context_.digest;
    statement.algorithm = std::string(encoding::Info(in_.algorithm).name);
    if (in_.artifact != nullptr) {
      statement.artifact_name = in_.artifact->name;
      statement.artifact_media_type = in_.artifact->media_type;
    }
    statement.policy_name = policy_.metadata.name;
    statement.policy_uid = policy_.metadata.uid;
    statement.policy_generation = policy_.metadata.generation;
    statement.decision = spec.decision;
    statement.issued_at = spec.signed_by_approver->issued_at;
    statement.expires_at = spec.signed_by_approver->expires_at;
    return statement;
  }

  /// `rules`: those that this signature serves; `fingerprint` of the key, once verified.
  No Signed(const Approval& given, std::vector<std::size_t>& rules, std::string& fingerprint) const {
    const auto& made = given.spec.signed_by_approver;
    if (rules_.empty()) {
      return {"NoApprovalRoots",
              "the policy wants signed approvals, and the operator was given no approval roots for it"};
    }
    if (context_.cluster_id.empty()) {
      return {"NotReady", "the operator does not know the cluster's id yet: may it read the namespace kube-system?"};
    }
    if (!made) return {"NotSigned", "only signed approvals count: signet approve --key"};
    if (made->issued_at > in_.now + kClockSkew) return {"SignatureInvalid", "signed in the future: check the clock"};
    const auto valid_for = policy_.spec.approvals ? policy_.spec.approvals->valid_for : std::nullopt;
    const bool too_old = valid_for && in_.now >= made->issued_at + *valid_for;
    if (in_.now >= made->expires_at || too_old) return {"Expired", "the signed approval has expired: sign again"};
    const auto signature = crypto::ParseSshSignature(made->signature);
    if (!signature) return {"SignatureInvalid", signature.error().message};
    const std::string statement = Render(StatementOf(given));
    if (auto verified = crypto::VerifySshSignature(*signature, signature->key, kApprovalNamespace,
                                                   base::AsBytes(std::string_view(statement)));
        !verified) {
      return {"SignatureInvalid",
              "the signature does not stand for this request, this policy revision, this decision and these times"};
    }
    for (std::size_t i = 0; i < rules_.size(); ++i) {
      if (HoldsKey(*rules_[i], given.spec.approver->username, signature->key)) rules.push_back(i);
    }
    if (rules.empty()) {
      return {"UnknownKey", fmt::format("the approval roots do not list {} for {}", signature->key.fingerprint(),
                                        given.spec.approver->username)};
    }
    fingerprint = signature->key.fingerprint();
    return {};
  }

  static bool HoldsKey(const RootRule& rule, std::string_view username, const crypto::SshPublicKey& key) {
    return std::any_of(rule.approvers.begin(), rule.approvers.end(), [&](const RootApprover& approver) {
      return approver.username == username && std::any_of(approver.keys.begin(), approver.keys.end(),
                                                          [&](const auto& known) { return known.SameKey(key); });
    });
  }

  [[nodiscard]] std::string Missing() const {
    if (tally_.required > tally_.counted) {
      return fmt::format("{} of {} approvals{}", tally_.counted, tally_.required, signed_only_ ? ", signed ones" : "");
    }
    for (std::size_t i = 0; i < rules_.size(); ++i) {
      if (per_rule_[i] < rules_[i]->required) {
        return fmt::format("{} of {} signed approvals that the operator's approval roots want for policy {}",
                           per_rule_[i], rules_[i]->required, rules_[i]->policy);
      }
    }
    return {};
  }

  const CountInput& in_;
  const api::SigningPolicy& policy_;
  const ApprovalContext& context_;
  std::vector<const RootRule*> rules_;
  bool signed_only_ = false;
  People requester_;
  std::vector<People> counted_;
  std::vector<int> per_rule_;  ///< as rules_
  Tally tally_;
};

}  // namespace

std::vector<const RootRule*> ApprovalRoots::For(std::string_view policy, std::string_view key_id) const {
  std::vector<const RootRule*> out;
  for (const auto& rule : rules_) {
    if (rule.policy == policy || (!rule.key_id.empty() && rule.key_id == key_id)) out.push_back(&rule);
  }
  return out;
}

std::vector<std::string_view> PeopleBehind(std::string_view username,
                                           const std::map<std::string, std::vector<std::string>>& extra,
                                           const std::vector<std::string>& acting_for_keys) {
  std::vector<std::string_view> out{username};
  for (const auto& key : acting_for_keys) {
    if (const auto it = extra.find(key); it != extra.end()) out.insert(out.end(), it->second.begin(), it->second.end());
  }
  return out;
}

Tally CountApprovals(const CountInput& input) { return Counter(input).Run(); }

}  // namespace signet::policy
