#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "api/json.hpp"
#include "api/object_json.hpp"

namespace signet::api {
namespace {

using nlohmann::json;

template <class T>
T Member(const json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end()) return T{};
  if constexpr (std::is_same_v<T, bool>) {
    return it->is_boolean() && it->get<bool>();
  } else if constexpr (std::is_integral_v<T>) {
    return it->is_number_integer() ? it->get<T>() : T{};
  } else {
    return it->is_string() ? it->get<T>() : T{};
  }
}

const json& Child(const json& object, const char* key) {
  static const json kNone = json::object();
  const auto it = object.find(key);
  return it != object.end() && it->is_object() ? *it : kNone;
}

std::vector<Condition> ReadConditions(const json& status) {
  std::vector<Condition> out;
  const auto list = status.find("conditions");
  if (list == status.end() || !list->is_array()) return out;
  for (const json& item : *list) {
    if (!item.is_object()) continue;
    Condition condition;
    condition.type = Member<std::string>(item, "type");
    if (condition.type.empty()) continue;
    condition.status = Member<std::string>(item, "status") == "True";
    condition.reason = Member<std::string>(item, "reason");
    condition.message = Member<std::string>(item, "message");
    condition.observed_generation = Member<std::int64_t>(item, "observedGeneration");
    if (const auto time = base::ParseTime(Member<std::string>(item, "lastTransitionTime"))) {
      condition.last_transition_time = *time;
    }
    out.push_back(std::move(condition));
  }
  return out;
}

json WriteConditions(const std::vector<Condition>& conditions) {
  json out = json::array();
  for (const auto& condition : conditions) {
    out.push_back({{"type", condition.type},
                   {"status", condition.status ? "True" : "False"},
                   {"reason", condition.reason},
                   {"message", condition.message},
                   {"observedGeneration", condition.observed_generation},
                   {"lastTransitionTime", base::FormatTimeSeconds(condition.last_transition_time)}});
  }
  return out;
}

std::vector<ApprovalStatus> ReadApprovals(const json& status) {
  std::vector<ApprovalStatus> out;
  const auto list = status.find("approvals");
  if (list == status.end() || !list->is_array()) return out;
  for (const json& item : *list) {
    if (!item.is_object()) continue;
    ApprovalStatus approval;
    approval.name = Member<std::string>(item, "name");
    approval.approver = Member<std::string>(item, "approver");
    approval.decision = Member<std::string>(item, "decision");
    if (const auto time = base::ParseTime(Member<std::string>(item, "time"))) approval.time = *time;
    approval.counts = Member<bool>(item, "counts");
    approval.reason = Member<std::string>(item, "reason");
    approval.message = Member<std::string>(item, "message");
    approval.policy_generation = Member<std::int64_t>(item, "policyGeneration");
    approval.signed_by = Member<std::string>(item, "signedBy");
    out.push_back(std::move(approval));
  }
  return out;
}

void Put(json& object, const char* key, const std::string& text) {
  if (!text.empty()) object[key] = text;
}

void PutCommon(json& object, std::int64_t observed_generation, const std::vector<Condition>& conditions) {
  if (observed_generation != 0) object["observedGeneration"] = observed_generation;
  if (!conditions.empty()) object["conditions"] = WriteConditions(conditions);
}

json WriteApprovals(const std::vector<ApprovalStatus>& approvals) {
  json out = json::array();
  for (const auto& approval : approvals) {
    json item = {{"name", approval.name},
                 {"decision", approval.decision},
                 {"time", base::FormatTimeSeconds(approval.time)},
                 {"counts", approval.counts},
                 {"reason", approval.reason}};
    Put(item, "approver", approval.approver);
    Put(item, "message", approval.message);
    Put(item, "signedBy", approval.signed_by);
    if (approval.policy_generation != 0) item["policyGeneration"] = approval.policy_generation;
    out.push_back(std::move(item));
  }
  return out;
}

}  // namespace

json StatusToJson(const SigningPolicyStatus& status) {
  json out = json::object();
  PutCommon(out, status.observed_generation, status.conditions);
  if (!status.key) return out;
  const KeyStatus& key = *status.key;
  json& written = out["key"] = {{"keyID", key.key_id},
                                {"algorithm", encoding::Name(key.algorithm)},
                                {"sensitive", key.sensitive},
                                {"extractable", key.extractable},
                                {"neverExtractable", key.never_extractable},
                                {"local", key.local}};
  if (key.size != 0) written["size"] = key.size;
  Put(written, "publicKey", key.public_key);
  return out;
}

json StatusToJson(const SigningRequestStatus& status) {
  json out = json::object();
  PutCommon(out, status.observed_generation, status.conditions);
  if (!status.approvals.empty()) out["approvals"] = WriteApprovals(status.approvals);
  Put(out, "signature", status.signature);
  Put(out, "algorithm", status.algorithm);
  Put(out, "keyID", status.key_id);
  Put(out, "publicKey", status.public_key);
  if (!status.policy_name.empty()) {
    json& policy = out["policy"] = {{"name", status.policy_name}};
    Put(policy, "uid", status.policy_uid);
    if (status.policy_generation != 0) policy["generation"] = status.policy_generation;
  }
  Put(out, "signedAt", status.signed_at);
  Put(out, "finishedAt", status.finished_at);
  Put(out, "record", status.record);
  return out;
}

SigningPolicyStatus PolicyStatusFromJson(const json& status) {
  SigningPolicyStatus out;
  if (!status.is_object()) return out;
  out.observed_generation = Member<std::int64_t>(status, "observedGeneration");
  out.conditions = ReadConditions(status);
  const json& key = Child(status, "key");
  KeyStatus read;
  read.key_id = Member<std::string>(key, "keyID");
  if (read.key_id.empty()) return out;
  read.algorithm = encoding::ParseKeyAlgorithm(Member<std::string>(key, "algorithm")).value_or(read.algorithm);
  read.size = Member<int>(key, "size");
  read.public_key = Member<std::string>(key, "publicKey");
  read.sensitive = Member<bool>(key, "sensitive");
  read.extractable = Member<bool>(key, "extractable");
  read.never_extractable = Member<bool>(key, "neverExtractable");
  read.local = Member<bool>(key, "local");
  out.key = std::move(read);
  return out;
}

SigningRequestStatus RequestStatusFromJson(const json& status) {
  SigningRequestStatus out;
  if (!status.is_object()) return out;
  out.observed_generation = Member<std::int64_t>(status, "observedGeneration");
  out.conditions = ReadConditions(status);
  out.approvals = ReadApprovals(status);
  out.signature = Member<std::string>(status, "signature");
  out.algorithm = Member<std::string>(status, "algorithm");
  out.key_id = Member<std::string>(status, "keyID");
  out.public_key = Member<std::string>(status, "publicKey");
  const json& policy = Child(status, "policy");
  out.policy_name = Member<std::string>(policy, "name");
  out.policy_uid = Member<std::string>(policy, "uid");
  out.policy_generation = Member<std::int64_t>(policy, "generation");
  out.signed_at = Member<std::string>(status, "signedAt");
  out.finished_at = Member<std::string>(status, "finishedAt");
  out.record = Member<std::string>(status, "record");
  return out;
}

}  // namespace signet::api
