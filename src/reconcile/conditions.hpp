// reconcile/conditions.hpp - metav1.Conditions: set, compare, read back leniently.
//
// Thread-safety: pure functions.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "api/types.hpp"

namespace signet::reconcile {

/// The conditions of an object's status as they stand; entries that make no sense are left out.
std::vector<api::Condition> ReadConditions(const nlohmann::json& object);

/// Adds or replaces the condition of `next.type`. last_transition_time moves to `now` only when the
/// condition is new or its status flips.
void SetCondition(std::vector<api::Condition>& conditions, api::Condition next, base::TimePoint now);

/// Same types in the same order with equal members; last_transition_time does not count.
bool SameConditions(const std::vector<api::Condition>& left, const std::vector<api::Condition>& right);

/// The condition of `type` is there and "True".
bool IsTrue(const std::vector<api::Condition>& conditions, std::string_view type);

inline constexpr std::size_t kMaxConditionMessage = 32768;  ///< octets; metav1.Condition.message
/// Cuts at `limit` octets on a character's border.
std::string Bounded(std::string text, std::size_t limit);

}  // namespace signet::reconcile
