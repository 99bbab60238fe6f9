#include "audit/segments.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/file_lock.hpp"

namespace signet::audit {
namespace {

using base::Code;

constexpr std::size_t kDigits = 6;
constexpr ::mode_t kMode = 0640;

base::Error Unavailable(std::string_view what, const std::filesystem::path& path, int err) {
  auto error = base::ErrnoError(Code::kUnavailable, fmt::format("{} {}", what, path.string()), err);
  error.reason = "AuditUnavailable";
  return error;
}

std::optional<std::uint64_t> NumberOf(std::string_view name, std::string_view base) {
  if (!name.starts_with(base) || name.size() < base.size() + 1 + kDigits || name[base.size()] != '.')
    return std::nullopt;
  name.remove_prefix(base.size() + 1);
  std::uint64_t number = 0;
  const auto parsed = std::from_chars(name.data(), name.data() + name.size(), number);
  if (parsed.ec != std::errc{} || parsed.ptr != name.data() + name.size()) return std::nullopt;
  return number;
}

std::vector<std::pair<std::uint64_t, std::filesystem::path>> Numbered(const std::filesystem::path& file) {
  std::vector<std::pair<std::uint64_t, std::filesystem::path>> found;
  const std::string base = file.filename().string();
  const auto folder = file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (const auto number = NumberOf(it->path().filename().string(), base)) found.emplace_back(*number, it->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

std::int64_t FileSystem::Write(int fd, std::string_view data, std::uint64_t offset) {
  const auto written = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
  return written < 0 ? -errno : written;
}
int FileSystem::Sync(int fd) { return ::fdatasync(fd) == 0 ? 0 : -errno; }
int FileSystem::Truncate(int fd, std::uint64_t size) {
  return ::ftruncate(fd, static_cast<off_t>(size)) == 0 ? 0 : -errno;
}
int FileSystem::Rename(const std::filesystem::path& from, const std::filesystem::path& to) {
  return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : -errno;
}
FileSystem& FileSystem::System() {
  static FileSystem system;
  return system;
}

std::filesystem::path Segments::Next() const { return file_.string() + ".next"; }
std::filesystem::path Segments::Full(std::uint64_t number) const {
  return fmt::format("{}.{:0{}}", file_.string(), number, kDigits);
}
std::optional<std::filesystem::path> Segments::LastFull() const {
  if (number_ == 0) return std::nullopt;
  return Full(number_);
}

std::vector<std::filesystem::path> Segments::Find(const std::filesystem::path& file) {
  std::vector<std::filesystem::path> paths;
  for (auto& [number, path] : Numbered(file)) paths.push_back(std::move(path));
  return paths;
}

base::Status Segments::LockOut(int fd, bool readable) const {
  TRY(const auto state, base::TryLock(fd));
  // The record may be read by others, who may lock what they read. The lock file may not.
  if (state == base::LockState::kTaken || (readable && state == base::LockState::kShared)) return {};
  return base::MakeError(Code::kFailedPrecondition, "AuditLocked",
                         fmt::format("another process writes {}: give each process a file of its own", file_.string()));
}

base::Status Segments::Lock() {
  const std::filesystem::path path = file_.string() + ".lock";
  auto opened = base::OpenLockFile(path);
  if (!opened) return Unavailable("cannot open", path, static_cast<int>(opened.error().native.number));
  lock_ = *std::move(opened);
  return LockOut(lock_.get(), false);
}

base::Status Segments::OpenFile() {
  fd_ = base::UniqueFd(::open(file_.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd_.valid()) {
    if (errno == ENOENT) return {};
    return Unavailable("cannot open", file_, errno);
  }
  struct ::stat info {};
  if (::fstat(fd_.get(), &info) != 0) return Unavailable("cannot read", file_, errno);
  if (!S_ISREG(info.st_mode)) {
    return base::MakeError(Code::kInvalidArgument, "AuditCorrupt",
                           fmt::format("{} is not a regular file: name a file for the record", file_.string()));
  }
  TRY_VOID(LockOut(fd_.get(), true));
  size_ = static_cast<std::uint64_t>(info.st_size);
  return {};
}

base::Result<Segments> Segments::Open(const std::filesystem::path& file, FileSystem& file_system) {
  std::error_code error;
  // A symlink given as FILE names the file behind it; segments and lock go beside that one.
  const auto resolved =
      std::filesystem::is_symlink(file, error) ? std::filesystem::weakly_canonical(file, error) : file;
  Segments segments(error ? file : resolved, file_system);
  TRY_VOID(segments.Lock());
  if (const auto full = Numbered(segments.file_); !full.empty()) segments.number_ = full.back().first;
  TRY_VOID(segments.OpenFile());
  if (segments.exists()) {
    std::filesystem::remove(segments.Next(), error);  // a rotation that had not begun to rename
    return segments;
  }
  if (std::filesystem::exists(segments.Next(), error)) {
    if (const int failed = file_system.Rename(segments.Next(), segments.file_); failed != 0) {
      return Unavailable("cannot rename", segments.Next(), -failed);
    }
    TRY_VOID(segments.OpenFile());
  }
  return segments;
}

base::Status Segments::WriteAll(int fd, std::string_view data, std::uint64_t offset) {
  while (!data.empty()) {
    const auto written = file_system_->Write(fd, data, offset);
    if (written == -EINTR) continue;
    if (written <= 0) return Unavailable("cannot write", file_, written < 0 ? static_cast<int>(-written) : ENOSPC);
    data.remove_prefix(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
  return {};
}

base::Status Segments::SyncFolder() {
  const auto folder = file_.has_parent_path() ? file_.parent_path() : std::filesystem::path(".");
  const base::UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) return Unavailable("cannot sync", folder, errno);
  return {};
}

base::Status Segments::Append(std::string_view data, bool sync) {
  TRY_VOID(WriteAll(fd_.get(), data, size_));
  if (sync) {
    if (const int failed = file_system_->Sync(fd_.get()); failed != 0)
      return Unavailable("cannot sync", file_, -failed);
  }
  size_ += data.size();
  return {};
}

base::Status Segments::Rotate(std::string_view data, bool sync) {
  base::UniqueFd next(::open(Next().c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, kMode));
  if (!next.valid()) return Unavailable("cannot create", Next(), errno);
  TRY_VOID(LockOut(next.get(), true));
  TRY_VOID(WriteAll(next.get(), data, 0));
  if (sync) {
    if (const int failed = file_system_->Sync(next.get()); failed != 0)
      return Unavailable("cannot sync", Next(), -failed);
  }
  const bool replaces = fd_.valid();
  if (replaces) {
    if (const int failed = file_system_->Rename(file_, Full(number_ + 1)); failed != 0) {
      return Unavailable("cannot rename", file_, -failed);
    }
    displaced_ = true;  // until everything is done: Repair renames it back, over whatever took its place
  }
  if (const int failed = file_system_->Rename(Next(), file_); failed != 0) {
    return Unavailable("cannot rename", Next(), -failed);
  }
  if (sync) TRY_VOID(SyncFolder());
  displaced_ = false;
  if (replaces) ++number_;
  fd_ = std::move(next);
  size_ = data.size();
  return {};
}

base::Status Segments::Repair() {
  if (displaced_) {
    if (const int failed = file_system_->Rename(Full(number_ + 1), file_); failed != 0) {
      return Unavailable("cannot rename", Full(number_ + 1), -failed);
    }
    displaced_ = false;
  }
  std::error_code ignored;
  std::filesystem::remove(Next(), ignored);
  if (const int failed = file_system_->Truncate(fd_.get(), size_); failed != 0) {
    return Unavailable("cannot truncate", file_, -failed);
  }
  return {};
}

}  // namespace signet::audit
