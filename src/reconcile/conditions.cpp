#include "reconcile/conditions.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/printable.hpp"
#include "encoding/json.hpp"

namespace signet::reconcile {
namespace {

using encoding::TextAt;

}  // namespace

std::vector<api::Condition> ReadConditions(const nlohmann::json& object) {
  std::vector<api::Condition> out;
  const auto status = object.find("status");
  if (status == object.end() || !status->is_object()) return out;
  const auto list = status->find("conditions");
  if (list == status->end() || !list->is_array()) return out;
  for (const auto& entry : *list) {
    if (!entry.is_object()) continue;
    api::Condition condition;
    condition.type = TextAt(entry, "type");
    if (condition.type.empty()) continue;
    condition.status = TextAt(entry, "status") == "True";
    condition.reason = TextAt(entry, "reason");
    condition.message = TextAt(entry, "message");
    const auto generation = entry.find("observedGeneration");
    if (generation != entry.end() && generation->is_number_integer()) {
      condition.observed_generation = generation->get<std::int64_t>();
    }
    if (auto time = base::ParseTime(TextAt(entry, "lastTransitionTime"))) condition.last_transition_time = *time;
    out.push_back(std::move(condition));
  }
  return out;
}

void SetCondition(std::vector<api::Condition>& conditions, api::Condition next, base::TimePoint now) {
  next.message = Bounded(base::PrintableLine(next.message), kMaxConditionMessage);
  const auto it = std::find_if(conditions.begin(), conditions.end(),
                               [&](const api::Condition& condition) { return condition.type == next.type; });
  if (it == conditions.end()) {
    next.last_transition_time = now;
    conditions.push_back(std::move(next));
    return;
  }
  const bool keeps_time = it->status == next.status && it->last_transition_time != base::TimePoint{};
  next.last_transition_time = keeps_time ? it->last_transition_time : now;
  *it = std::move(next);
}

bool SameConditions(const std::vector<api::Condition>& left, const std::vector<api::Condition>& right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                    [](const api::Condition& a, const api::Condition& b) {
                      return a.type == b.type && a.status == b.status && a.reason == b.reason &&
                             a.message == b.message && a.observed_generation == b.observed_generation;
                    });
}

bool IsTrue(const std::vector<api::Condition>& conditions, std::string_view type) {
  return std::any_of(conditions.begin(), conditions.end(),
                     [&](const api::Condition& condition) { return condition.type == type && condition.status; });
}

std::string Bounded(std::string text, std::size_t limit) {
  if (text.size() <= limit) return text;
  std::size_t end = limit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  text.resize(end);
  return text;
}

}  // namespace signet::reconcile
