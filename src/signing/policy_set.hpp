// signing/policy_set.hpp - one reading of a folder of policies: all valid, or an error.
//
// Thread-safety: none.
// Blocking:      file system calls.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "api/types.hpp"
#include "base/result.hpp"
#include "store/folder.hpp"

namespace signet::signing {

struct LoadedPolicy {
  api::SigningPolicy policy;
  std::string hash;   ///< hex SHA-256 of the canonical spec
  std::string place;  ///< "file:line", for messages
};

/// Reads every file of `listing`.
/// @return kAborted: the folder changed meanwhile, look again
///         kInvalidArgument, reason PoliciesInvalid: the first thing that is wrong, with its place
base::Result<std::map<std::string, LoadedPolicy, std::less<>>> LoadPolicySet(const std::filesystem::path& folder,
                                                                             const store::FolderListing& listing);

inline constexpr store::FolderLimits kPolicyFolderLimits{
    .files = 1000, .file_bytes = 1U << 20, .total_bytes = 16U << 20};

}  // namespace signet::signing
