#include "base/file_lock.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <thread>

namespace signet::base {
namespace {

constexpr mode_t kMode = S_IWUSR;
constexpr std::chrono::milliseconds kInterval{10};

}  // namespace

Result<UniqueFd> OpenLockFile(const std::string& path) {
  // O_NONBLOCK: a FIFO under this name must not stop the process.
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, kMode));
  struct stat info {};
  if (!fd.valid() || ::fstat(fd.get(), &info) != 0) {
    return ErrnoError(Code::kFailedPrecondition, "cannot open the lock file " + path, errno);
  }
  // One of an older version was readable. Another owner's cannot be narrowed, and still locks.
  if ((info.st_mode & ALLPERMS) != kMode) (void)::fchmod(fd.get(), kMode);
  return fd;
}

namespace {

Result<LockState> TryLockRange(int fd, std::int64_t offset, std::int64_t size) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = offset;
  lock.l_len = size;
  struct flock found = lock;
  while (::fcntl(fd, F_OFD_SETLK, &lock) != 0) {
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EACCES) return ErrnoError(Code::kFailedPrecondition, "cannot lock a file", errno);
    const bool shared = ::fcntl(fd, F_OFD_GETLK, &found) == 0 && found.l_type == F_RDLCK;
    return shared ? LockState::kShared : LockState::kHeld;
  }
  return LockState::kTaken;
}

}  // namespace

Result<LockState> TryLock(int fd) { return TryLockRange(fd, 0, 0); }

Result<LockState> TryLockByte(int fd, std::int64_t offset) { return TryLockRange(fd, offset, 1); }

Result<LockState> AwaitLock(int fd, std::chrono::milliseconds patience) {
  for (;; patience -= kInterval) {
    TRY(const LockState state, TryLock(fd));
    if (state == LockState::kTaken || patience <= kInterval) return state;
    std::this_thread::sleep_for(kInterval);  // F_OFD_SETLKW has no time limit
  }
}

}  // namespace signet::base
