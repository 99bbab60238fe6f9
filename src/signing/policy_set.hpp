// signing/policy_set.hpp - what the files of a folder say of each policy, a file at a time.
//
// Whatever is wrong in the folder, a policy that no readable file defines any more is gone, and one that a readable
// document suspends is suspended, even where that document is not valid otherwise. What else cannot be read for
// certain is not confirmed: the revision in force stays until it is too old (policyMaxAge).
//
// Thread-safety: none.
// Blocking:      PolicyFiles() none by itself; LoadPolicySet makes file system calls and waits for files to settle.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "api/types.hpp"
#include "base/clock.hpp"
#include "base/result.hpp"
#include "store/manifest_source.hpp"

namespace signet::signing {

struct LoadedPolicy {
  api::SigningPolicy policy;
  std::string hash;   ///< hex SHA-256 of the canonical spec
  std::string place;  ///< "file:line", for messages
};

/// What the folder says of one name.
struct PolicyReading {
  std::optional<LoadedPolicy> policy;  ///< nullopt: no one valid definition; the one in force is not confirmed
  bool confirmed = false;              ///< `policy` stands in files that are read as they are now
  bool suspended = false;              ///< a document says so, whatever else is wrong with it
};
struct PolicySet {
  std::map<std::string, PolicyReading, std::less<>> policies;
  std::vector<std::string> problems;  ///< each begins with its file
};

inline constexpr store::FolderLimits kPolicyFolderLimits{
    .files = 1000, .file_bytes = 1U << 20, .total_bytes = 16U << 20};

/// The folder's files as ManifestSource reads them. Documents of other kinds are ignored.
store::ManifestSource PolicyFiles(const std::filesystem::path& folder);
PolicySet ReadPolicySet(const store::ManifestSource& files);

/// Looks at `files` until nothing in the folder is being written, and reads them.
/// @return kInvalidArgument, reason PoliciesInvalid: the first thing that is wrong, with its place
///         kFailedPrecondition, reason PoliciesNotFound: no such folder, or it cannot be read
base::Result<PolicySet> LoadPolicySet(store::ManifestSource& files, const std::filesystem::path& folder,
                                      const base::Clock& clock);

}  // namespace signet::signing
