#include "audit/ledger.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "audit/operation_id.hpp"
#include "audit/record.hpp"
#include "encoding/json.hpp"
#include "encoding/text.hpp"

namespace signet::audit {
namespace {

using base::Code;
using base::MakeError;

base::Error Bad(std::string message) { return MakeError(Code::kInvalidArgument, "AuditCorrupt", std::move(message)); }

std::optional<Result> ParseResult(std::string_view name) {
  for (const auto result : {Result::kSigned, Result::kFailed, Result::kDiscarded, Result::kUnknown}) {
    if (Name(result) == name) return result;
  }
  return std::nullopt;
}

struct Required {
  std::string_view type;
  std::array<std::string_view, 11> strings;  ///< names; unused places are empty
  std::array<std::string_view, 2> numbers;
};
// The same table stands in docs/audit-record.schema.json.
constexpr std::array kRequired = {
    Required{kTypeStream, {"format"}, {}},
    Required{kTypeSegment, {"format"}, {"number"}},
    Required{kTypeRecovered, {"reason", "tornSha256"}, {"tornBytes"}},
    Required{kTypeResumed, {"reason"}, {}},
    Required{kTypeIntent,
             {"operation", "door", "principal", "identity", "policy", "policyHash", "keyID", "algorithm", "digest"},
             {"policyGeneration"}},
    Required{kTypeOutcome, {"operation", "result"}, {}},
    Required{kTypeRelease, {"operation"}, {}},
    Required{kTypeRefused, {"door", "principal", "policy", "reason"}, {"count"}},
};

bool IsTime(std::string_view text) {
  static constexpr std::string_view kShape = "0000-00-00T00:00:00.000000Z";
  if (text.size() != kShape.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (kShape[i] == '0' ? !digit : text[i] != kShape[i]) return false;
  }
  return true;
}

base::Status CheckOutcome(const Line& line) {
  const auto result = ParseResult(line.Text("result"));
  if (!result) return Bad("result is none of signed, failed, discarded and unknown");
  const bool needs_hash = *result == Result::kSigned;
  const auto hash = line.Plain("signatureSha256");
  if ((needs_hash && !hash) || (hash && !encoding::IsLowerHex(*hash, 64)))
    return Bad("signatureSha256 is missing or no SHA-256");
  if (*result != Result::kSigned && line.Text("reason").empty()) return Bad("reason is missing");
  return {};
}

void AppendOperation(std::string& out, const OpenOperation& operation) {
  const std::array<std::pair<std::string_view, const std::string*>, 7> fields = {{
      {"operation", &operation.operation},
      {"door", &operation.door},
      {"policy", &operation.policy},
      {"requestNamespace", &operation.request_namespace},
      {"requestName", &operation.request_name},
      {"requestUID", &operation.request_uid},
      {"signatureSha256", &operation.signature_sha256},
  }};
  char punctuation = '{';
  for (const auto& [name, value] : fields) {
    if (value->empty()) continue;
    out += punctuation;
    encoding::AppendJsonString(out, name);
    out += ':';
    encoding::AppendJsonString(out, *value);
    punctuation = ',';
  }
  out += '}';
}

OpenOperation ReadOperation(const nlohmann::json& object) {
  OpenOperation operation;
  operation.operation = object.value("operation", "");
  operation.door = object.value("door", "");
  operation.policy = object.value("policy", "");
  operation.request_namespace = object.value("requestNamespace", "");
  operation.request_name = object.value("requestName", "");
  operation.request_uid = object.value("requestUID", "");
  operation.signature_sha256 = object.value("signatureSha256", "");
  operation.has_outcome = !operation.signature_sha256.empty();
  return operation;
}

}  // namespace

std::optional<Released> ReleasedOf(const Line& line) {
  const auto* released = line.Find("released");
  if (released == nullptr) return std::nullopt;
  switch (released->kind) {
    case Line::Kind::kTrue:
      return Released::kYes;
    case Line::Kind::kFalse:
      return Released::kNo;
    case Line::Kind::kNull:
      return Released::kUnknown;
    default:
      return std::nullopt;
  }
}

base::Status CheckFields(const Line& line) {
  const auto type = line.Plain("type");
  if (!type || type->empty()) return Bad("type is missing");
  if (const auto time = line.Plain("time"); !time || !IsTime(*time)) return Bad("time is missing or not in UTC");
  for (const auto& required : kRequired) {
    if (required.type != *type) continue;
    for (const auto name : required.strings) {
      if (name.empty()) break;
      const auto* member = line.Find(name);
      if (member == nullptr || member->kind != Line::Kind::kString) return Bad(fmt::format("{} is missing", name));
    }
    for (const auto name : required.numbers) {
      if (name.empty()) break;
      if (!line.Number(name)) return Bad(fmt::format("{} is missing", name));
    }
  }
  if (const auto operation = line.Find("operation"); operation != nullptr) {
    const auto text = line.Plain("operation");
    if (!text || text->size() != kOperationIdSize) return Bad("operation is not an operation id");
  }
  if (*type == kTypeOutcome) return CheckOutcome(line);
  if (*type == kTypeRelease) {
    const auto released = ReleasedOf(line);
    if (!released) return Bad("released is missing");
    if (*released == Released::kUnknown && line.Text("reason").empty()) return Bad("reason is missing");
  }
  if (*type == kTypeSegment) {
    const auto* checkpoint = line.Find("checkpoint");
    if (checkpoint == nullptr || checkpoint->kind != Line::Kind::kObject) return Bad("checkpoint is missing");
  }
  return {};
}

void Ledger::Count(std::string_view policy, std::string_view principal, std::string_view date, std::uint64_t count) {
  if (date != day_) {
    if (date < day_) return;
    Remember(NewDay{std::exchange(day_, std::string(date)), std::exchange(counts_, {})});
  }
  auto by_policy = counts_.find(policy);
  if (by_policy == counts_.end()) by_policy = counts_.try_emplace(std::string(policy)).first;
  auto by_principal = by_policy->second.find(principal);
  if (by_principal == by_policy->second.end()) {
    by_principal = by_policy->second.try_emplace(std::string(principal), 0).first;
  }
  by_principal->second += count;
  Remember(Counted{&by_principal->second, count});
}

void Ledger::OnKey(std::string_view policy, std::string_view key_id) {
  auto it = keys_.find(policy);
  if (it == keys_.end()) it = keys_.try_emplace(std::string(policy)).first;
  auto& known = it->second;
  if (std::find(known.begin(), known.end(), key_id) != known.end()) return;
  known.emplace_back(key_id);
  Remember(NewKey{it->first});
}

void Ledger::OnIntent(const Intent& record, std::string_view date) {
  Count(record.policy, record.principal, date, 1);
  OnKey(record.policy, record.key_id);
  OpenOperation& open = open_[record.operation];
  open.operation = record.operation;
  open.door = record.door;
  open.policy = record.policy;
  open.request_namespace = record.request_namespace;
  open.request_name = record.request_name;
  open.request_uid = record.request_uid;
  Remember(Opened{&open});
}

bool Ledger::OnOutcome(std::string_view operation, Result result, std::string_view signature_sha256) {
  const auto it = open_.find(operation);
  if (it == open_.end()) return false;
  auto node = open_.extract(it);
  if (result == Result::kSigned && node.mapped().door == kDoorController) {
    OpenOperation& waiting = node.mapped();
    waiting.signature_sha256 = signature_sha256;
    waiting.has_outcome = true;
    unsettled_.insert(std::move(node));
    Remember(Moved{{}, true, true, &waiting});
  } else {
    Remember(Moved{std::move(node), true, false, nullptr});
  }
  return true;
}

bool Ledger::OnRelease(std::string_view operation, Released released) {
  const auto it = unsettled_.find(operation);
  if (it == unsettled_.end()) return released == Released::kNo;
  Remember(Moved{unsettled_.extract(it), false, false, nullptr});
  return true;
}

// ---- taking back what did not reach the file --------------------------------------------

void Ledger::Remember(Change change) {
  if (keep_changes_) changes_.push_back(std::move(change));
}

void Ledger::Settle(std::size_t count) {
  changes_.erase(changes_.begin(), changes_.begin() + static_cast<std::ptrdiff_t>(std::min(count, changes_.size())));
}

void Ledger::Undo() {
  for (; !changes_.empty(); changes_.pop_back()) {
    std::visit([this](auto& change) { UndoOne(change); }, changes_.back());
  }
}

void Ledger::UndoOne(Opened& change) { open_.erase(open_.find(change.operation->operation)); }

void Ledger::UndoOne(Moved& change) {
  auto node = change.now_unsettled ? unsettled_.extract(change.operation->operation) : std::move(change.node);
  if (change.now_unsettled) {
    node.mapped().signature_sha256.clear();
    node.mapped().has_outcome = false;
  }
  (change.was_open ? open_ : unsettled_).insert(std::move(node));
}

void Ledger::UndoOne(Counted& change) { *change.count -= change.by; }

void Ledger::UndoOne(NewDay& change) {
  day_ = std::move(change.day);
  counts_ = std::move(change.counts);
}

void Ledger::UndoOne(NewKey& change) {
  const auto it = keys_.find(change.policy);
  it->second.pop_back();
  if (it->second.empty()) keys_.erase(it);
}

base::Status Ledger::ApplyIntent(const Line& line) {
  Intent record;
  record.operation = line.Text("operation");
  if (open_.find(record.operation) != open_.end() || unsettled_.find(record.operation) != unsettled_.end()) {
    return Bad("a second intent for operation " + record.operation);
  }
  record.door = line.Text("door");
  record.policy = line.Text("policy");
  record.principal = line.Text("principal");
  record.key_id = line.Text("keyID");
  record.request_namespace = line.Text("requestNamespace");
  record.request_name = line.Text("requestName");
  record.request_uid = line.Text("requestUID");
  OnIntent(record, line.Plain("time")->substr(0, 10));
  return {};
}

base::Status Ledger::ApplyOutcome(const Line& line) {
  const std::string operation = line.Text("operation");
  if (!OnOutcome(operation, *ParseResult(line.Text("result")), line.Text("signatureSha256"))) {
    return Bad("an outcome without an open intent: operation " + operation);
  }
  return {};
}

base::Status Ledger::ApplyRelease(const Line& line) {
  const std::string operation = line.Text("operation");
  if (!OnRelease(operation, *ReleasedOf(line))) {
    return Bad("a release without a signed operation that waits for it: operation " + operation);
  }
  return {};
}

base::Status Ledger::Apply(const Line& line) {
  TRY_VOID(CheckFields(line));
  const auto type = *line.Plain("type");
  if (type == kTypeIntent) return ApplyIntent(line);
  if (type == kTypeOutcome) return ApplyOutcome(line);
  if (type == kTypeRelease) return ApplyRelease(line);
  if (type == kTypeRefused) return {};
  if (const auto key = line.Text("keyID"); !key.empty()) {
    if (const auto policy = line.Text("policy"); !policy.empty()) OnKey(policy, key);
  }
  return {};
}

std::vector<const OpenOperation*> Ledger::Sorted(const Operations& operations) {
  std::vector<const OpenOperation*> sorted;
  sorted.reserve(operations.size());
  for (const auto& [id, operation] : operations) sorted.push_back(&operation);
  std::sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) { return a->operation < b->operation; });
  return sorted;
}

