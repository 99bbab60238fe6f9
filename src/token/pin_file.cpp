#include "token/pin_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "base/unique_fd.hpp"

namespace signet::token {
namespace {

constexpr std::size_t kMaxSmallFile = 16 * 1024;

FileIdentity Identity(const struct stat& status) {
  return {static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino),
          static_cast<std::uint64_t>(status.st_size),
          static_cast<std::int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec};
}

base::Error Unreadable(const std::string& path, std::string_view why, int err = 0) {
  auto error =
      err == 0 ? base::MakeError(base::Code::kUnavailable, "") : base::ErrnoError(base::Code::kUnavailable, "", err);
  error.reason = "PinFileUnreadable";
  error.message = "the PIN file " + path + " " + std::string(why);
  return error;
}

base::Error StateUnwritable(const std::string& path, int err) {
  auto error = base::ErrnoError(base::Code::kUnavailable, "cannot write the PIN state file " + path, err);
  error.reason = "StateUnwritable";
  return error;
}

bool WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace

base::Result<FileIdentity> IdentifyFile(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return Unreadable(path, "cannot be found", errno);
  return Identity(status);
}

base::Result<PinFile> ReadPinFile(const std::string& path) {
  // O_NONBLOCK: a FIFO under this name must not stop the worker.
  const base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) return Unreadable(path, "cannot be opened", errno);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return Unreadable(path, "cannot be read", errno);
  if (!S_ISREG(status.st_mode)) return Unreadable(path, "is not a regular file");

  std::array<std::uint8_t, kMaxPin + 2> buffer;
  std::size_t size = 0;
  int err = 0;
  while (size < buffer.size()) {
    const ssize_t got = ::read(fd.get(), buffer.data() + size, buffer.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) err = errno;
    if (got <= 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size > 0 && buffer[size - 1] == '\n') --size;
  PinFile file{base::Secret(base::Bytes(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(size))),
               Identity(status)};
  base::WipeMemory(buffer.data(), buffer.size());
  if (err != 0) return Unreadable(path, "cannot be read", err);
  if (size == 0) return Unreadable(path, "is empty");
  if (size > kMaxPin) return Unreadable(path, "is longer than 256 bytes: it should hold the PIN alone");
  return file;
}

base::Status ReplaceFile(const std::string& path, std::string_view text) {
  const std::string folder = path.substr(0, path.find_last_of('/') + 1);
  if (text.empty()) {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return StateUnwritable(path, errno);
    return {};
  }
  const std::string temporary = path + ".tmp";
  {
    const base::UniqueFd fd(
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR));
    if (!fd.valid() || !WriteAll(fd.get(), text) || ::fsync(fd.get()) != 0) return StateUnwritable(path, errno);
  }
  if (std::rename(temporary.c_str(), path.c_str()) != 0) return StateUnwritable(path, errno);
  const base::UniqueFd directory(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid() || ::fsync(directory.get()) != 0) return StateUnwritable(path, errno);
  return {};
}

base::Result<std::string> ReadSmallFile(const std::string& path) {
  const base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW));
  if (!fd.valid() && errno == ENOENT) return std::string();
  std::string text(kMaxSmallFile, '\0');
  const ssize_t got = fd.valid() ? ::read(fd.get(), text.data(), text.size()) : -1;
  if (got < 0) return base::ErrnoError(base::Code::kFailedPrecondition, "cannot read " + path, errno);
  text.resize(static_cast<std::size_t>(got));
  return text;
}

}  // namespace signet::token
