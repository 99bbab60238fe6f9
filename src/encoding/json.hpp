// encoding/json.hpp - the one way JSON text becomes a value: strict and bounded.
//
// Refuses duplicate keys, depth over 32, text that is not UTF-8, numbers that do
// not fit, and anything after the value.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace signet::encoding {

inline constexpr std::size_t kMaxJsonDepth = 32;

/// @return kInvalidArgument, reason "Malformed", saying where.
base::Result<nlohmann::json> ParseJson(std::string_view text);

/// As ParseJson, for what an API server sends: without members named managedFields. They are half of an object, and
/// nobody here reads them. What is inside of them is checked for syntax and depth, not for duplicate keys.
base::Result<nlohmann::json> ParseObject(std::string_view text);

/// The member `name` of `object`; a JSON null if `object` is not an object or has no such member. The reference is
/// valid as long as `object`.
const nlohmann::json& At(const nlohmann::json& object, std::string_view name);

/// The string member `name` of `object`; empty if there is none, or if it is not a string.
std::string TextAt(const nlohmann::json& object, std::string_view name);

}  // namespace signet::encoding