void Ledger::AppendCheckpoint(std::string& out) const {
  out += "{\"day\":";
  encoding::AppendJsonString(out, day_);
  out += ",\"counts\":[";
  std::string_view comma;
  for (const auto& [policy, principals] : counts_) {
    for (const auto& [principal, count] : principals) {
      if (count == 0) continue;
      out += comma;
      out += "{\"policy\":";
      encoding::AppendJsonString(out, policy);
      out += ",\"principal\":";
      encoding::AppendJsonString(out, principal);
      fmt::format_to(std::back_inserter(out), ",\"count\":{}}}", count);
      comma = ",";
    }
  }
  out += "],\"keys\":[";
  comma = "";
  for (const auto& [policy, keys] : keys_) {
    out += comma;
    out += "{\"policy\":";
    encoding::AppendJsonString(out, policy);
    out += ",\"keyIDs\":[";
    comma = "";
    for (const auto& key : keys) {
      out += comma;
      encoding::AppendJsonString(out, key);
      comma = ",";
    }
    out += "]}";
    comma = ",";
  }
  const auto append_operations = [&](const Operations& operations) {
    comma = "";
    for (const auto* operation : Sorted(operations)) {
      out += comma;
      AppendOperation(out, *operation);
      comma = ",";
    }
  };
  out += "],\"open\":[";
  append_operations(open_);
  out += "],\"unsettled\":[";
  append_operations(unsettled_);
  out += "]}";
}

