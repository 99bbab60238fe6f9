// base/file_lock.hpp - locks between Signet's processes that a reader of the folder cannot take.
//
// A lock file has mode 0200 and is opened for writing only; the lock is an open file description lock for writing.
// flock(2) would not do: whoever may open a file or a folder for reading can take that lock and keep it.
//
// Thread-safety: free functions without state.
// Sources:       fcntl(2), "Open file description locks".
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace signet::base {

/// Opens or creates the lock file `path`; a symbolic link is not followed. The error's native number is errno.
Result<UniqueFd> OpenLockFile(const std::string& path);

enum class LockState {
  kTaken,   ///< ours until the descriptor is closed
  kHeld,    ///< another process holds it for writing, as Signet does
  kShared,  ///< somebody holds a read lock, which Signet never takes
};

/// Tries once. `fd` must be open for writing.
Result<LockState> TryLock(int fd);
/// The same for the one byte at `offset`, which need not exist: one file has room for many locks.
Result<LockState> TryLockByte(int fd, std::int64_t offset);

/// Tries until `patience` is over. Blocking: as long as that.
Result<LockState> AwaitLock(int fd, std::chrono::milliseconds patience);

}  // namespace signet::base
