// authn/secret_data.hpp - for this module's own .cpp files: the members of a Secret's `data`, which are base64.
#pragma once

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace signet::authn {

/// Certificates are valid from so long before they are made, for peers whose clocks are behind.
inline constexpr std::chrono::minutes kBackdate{5};

/// A member of `data`, decoded; empty if it is absent or not base64.
std::string DataMember(const nlohmann::json& secret, const char* name);

/// `text` as a member of `data`.
std::string AsData(const std::string& text);

}  // namespace signet::authn