base::Status Ledger::Restore(std::string_view checkpoint) {
  TRY(const auto parsed, encoding::ParseJson(checkpoint));
  Ledger next;
  try {
    next.day_ = parsed.at("day").get<std::string>();
    for (const auto& entry : parsed.at("counts")) {
      if (!entry.at("count").is_number_unsigned()) return Bad("the checkpoint has a count that is none");
      next.counts_[entry.at("policy").get<std::string>()][entry.at("principal").get<std::string>()] =
          entry.at("count").get<std::uint64_t>();
    }
    for (const auto& entry : parsed.at("keys")) {
      next.keys_[entry.at("policy").get<std::string>()] = entry.at("keyIDs").get<std::vector<std::string>>();
    }
    for (const auto& [name, operations] : {std::pair{"open", &next.open_}, std::pair{"unsettled", &next.unsettled_}}) {
      for (const auto& entry : parsed.at(name)) {
        auto operation = ReadOperation(entry);
        if (operation.operation.empty()) return Bad("the checkpoint has an operation without id");
        operations->emplace(operation.operation, operation);
      }
    }
  } catch (const nlohmann::json::exception&) {
    return Bad("the checkpoint lacks a member or has one of a wrong type");
  }
  *this = std::move(next);
  return {};
}

std::vector<std::string> Ledger::OpenIntents() const {
  std::vector<std::string> ids;
  for (const auto* operation : Sorted(open_)) ids.push_back(operation->operation);
  return ids;
}

std::vector<OpenOperation> Ledger::Unsettled() const {
  std::vector<OpenOperation> operations;
  for (const auto* operation : Sorted(unsettled_)) operations.push_back(*operation);
  return operations;
}

std::vector<Journal::DayCount> Ledger::Counts(std::string_view date) const {
  std::vector<Journal::DayCount> counts;
  if (date != day_) return counts;
  for (const auto& [policy, principals] : counts_) {
    for (const auto& [principal, count] : principals) {
      if (count > 0) counts.push_back({policy, principal, count});
    }
  }
  return counts;
}

std::vector<std::string> Ledger::Keys(std::string_view policy) const {
  const auto it = keys_.find(policy);
  return it == keys_.end() ? std::vector<std::string>{} : it->second;
}

}  // namespace signet::audit
