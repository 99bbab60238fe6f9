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

inline constexpr std::size_t kMaxPin = 256;  ///< bytes

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

/// Reads the PIN: UTF-8 on one line. A byte order mark before it and line ends of any system after it (LF, CR, any
/// number of them) do not belong to it. Workers only.
/// @return kUnavailable, reason PinFileUnreadable: absent, not a regular file, or what cannot be a PIN: empty, over 256
///         bytes, several lines, a control character, a blank at either end, UTF-16 or anything but UTF-8. The token is
///         not asked about those.
base::Result<PinFile> ReadPinFile(const std::string& path);

/// Whether a PIN of `size` bytes can be one of a token with these limits; 0: no limit.
/// @return kUnavailable, reason PinFileUnreadable.
base::Status CheckPinSize(const std::string& path, std::size_t size, std::size_t least, std::size_t most);

/// Replaces `path` by `text` so that a crash leaves the old or the new: temporary file, fsync, rename, fsync of the
/// folder. An empty text removes the file.
base::Status ReplaceFile(const std::string& path, std::string_view text);
/// Root (a check, or a service before it becomes another user) leaves no file behind that the folder's owner cannot
/// use: the file `fd` at `path` gets the folder's owner and group; its group may use it where the group may write the
/// folder.
void LeaveToOwnerOfFolder(int fd, const std::string& path);
/// Makes the folder where it is missing; made by root, it gets its parent's owner.
void MakeStateFolder(const std::string& folder);
/// Nothing there: an empty text.
base::Result<std::string> ReadSmallFile(const std::string& path);

}  // namespace signet::token
