#include "store/folder.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <memory>

#include "base/unique_fd.hpp"
#include "crypto/digest.hpp"
#include "encoding/text.hpp"

namespace signet::store {
namespace {

using base::Code;
using base::MakeError;
using base::UniqueFd;

base::Error SystemError(std::string what, int err) {
  Code code = Code::kUnavailable;
  if (err == ENOENT) code = Code::kNotFound;
  if (err == ENOTDIR) code = Code::kFailedPrecondition;
  if (err == EACCES || err == EPERM || err == EROFS) code = Code::kPermissionDenied;
  return base::ErrnoError(code, std::move(what), err);
}

FileStamp Stamp(const struct stat& info) {
  const auto nanoseconds = [](const timespec& time) {
    return static_cast<std::int64_t>(time.tv_sec) * 1000000000 + time.tv_nsec;
  };
  return {info.st_dev, info.st_ino, info.st_size, nanoseconds(info.st_mtim), nanoseconds(info.st_ctim)};
}

/// Where an open descriptor really leads. Asked of the descriptor, so that no later rename of a link can fool the
/// check.
base::Result<std::string> RealPath(int fd) {
  std::array<char, PATH_MAX> target{};
  const std::string link = fmt::format("/proc/self/fd/{}", fd);
  const ssize_t size = ::readlink(link.c_str(), target.data(), target.size());
  if (size < 0) return SystemError("cannot tell where a file lies (is /proc mounted?)", errno);
  return std::string(target.data(), static_cast<std::size_t>(size));
}

base::Result<UniqueFd> OpenFolder(const std::filesystem::path& folder) {
  UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return SystemError(fmt::format("cannot open the folder {}", folder.string()), errno);
  return fd;
}

/// Opens `name` without side effects (O_PATH), and only if it is a regular file inside the folder.
base::Result<UniqueFd> Pin(int folder, const std::string& name, struct stat& info) {
  UniqueFd fd(::openat(folder, name.c_str(), O_PATH | O_CLOEXEC));
  if (!fd.valid()) return SystemError(fmt::format("{}: cannot be opened", name), errno);
  if (::fstat(fd.get(), &info) != 0) return SystemError(fmt::format("{}: cannot be read", name), errno);
  if (!S_ISREG(info.st_mode)) {
    return MakeError(Code::kInvalidArgument, fmt::format("{}: not a regular file; remove or rename it", name));
  }
  TRY(const std::string inside, RealPath(folder));
  TRY(const std::string target, RealPath(fd.get()));
  if (!target.starts_with(inside == "/" ? inside : inside + "/")) {
    return MakeError(Code::kInvalidArgument,
                     fmt::format("{}: is a link that leads out of the folder; put the file itself here", name));
  }
  return fd;
}

struct DirCloser {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

base::Result<std::vector<std::string>> Names(int folder) {
  const int copy = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return SystemError("cannot list the folder", errno);
  const std::unique_ptr<DIR, DirCloser> dir(::fdopendir(copy));
  if (!dir) {
    const int err = errno;
    ::close(copy);
    return SystemError("cannot list the folder", err);
  }
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(dir.get())) {
    if (IsManifestName(entry->d_name)) names.emplace_back(entry->d_name);
    errno = 0;
  }
  if (errno != 0) return SystemError("cannot list the folder", errno);
  std::sort(names.begin(), names.end());
  return names;
}

const FolderFile* FindFile(const FolderListing& listing, const std::string& name) {
  const auto found = std::lower_bound(listing.files.begin(), listing.files.end(), name,
                                      [](const FolderFile& file, const std::string& key) { return file.name < key; });
  return found != listing.files.end() && found->name == name ? &*found : nullptr;
}

base::Status WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return SystemError("cannot write", errno);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

base::Status WriteTemporary(int folder, const std::string& name, std::string_view text, bool durable) {
  const UniqueFd fd(::openat(folder, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd.valid()) return SystemError("cannot create a temporary file", errno);
  TRY_VOID(WriteAll(fd.get(), text));
  if (durable && ::fsync(fd.get()) != 0) return SystemError("fsync", errno);
  return {};
}

}  // namespace

bool IsManifestName(std::string_view name) {
  if (name.empty() || name.front() == '.' || name.ends_with(".status.yaml")) return false;
  return name.ends_with(".yaml") || name.ends_with(".yml") || name.ends_with(".json");
}

base::Result<FolderListing> ListFolder(const std::filesystem::path& folder, const FolderLimits& limits,
                                       const FolderListing* known) {
  TRY(const UniqueFd dir, OpenFolder(folder));
  TRY(auto names, Names(dir.get()));
  if (known != nullptr) {
    std::stable_partition(names.begin(), names.end(),
                          [known](const std::string& name) { return FindFile(*known, name) != nullptr; });
  }
  FolderListing listing;
  const auto refuse = [&](const std::string& name, std::string why) {
    if (listing.refused.size() < limits.files) listing.refused.push_back({name, std::move(why)});
  };
  std::uint64_t total = 0;
  for (const std::string& name : names) {
    struct stat info {};
    if (::fstatat(dir.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) continue;  // gone since it was listed
    if (!S_ISREG(info.st_mode)) {
      const auto pinned = Pin(dir.get(), name, info);
      if (!pinned) {
        refuse(name, pinned.error().message);
        continue;
      }
    }
    // One file too many, or too large, must not keep the others from being read.
    const auto size = static_cast<std::uint64_t>(info.st_size);
    if (size > limits.file_bytes) {
      refuse(name, fmt::format("{}: larger than {} bytes", name, limits.file_bytes));
    } else if (listing.files.size() == limits.files) {
      refuse(name, fmt::format("{}: not read, as {} holds {} manifests, more than {}", name, folder.string(),
                               names.size(), limits.files));
    } else if (total + size > limits.total_bytes) {
      refuse(name, fmt::format("{}: not read, as the other manifests in {} fill {} bytes", name, folder.string(),
                               limits.total_bytes));
    } else {
      total += size;
      listing.files.push_back({name, Stamp(info)});
    }
  }
  std::sort(listing.files.begin(), listing.files.end(),
            [](const FolderFile& a, const FolderFile& b) { return a.name < b.name; });
  return listing;
}

base::Result<std::string> ReadFolderFile(const std::filesystem::path& folder, const FolderFile& file,
                                         std::uint64_t max_bytes) {
  TRY(const UniqueFd dir, OpenFolder(folder));
  struct stat info {};
  TRY(const UniqueFd pinned, Pin(dir.get(), file.name, info));
  if (static_cast<std::uint64_t>(info.st_size) > max_bytes) {
    return MakeError(Code::kInvalidArgument, "Malformed",
                     fmt::format("{}: larger than {} bytes", file.name, max_bytes));
  }
  const std::string path = fmt::format("/proc/self/fd/{}", pinned.get());
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) return SystemError(fmt::format("{}: cannot be read", file.name), errno);
  std::string text;
  std::array<char, 16384> chunk{};
  for (;;) {
    const ssize_t got = ::read(fd.get(), chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SystemError(fmt::format("{}: cannot be read", file.name), errno);
    if (got == 0) break;
    text.append(chunk.data(), static_cast<std::size_t>(got));
    if (text.size() > max_bytes) {
      return MakeError(Code::kInvalidArgument, "Malformed",
                       fmt::format("{}: larger than {} bytes", file.name, max_bytes));
    }
  }
  if (::fstat(fd.get(), &info) != 0 || Stamp(info) != file.stamp) {
    return MakeError(Code::kAborted, fmt::format("{}: changed while it was read", file.name));
  }
  return text;
}

bool IsSettled(const FolderFile& file, const FolderListing* previous, base::TimePoint now) {
  const base::TimePoint modified{std::chrono::microseconds(file.stamp.modified_ns / 1000)};
  if (modified + kSettleTime <= now) return true;
  const FolderFile* before = previous != nullptr ? FindFile(*previous, file.name) : nullptr;
  return before != nullptr && before->stamp == file.stamp;
}

bool IsSettled(const FolderListing& listing, const FolderListing* previous, base::TimePoint now) {
  return std::all_of(listing.files.begin(), listing.files.end(),
                     [&](const FolderFile& file) { return IsSettled(file, previous, now); });
}

base::Status WriteFileAtomically(const std::filesystem::path& folder, std::string_view name, std::string_view text,
                                 bool durable) {
  TRY(const UniqueFd dir, OpenFolder(folder));
  const std::string temporary = fmt::format("{}{}", kTemporaryPrefix, encoding::ToHex(crypto::RandomBytes(8)));
  base::Status written = WriteTemporary(dir.get(), temporary, text, durable);
  const std::string target(name);
  if (written && ::renameat(dir.get(), temporary.c_str(), dir.get(), target.c_str()) != 0) {
    written = SystemError("cannot rename", errno);
  }
  if (!written) {
    ::unlinkat(dir.get(), temporary.c_str(), 0);
    base::Error error = written.error();
    error.message = fmt::format("{}: {}", (folder / name).string(), error.message);
    return error;
  }
  if (durable && ::fsync(dir.get()) != 0) return SystemError(fmt::format("fsync of {}", folder.string()), errno);
  return {};
}

}  // namespace signet::store
