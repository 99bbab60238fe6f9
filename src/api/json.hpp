// api/json.hpp - objects to and from JSON, with every check the CRD's schema makes.
//
// FromJson is strict where it guards a signature (unknown spec fields, wrong types,
// bad values are errors that name the JSON path) and lenient where Kubernetes adds
// fields (metadata, status). Validate's semantic checks are part of FromJson: a
// value that came out is valid.
//
// Errors: kInvalidArgument, reason "Invalid", message "spec.windows[1].from: ...".
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "api/types.hpp"
#include "base/result.hpp"

namespace signet::api {

/// Only metadata (for objects whose spec does not parse).
base::Result<ObjectMeta> MetadataFromJson(const nlohmann::json& object);

base::Result<SigningPolicy> PolicyFromJson(const nlohmann::json& object);
base::Result<SigningRequest> RequestFromJson(const nlohmann::json& object);

/// The status sub-objects as the API server stores them; empty members are left out.
nlohmann::json StatusToJson(const SigningPolicyStatus& status);
nlohmann::json StatusToJson(const SigningRequestStatus& status);

/// "sha256:<hex>", lower-case hex of the right length; kInvalidArgument otherwise.
base::Result<Digest> ParseDigest(std::string_view text);
std::string FormatDigest(const Digest& digest);

/// metav1.Duration as Go writes it ("24h", "1h30m", "90s"); positive, at most 8760h.
base::Result<std::chrono::seconds> ParseDuration(std::string_view text);

/// An artifact name as callers may claim it: 1-1024 printable ASCII bytes, no empty, "." or ".."
/// segment, no leading '/', no '%' and no backslash.
base::Status ValidateArtifactName(std::string_view name);
/// An artifact as the socket and a request carry it ({name, mediaType?, annotations?}).
base::Result<Artifact> ArtifactFromJson(const nlohmann::json& artifact, std::string_view path);

/// Canonical hash of a policy's spec (hex SHA-256 of sorted compact JSON is computed by the
/// caller in crypto); this returns the canonical text.
std::string CanonicalSpec(const nlohmann::json& object);

}  // namespace signet::api
