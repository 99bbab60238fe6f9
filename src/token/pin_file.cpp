#include "token/pin_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "base/printable.hpp"
#include "base/unique_fd.hpp"

namespace signet::token {
namespace {

constexpr std::size_t kMaxFile = kMaxPin + 64;  // bytes; a byte order mark and line ends
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::size_t kMaxSmallFile = 64 * 1024;

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

/// The PIN in what an editor, a shell or a secrets manager has written.
std::string_view Trim(std::string_view text) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

/// The Unicode Standard, PropList.txt: White_Space above the control characters, which are refused anyway.
bool IsBlank(std::uint32_t point) {
  return point == ' ' || point == 0xA0 || point == 0x1680 || (point >= 0x2000 && point <= 0x200A) || point == 0x202F ||
         point == 0x205F || point == 0x3000;
}

/// Why `pin` cannot be one; empty: it can.
std::string_view Flaw(std::string_view pin) {
  if (pin.empty()) return "is empty";
  if (pin.starts_with("\xFF\xFE") || pin.starts_with("\xFE\xFF") || pin.find('\0') != pin.npos) {
    return "is not text in UTF-8 (UTF-16?): save it as UTF-8";
  }
  if (pin.size() > kMaxPin) return "is longer than 256 bytes: it should hold the PIN alone";
  if (pin.find_first_of("\r\n") != pin.npos) return "has more than one line: it should hold the PIN alone";
  bool blank_first = false;
  bool blank_last = false;
  for (std::size_t at = 0; at < pin.size();) {
    const base::Character next = base::FirstCharacter(pin.substr(at));
    if (!next.valid) return "is not text in UTF-8: save it as UTF-8";
    if (base::IsHarmful(next.point)) {
      return next.point < 0x80 ? "has a tab or another control character: remove it"
                               : "has an invisible or control character: remove it";
    }
    blank_last = IsBlank(next.point);
    if (at == 0) blank_first = blank_last;
    at += next.size;
  }
  if (blank_first || blank_last) return "has a blank before or after the PIN: remove it";
  return {};
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

  std::array<char, kMaxFile> buffer;
  std::size_t size = 0;
  int err = 0;
  while (size < buffer.size()) {
    const ssize_t got = ::read(fd.get(), buffer.data() + size, buffer.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) err = errno;
    if (got <= 0) break;
    size += static_cast<std::size_t>(got);
  }
  const std::string_view pin = Trim({buffer.data(), size});
  const std::string_view flaw =
      size < buffer.size() ? Flaw(pin) : "is longer than 256 bytes: it should hold the PIN alone";
  PinFile file{base::Secret(flaw.empty() ? base::ToBytes(base::AsBytes(pin)) : base::Bytes()), Identity(status)};
  base::WipeMemory(buffer.data(), buffer.size());
  if (err != 0) return Unreadable(path, "cannot be read", err);
  if (!flaw.empty()) return Unreadable(path, flaw);
  return file;
}

base::Status CheckPinSize(const std::string& path, std::size_t size, std::size_t least, std::size_t most) {
  if (most == 0 || (size >= least && size <= most)) return {};
  // Not its size: that would be half of what there is to guess.
  return Unreadable(path, size < least ? fmt::format("has a PIN below the {} bytes that the token asks for", least)
                                       : fmt::format("has a PIN above the {} bytes that the token takes", most));
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
    // A folder that hands its group on is shared with the front, which runs as another user (docs/hardening.md).
    struct stat made {};
    if (fd.valid() && ::fstat(fd.get(), &made) == 0 && made.st_gid != ::getegid()) {
      (void)::fchmod(fd.get(), S_IRUSR | S_IWUSR | S_IRGRP);
    }
    if (fd.valid()) LeaveToOwnerOfFolder(fd.get(), path);
    if (!fd.valid() || !WriteAll(fd.get(), text) || ::fsync(fd.get()) != 0) return StateUnwritable(path, errno);
  }
  if (std::rename(temporary.c_str(), path.c_str()) != 0) return StateUnwritable(path, errno);
  const base::UniqueFd directory(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid() || ::fsync(directory.get()) != 0) return StateUnwritable(path, errno);
  return {};
}

void LeaveToOwnerOfFolder(int fd, const std::string& path) {
  if (::geteuid() != 0) return;
  const std::string folder = std::filesystem::path(path).parent_path().string();
  struct stat owner {};
  struct stat made {};
  if (::stat(folder.empty() ? "." : folder.c_str(), &owner) != 0 || ::fstat(fd, &made) != 0) return;
  if ((made.st_uid != owner.st_uid || made.st_gid != owner.st_gid) && ::fchown(fd, owner.st_uid, owner.st_gid) != 0) {
    return;  // the one who cannot use it says so
  }
  if ((owner.st_mode & S_IWGRP) != 0) (void)::fchmod(fd, (made.st_mode & S_IRWXU) | ((made.st_mode & S_IRWXU) >> 3U));
}

void MakeStateFolder(const std::string& folder) {
  std::error_code failed;
  if (!std::filesystem::create_directories(folder, failed) || ::geteuid() != 0) return;  // who opens a file says why
  struct stat parent {};
  const std::string above = std::filesystem::absolute(folder).parent_path().string();
  if (::stat(above.c_str(), &parent) == 0) (void)!::chown(folder.c_str(), parent.st_uid, parent.st_gid);
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
