// store/folder.hpp - looking at a folder of manifests: what is there, has it changed, what does it say.
//
// Manifests are the *.yaml, *.yml and *.json files of one folder, not of folders below it; names that
// begin with a dot are not looked at. A symbolic link counts as the file it leads to, as ConfigMap mounts
// need it, as long as that file lies inside the folder.
//
// Thread-safety: pure functions over the file system.
// Blocking:      file system calls; a folder belongs on a local disk.
// Errors:        kNotFound (no such folder), kFailedPrecondition (not a folder), kPermissionDenied,
//                kUnavailable (everything else the system says).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"

namespace signet::store {

/// Equal stamps: the same octets, once the file is settled.
struct FileStamp {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::int64_t size = 0;
  std::int64_t modified_ns = 0;
  std::int64_t changed_ns = 0;
  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};

struct FolderFile {
  std::string name;  ///< within the folder
  FileStamp stamp;
  friend bool operator==(const FolderFile&, const FolderFile&) = default;
};

/// A file that is not used, and why.
struct Problem {
  std::string file;
  std::string message;  ///< begins with the file's name (and line, where there is one)
  friend bool operator==(const Problem&, const Problem&) = default;
};

struct FolderListing {
  std::vector<FolderFile> files;  ///< sorted by name
  /// Links that lead out of the folder or nowhere, devices, folders named like a manifest, files that are too large.
  std::vector<Problem> refused;
  friend bool operator==(const FolderListing&, const FolderListing&) = default;
};

struct FolderLimits {
  std::size_t files = 10000;
  std::uint64_t file_bytes = 1U << 20;
  std::uint64_t total_bytes = 256U << 20;
};

/// True for names ListFolder takes: an extension of ours, no leading dot, not a status file.
bool IsManifestName(std::string_view name);

/// The files of `known` come first, so that files that are added over `limits` are refused, and not those that were
/// read before. nullptr: by name.
base::Result<FolderListing> ListFolder(const std::filesystem::path& folder, const FolderLimits& limits,
                                       const FolderListing* known = nullptr);

/// One file of the folder; links are followed inside the folder only. `stamp` is what was read.
base::Result<std::string> ReadFolderFile(const std::filesystem::path& folder, const FolderFile& file,
                                         std::uint64_t max_bytes);

/// False while a file was touched so recently that its writer may not be done, unless nothing moved
/// since `previous` (a look at least kSettleTime ago; nullptr: none).
inline constexpr std::chrono::milliseconds kSettleTime{50};
bool IsSettled(const FolderFile& file, const FolderListing* previous, base::TimePoint now);
bool IsSettled(const FolderListing& listing, const FolderListing* previous, base::TimePoint now);

/// Replaces `folder`/`name` as a whole: temporary file, rename. `durable`: fsync of both file and folder.
base::Status WriteFileAtomically(const std::filesystem::path& folder, std::string_view name, std::string_view text,
                                 bool durable);
/// Begins the names of the temporary files of WriteFileAtomically.
inline constexpr std::string_view kTemporaryPrefix = ".signet-tmp-";

}  // namespace signet::store
