// api/limits.hpp - the numbers that crds/*.yaml and src/api share.
//
// Lengths are Unicode characters, as JSON Schema counts them, unless a name says bytes.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace signet::api::limits {

inline constexpr std::size_t kDescription = 1024;
inline constexpr std::size_t kUri = 1024;
inline constexpr std::size_t kAlgorithms = 10;
inline constexpr std::size_t kSubjects = 64;
inline constexpr std::size_t kSubjectName = 512;  ///< User and Group
inline constexpr std::size_t kAccountName = 253;  ///< ServiceAccount
inline constexpr std::size_t kNamespace = 63;
inline constexpr std::size_t kMatchLabels = 16;
inline constexpr std::size_t kMatchExpressions = 16;
inline constexpr std::size_t kSelectorValues = 32;
inline constexpr std::size_t kLabelKey = 317;  ///< 253 for the prefix, '/', 63 for the name
inline constexpr std::size_t kLabelValue = 63;
inline constexpr std::size_t kArtifactRules = 64;
inline constexpr std::size_t kArtifactGlob = 512;
inline constexpr std::size_t kArtifactName = 1024;
inline constexpr std::size_t kMediaTypes = 16;
inline constexpr std::size_t kMediaType = 255;
inline constexpr std::size_t kWindows = 32;
inline constexpr std::size_t kDays = 7;
inline constexpr std::size_t kTimeZone = 64;
inline constexpr std::int64_t kPerSecond = 1'000'000;
inline constexpr std::int64_t kPerDay = 1'000'000'000;
inline constexpr std::int64_t kApprovalsRequired = 16;
inline constexpr std::size_t kImageDigests = 64;
inline constexpr std::size_t kImageDigest = 71;  ///< "sha256:" and 64 digits
/// Read before its form is judged, so that an image that was pasted whole is told what a digest looks like.
inline constexpr std::size_t kDigestText = 512;
inline constexpr std::size_t kTimeOfDay = 32;  ///< likewise, for 08:00:00

inline constexpr std::size_t kObjectName = 253;
inline constexpr std::size_t kMessageText = 87384;  ///< base64 of kMaxMessageBytes
inline constexpr std::size_t kAnnotations = 64;
inline constexpr std::size_t kAnnotationKey = 253;
inline constexpr std::size_t kAnnotationValue = 1024;
inline constexpr std::size_t kDuration = 32;
inline constexpr std::chrono::hours kLongestDuration{8760};
inline constexpr std::chrono::minutes kShortestExpiry{1};
inline constexpr std::int64_t kTtlSeconds = 2'147'483'647;
inline constexpr std::size_t kUsername = 1024;
inline constexpr std::size_t kUserUid = 256;
inline constexpr std::size_t kGroups = 1024;
inline constexpr std::size_t kGroup = 512;
inline constexpr std::size_t kExtra = 64;
inline constexpr std::size_t kExtraKey = 512;
inline constexpr std::size_t kExtraValues = 64;
inline constexpr std::size_t kExtraValue = 1024;
inline constexpr std::size_t kUid = 128;  ///< of an object
inline constexpr std::int64_t kGeneration = 9'007'199'254'740'991;
inline constexpr std::size_t kComment = 1024;
inline constexpr std::size_t kTime = 40;
inline constexpr std::size_t kNonce = 32;
inline constexpr std::size_t kSeal = 64;

}  // namespace signet::api::limits
