// store/status_file.hpp - what the directory store knows of an object, as it stands beside its manifest.
//
// request.yaml, request.yml and request.json have request.status.yaml: one YAML document per object,
// with the metadata an API server would keep (uid, generation, resourceVersion, creationTimestamp) and
// the status. The annotation signet.dev/spec-hash tells an edited spec from a touched file.
//
// Thread-safety: values and functions without state.
// Errors:        kInvalidArgument, reason "StatusCorrupt"; kUnavailable: the file system says no.
#pragma once

#include <compare>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace signet::store {

struct ObjectKey {
  std::string api_version;
  std::string kind;
  std::string ns;  ///< empty for cluster-scoped kinds
  std::string name;
  friend auto operator<=>(const ObjectKey&, const ObjectKey&) = default;
};

struct StatusRecord {
  ObjectKey key;
  std::string uid;
  std::int64_t generation = 1;
  std::uint64_t resource_version = 0;
  std::string created;    ///< RFC 3339
  std::string spec_hash;  ///< hex SHA-256 of the spec
  nlohmann::json status;  ///< null until the first write
};

/// "a.yaml", "a.yml", "a.json" to "a.status.yaml".
std::string StatusFileName(std::string_view manifest);
/// True for status files that belong to a manifest (not for those of deleted objects).
bool IsStatusFileName(std::string_view name);
/// "a.status.yaml" to "a.deleted-20261123T090001Z-1c2d3e4f.status.yaml": evidence that is never read again.
std::string RetiredFileName(std::string_view status_file, std::string_view time, std::string_view uid);

/// The names of the status files in `folder`, sorted; removes temporary files that a crash has left.
base::Result<std::vector<std::string>> ListStatusFiles(const std::filesystem::path& folder);
base::Result<std::vector<StatusRecord>> ReadStatusFile(const std::filesystem::path& folder, const std::string& name);
base::Result<std::vector<StatusRecord>> ParseStatusFile(std::string_view text, std::string_view name);
std::string FormatStatusFile(const std::vector<StatusRecord>& records);

/// Hex SHA-256 of the object's spec, independent of the order in which it was written.
std::string SpecHash(const nlohmann::json& object);
/// A random UUID (RFC 4122 version 4).
std::string NewUid();

}  // namespace signet::store
