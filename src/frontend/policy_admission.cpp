// The part of frontend/admission.hpp that is about SigningPolicy.
#include <fmt/format.h>

#include <utility>

#include "api/json.hpp"
#include "encoding/pkcs11_uri.hpp"
#include "encoding/text.hpp"
#include "frontend/admission.hpp"
#include "policy/decide.hpp"
#include "policy/policy_changes.hpp"

namespace signet::frontend {
namespace {

using nlohmann::json;
using Operation = AdmissionReview::Operation;

/// A string at `path`; empty where it is something else.
std::string TextAtPath(const json& object, std::initializer_list<std::string_view> path) {
  const json* value = &object;
  for (const auto member : path) {
    const auto it = value->is_object() ? value->find(member) : value->end();
    if (!value->is_object() || it == value->end()) return {};
    value = &*it;
  }
  return value->is_string() ? value->get<std::string>() : std::string();
}

/// The pinned key that the edit would leave behind without its author saying so.
base::Status CheckKeyChange(const AdmissionReview& review, const api::SigningPolicySpec& before,
                            const api::SigningPolicySpec& after) {
  const std::string pinned = TextAtPath(review.old_object, {"status", "key", "keyID"});
  if (pinned.empty() || !policy::ChangesKey(before, after)) return {};
  if (TextAtPath(review.object, {"metadata", "annotations", Admission::kConfirmAnnotation}) == pinned) return {};
  return base::MakeError(
      base::Code::kInvalidArgument,
      fmt::format("spec.key: this policy signs with the key {}, which the edit would leave behind; make another policy "
                  "for another key, or confirm with the annotation {}: \"{}\"",
                  pinned, Admission::kConfirmAnnotation, pinned));
}

std::vector<std::string> SharedKey(const std::string& name, const api::SigningPolicySpec& spec,
                                   const std::vector<std::shared_ptr<const json>>& policies) {
  const std::string uri = encoding::FormatPkcs11Uri(spec.key.uri);
  std::vector<std::string> out;
  for (const auto& other : policies) {
    const std::string other_name = TextAtPath(*other, {"metadata", "name"});
    if (other_name == name) continue;
    const auto theirs = encoding::ParsePkcs11Uri(TextAtPath(*other, {"spec", "key", "uri"}));
    if (!theirs || encoding::FormatPkcs11Uri(*theirs) != uri) continue;
    out.push_back(fmt::format("spec.key.uri: policy {} names this key too, so each can undo the limits of the other",
                              other_name));
  }
  return out;
}

}  // namespace

AdmissionVerdict Admission::JudgePolicy(const AdmissionReview& review) const {
  auto after = api::PolicyFromJson(review.object);
  if (!after) return AdmissionVerdict::Invalid(after.error().message);
  AdmissionVerdict verdict;
  if (review.operation == Operation::kUpdate) {
    // One that was let in before these checks, or past them, may be put right by any valid edit.
    if (const auto before = api::PolicyFromJson(review.old_object)) {
      if (auto fine = CheckKeyChange(review, before->spec, after->spec); !fine) {
        return AdmissionVerdict::Invalid(fine.error().message);
      }
      verdict.warnings = policy::Widenings(before->spec, after->spec);
    }
  }
  if (after->spec.subjects.empty()) {
    verdict.warnings.emplace_back("spec.subjects: is empty, so nobody can sign under this policy");
  }
  if (deps_.policies) {
    for (auto& line : SharedKey(after->metadata.name, after->spec, deps_.policies())) {
      verdict.warnings.push_back(std::move(line));
    }
  }
  if (auto compiled = policy::CompiledPolicy::Compile(std::move(*after)); !compiled) {
    return AdmissionVerdict::Invalid(compiled.error().message);
  }
  return verdict;
}

void Admission::ValidatePolicy(const AdmissionReview& review, Answer answer) const {
  AdmissionVerdict verdict;
  if (review.operation == Operation::kCreate || review.operation == Operation::kUpdate) verdict = JudgePolicy(review);
  if (!verdict.allowed || review.dry_run || review.operation == Operation::kConnect) return answer(std::move(verdict));
  RecordChange(review, std::move(verdict), std::move(answer));
}

void Admission::RecordChange(const AdmissionReview& review, AdmissionVerdict verdict, Answer answer) const {
  const json& named = review.object.is_null() ? review.old_object : review.object;
  PolicyChange change;
  change.policy = TextAtPath(named, {"metadata", "name"});
  if (change.policy.empty()) change.policy = review.name;
  change.uid = TextAtPath(named, {"metadata", "uid"});
  change.verb = Name(review.operation);
  change.user = review.user.username;
  change.old_hash = SpecHash(review.old_object);
  change.new_hash = SpecHash(review.object);
  deps_.changes->Record(change,
                        [verdict = std::move(verdict), answer = std::move(answer)](const base::Status& recorded) {
                          if (recorded) return answer(verdict);
                          answer(AdmissionVerdict::Unavailable(
                              "the audit record cannot be written, and no policy changes unrecorded: see to the "
                              "operator's disk, then try again"));
                        });
}

}  // namespace signet::frontend
