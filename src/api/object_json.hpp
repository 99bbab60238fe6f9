// api/object_json.hpp - what the readers of both kinds share.
//
// Thread-safety: pure functions.
#pragma once

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "api/node.hpp"
#include "api/types.hpp"
#include "base/result.hpp"

namespace signet::api {

/// An object of `kind` (where apiVersion and kind are written) without unknown fields at the top: a
/// `suspend` that slipped out of spec must not pass for one.
base::Status CheckEnvelope(const nlohmann::json& object, std::string_view kind);

base::Result<SignatureAlgorithm> ReadAlgorithm(const Node& node);
base::Result<std::chrono::seconds> ReadDuration(const Node& node, std::chrono::seconds shortest);
base::Result<Artifact> ReadArtifact(const Node& node);
base::Result<base::TimePoint> ReadTimePoint(const Node& node);
base::Result<UserInfo> ReadUserInfo(const Node& node);
base::Result<Stamp> ReadStamp(const Node& node);

/// Lenient: what makes no sense is left at its default. A status is ours, and decides nothing.
SigningPolicyStatus PolicyStatusFromJson(const nlohmann::json& status);
SigningRequestStatus RequestStatusFromJson(const nlohmann::json& status);

}  // namespace signet::api
