// token/pin_file.hpp - the PIN file: who it is (front) and what it says (workers only).
//
// Blocking: small local files.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/secret.hpp"

namespace signet::token {

inline constexpr std::size_t kMaxPin = 256;  ///< octets

/// Tells one content of a file from another without reading it.
struct FileIdentity {
  std::uint64_t device = 0, inode = 0, size = 0;
  std::int64_t mtime_ns = 0;
  bool operator==(const FileIdentity&) const = default;
};

/// @return kUnavailable, reason PinFileUnreadable.
base::Result<FileIdentity> IdentifyFile(const std::string& path);

struct PinFile {
  base::Secret pin;
  FileIdentity identity;
};

/// Reads the PIN; one trailing newline does not belong to it. Workers only.
/// @return kUnavailable, reason PinFileUnreadable: absent, not a regular file, empty, over 256 octets.
base::Result<PinFile> ReadPinFile(const std::string& path);

/// Replaces `path` by `text` so that a crash leaves the old or the new: temporary file, fsync, rename, fsync of the
/// folder. An empty text removes the file.
base::Status ReplaceFile(const std::string& path, std::string_view text);
/// Nothing there: an empty text.
base::Result<std::string> ReadSmallFile(const std::string& path);

}  // namespace signet::token
