#include "audit/segments.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include "audit/line.hpp"
#include "base/file_lock.hpp"
#include "encoding/text.hpp"

namespace signet::audit {
namespace {

using base::Code;

constexpr std::size_t kDigits = 6;
constexpr std::size_t kMaxDigits = 12;
constexpr std::uint64_t kMaxSegment = 99'999'999'999;  // of a name or a note: more is not ours
constexpr std::size_t kStreamDigits = 32;
constexpr std::uint64_t kMaxSeq = 1ULL << 53U;  // of a note: more is damage
constexpr ::mode_t kMode = 0640;
constexpr std::size_t kNoteBytes = 192;  // always as long, so that it is overwritten as a whole
constexpr int kMaxAside = 1000;

base::Error Unavailable(std::string_view what, const std::filesystem::path& path, int err) {
  auto error = base::ErrnoError(Code::kUnavailable, fmt::format("{} {}", what, path.string()), err);
  error.reason = "AuditUnavailable";
  return error;
}

std::optional<std::uint64_t> NumberOf(std::string_view name, std::string_view base) {
  if (!name.starts_with(base) || name.size() < base.size() + 1 + kDigits || name[base.size()] != '.' ||
      name.size() > base.size() + 1 + kMaxDigits)
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

std::string LockOf(const std::filesystem::path& file) { return file.string() + ".lock"; }
std::string NoteOf(const std::filesystem::path& file) { return file.string() + ".head"; }

struct Noted {
  Note end;
  std::uint64_t segment = 0;
};

/// nullopt: there is no note, or it is damaged, which is the same.
std::optional<Noted> ParseNote(int fd) {
  std::string text(kNoteBytes, '\0');
  const auto got = ::pread(fd, text.data(), text.size(), 0);
  if (got <= 0) return std::nullopt;
  text.resize(static_cast<std::size_t>(got));
  if (!text.ends_with('\n')) return std::nullopt;
  text.pop_back();
  Line line;
  if (!line.Parse(text)) return std::nullopt;
  const auto stream = line.Plain("stream");
  const auto seq = line.Number("seq");
  const auto head = line.Plain("head");
  Noted note;
  if (!stream || !encoding::IsLowerHex(*stream, kStreamDigits) || !seq || *seq == 0 || *seq > kMaxSeq || !head ||
      !encoding::IsLowerHex(*head, note.end.head.size())) {
    return std::nullopt;
  }
  note.end.stream = *stream;
  note.end.seq = *seq;
  std::copy(head->begin(), head->end(), note.end.head.begin());
  note.segment = line.Number("segment").value_or(0);
  return note;
}

}  // namespace

std::string_view Name(Damage damage) {
  switch (damage) {
    case Damage::kNone:
      break;
    case Damage::kRemoved:
      return "FileRemoved";
    case Damage::kReplaced:
      return "FileReplaced";
    case Damage::kTruncated:
      return "FileTruncated";
    case Damage::kGrown:
      return "FileGrown";
  }
  return "";
}

std::int64_t FileSystem::Write(int fd, std::string_view data) {
  const auto written = ::write(fd, data.data(), data.size());
  return written < 0 ? -errno : written;
}
int FileSystem::Sync(int fd) { return ::fdatasync(fd) == 0 ? 0 : -errno; }
int FileSystem::Truncate(int fd, std::uint64_t size) {
  return ::ftruncate(fd, static_cast<off_t>(size)) == 0 ? 0 : -errno;
}
int FileSystem::Rename(const std::filesystem::path& from, const std::filesystem::path& to) {
  return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : -errno;
}
int FileSystem::RenameNew(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return -errno;
  // Some network file systems cannot do it in one step.
  struct ::stat taken {};
  if (::lstat(to.c_str(), &taken) == 0) return -EEXIST;
  return errno == ENOENT ? Rename(from, to) : -errno;
}
FileSystem& FileSystem::System() {
  static FileSystem system;
  return system;
}

std::filesystem::path Segments::Next() const { return file_.string() + ".next"; }
std::filesystem::path Segments::Full(std::uint64_t number) const {
  return fmt::format("{}.{:0{}}", file_.string(), number, kDigits);
}
void Segments::Reserve(std::uint64_t number) {
  if (number <= kMaxSegment) number_ = std::max(number_, number);
}

std::uint64_t Segments::FreeAfter(std::uint64_t number) const {
  struct ::stat taken {};
  do {
    ++number;
  } while (::lstat(Full(number).c_str(), &taken) == 0);
  return number;
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
  const std::filesystem::path path = LockOf(file_);
  auto opened = base::OpenLockFile(path);
  if (!opened) return Unavailable("cannot open", path, static_cast<int>(opened.error().native.number));
  lock_ = *std::move(opened);
  return LockOut(lock_.get(), false);
}

base::Status Segments::OpenNote() {
  note_fd_ =
      base::UniqueFd(::open(NoteOf(file_).c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, kMode));
  if (!note_fd_.valid()) return Unavailable("cannot open", NoteOf(file_), errno);
  struct ::stat info {};
  if (::fstat(note_fd_.get(), &info) == 0 && S_ISREG(info.st_mode)) return {};
  note_fd_ = base::UniqueFd();
  return base::MakeError(Code::kUnavailable, "AuditUnavailable",
                         fmt::format("{} is not a regular file: move it away", NoteOf(file_)));
}

base::Status Segments::OpenFile() {
  fd_ = base::UniqueFd(::open(file_.c_str(), O_RDWR | O_APPEND | O_CLOEXEC));
  if (!fd_.valid()) {
    if (errno == ENOENT) return {};
    if (note_ && (errno == EISDIR || errno == ENXIO)) {  // a folder, a socket: not what the last process left
      damage_ = Damage::kReplaced;
      return {};
    }
    return Unavailable("cannot open", file_, errno);
  }
  struct ::stat info {};
  if (::fstat(fd_.get(), &info) != 0) return Unavailable("cannot read", file_, errno);
  if (!S_ISREG(info.st_mode)) {
    fd_ = base::UniqueFd();
    damage_ = Damage::kReplaced;
    if (note_) return {};
    return base::MakeError(Code::kInvalidArgument, "AuditCorrupt",
                           fmt::format("{} is not a regular file: name a file for the record", file_.string()));
  }
  TRY_VOID(LockOut(fd_.get(), true));
  size_ = static_cast<std::uint64_t>(info.st_size);
  return {};
}

base::Result<Segments> Segments::Open(const std::filesystem::path& file, FileSystem& file_system) {
  std::error_code error;
  // A symlink given as FILE names the file behind it; segments and lock go beside that one. A link that has taken the
  // place of a record, whose note is still there, is followed nowhere.
  const bool link = std::filesystem::is_symlink(file, error);
  const bool taken = link && ReadNote(file).has_value();
  const auto resolved = link && !taken ? std::filesystem::weakly_canonical(file, error) : file;
  Segments segments(error ? file : resolved, file, file_system);
  TRY_VOID(segments.Lock());
  TRY_VOID(segments.OpenNote());
  if (auto noted = ParseNote(segments.note_fd_.get())) {
    segments.note_ = std::move(noted->end);
    segments.Reserve(noted->segment);
  }
  if (const auto full = Numbered(segments.file_); !full.empty()) {
    segments.Reserve(full.back().first);
    segments.last_full_ = full.back().second;
  }
  if (taken) {
    segments.damage_ = Damage::kReplaced;
    return segments;
  }
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

base::Status Segments::WriteAll(int fd, std::string_view data) {
  while (!data.empty()) {
    const auto written = file_system_->Write(fd, data);
    if (written == -EINTR) continue;
    if (written <= 0) return Unavailable("cannot write", file_, written < 0 ? static_cast<int>(-written) : ENOSPC);
    data.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

base::Status Segments::SyncFolder() {
  const auto folder = file_.has_parent_path() ? file_.parent_path() : std::filesystem::path(".");
  const base::UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) return Unavailable("cannot sync", folder, errno);
  return {};
}

Damage Segments::Look(std::uint64_t size) const {
  struct ::stat ours {};
  struct ::stat named {};
  if (::fstat(fd_.get(), &ours) != 0 || ::lstat(file_.c_str(), &named) != 0) return Damage::kRemoved;
  if (named.st_dev != ours.st_dev || named.st_ino != ours.st_ino) return Damage::kReplaced;
  if (given_ != file_) {
    if (::stat(given_.c_str(), &named) != 0) return Damage::kRemoved;
    if (named.st_dev != ours.st_dev || named.st_ino != ours.st_ino) return Damage::kReplaced;
  }
  const auto found = static_cast<std::uint64_t>(ours.st_size);
  return found < size ? Damage::kTruncated : found > size ? Damage::kGrown : Damage::kNone;
}

base::Status Segments::Damaged(Damage damage) {
  damage_ = damage;
  static constexpr std::array<std::string_view, 5> kWhat = {"", "is not there any more",
                                                            "was replaced by something else", "was truncated",
                                                            "was written to by somebody else"};
  return base::MakeError(Code::kUnavailable, "AuditUnavailable",
                         fmt::format("{} {} while the process had it open; nothing but Signet may change the record",
                                     file_.string(), kWhat.at(static_cast<std::size_t>(damage))));
}

base::Status Segments::Append(std::string_view data, bool sync) {
  TRY_VOID(KeepNote());
  TRY_VOID(WriteAll(fd_.get(), data));
  if (sync) {
    if (const int failed = file_system_->Sync(fd_.get()); failed != 0)
      return Unavailable("cannot sync", file_, -failed);
  }
  const auto end = size_ + data.size();
  auto damage = Look(end);
  // Where the write ended tells what the size alone does not: the file was cut and has grown back.
  const auto position = ::lseek(fd_.get(), 0, SEEK_CUR);
  if (damage == Damage::kNone && position != static_cast<off_t>(end)) damage = Damage::kTruncated;
  if (damage != Damage::kNone) {
    // These lines are answered with an error: none of them may stay where a reader takes them for the record's.
    const auto begin = position - static_cast<off_t>(data.size());
    const bool at_the_end = ::lseek(fd_.get(), 0, SEEK_END) == position;
    if (at_the_end && begin >= 0) file_system_->Truncate(fd_.get(), static_cast<std::uint64_t>(begin));
    return Damaged(damage);
  }
  size_ = end;
  return {};
}

base::Status Segments::Rotate(std::string_view data, std::uint64_t number, bool sync) {
  TRY_VOID(KeepNote());
  if (fd_.valid()) {
    if (const auto damage = Look(size_); damage != Damage::kNone) return Damaged(damage);
  }
  base::UniqueFd next(::open(Next().c_str(), O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, kMode));
  if (!next.valid()) return Unavailable("cannot create", Next(), errno);
  TRY_VOID(LockOut(next.get(), true));
  TRY_VOID(WriteAll(next.get(), data));
  if (sync) {
    if (const int failed = file_system_->Sync(next.get()); failed != 0)
      return Unavailable("cannot sync", Next(), -failed);
  }
  const bool replaces = fd_.valid();
  if (replaces) {
    if (const int failed = file_system_->RenameNew(file_, Full(number)); failed != 0) {
      return Unavailable("cannot rename to " + Full(number).string(), file_, -failed);
    }
    displaced_ = number;  // until everything is done: Repair renames it back, over whatever took its place
  }
  if (const int failed = file_system_->Rename(Next(), file_); failed != 0) {
    return Unavailable("cannot rename", Next(), -failed);
  }
  if (sync) TRY_VOID(SyncFolder());
  displaced_ = 0;
  if (replaces) last_full_ = Full(number);
  number_ = number;
  fd_ = std::move(next);
  size_ = data.size();
  return {};
}

base::Status Segments::Repair() {
  if (displaced_ != 0) {
    if (const int failed = file_system_->Rename(Full(displaced_), file_); failed != 0) {
      return Unavailable("cannot rename", Full(displaced_), -failed);
    }
    displaced_ = 0;
  }
  std::error_code ignored;
  std::filesystem::remove(Next(), ignored);
  // A cut file must not be "cut" to its old size: that would fill it with zeros.
  const auto damage = Look(size_);
  if (damage != Damage::kNone && damage != Damage::kGrown) return Damaged(damage);
  return Cut(size_);
}

base::Status Segments::Cut(std::uint64_t size) {
  if (const int failed = file_system_->Truncate(fd_.get(), size); failed != 0) {
    return Unavailable("cannot truncate", file_, -failed);
  }
  size_ = size;
  damage_ = Damage::kNone;
  return {};
}

/// Clears FILE's name of what is there without losing any of it.
base::Status Segments::SetAside(std::uint64_t number) {
  struct ::stat named {};
  if (::lstat(file_.c_str(), &named) != 0) {
    return errno == ENOENT ? base::Status() : Unavailable("cannot look at", file_, errno);
  }
  if (S_ISREG(named.st_mode) && named.st_size == 0) return {};  // the next FILE takes its place
  std::filesystem::path place;
  struct ::stat ours {};
  const bool is_ours = fd_.valid() && ::fstat(fd_.get(), &ours) == 0 && ours.st_ino == named.st_ino &&
                       ours.st_dev == named.st_dev && damage_ != Damage::kReplaced;
  if (is_ours) {
    place = Full(number);
  } else {
    struct ::stat taken {};
    for (int i = 1; i <= kMaxAside; ++i) {
      place = fmt::format("{}.aside-{}", file_.string(), i);
      if (::lstat(place.c_str(), &taken) != 0 && errno == ENOENT) break;
    }
  }
  if (const int failed = file_system_->RenameNew(file_, place); failed != 0) {
    return Unavailable("cannot rename to " + place.string(), file_, -failed);
  }
  if (!is_ours) return {};
  number_ = number;
  last_full_ = place;
  return {};
}

/// The folder may be another one of the same name: the lock has to be in it.
base::Status Segments::KeepLock() {
  struct ::stat ours {};
  struct ::stat named {};
  if (::fstat(lock_.get(), &ours) == 0 && ::lstat(LockOf(file_).c_str(), &named) == 0 && ours.st_ino == named.st_ino &&
      ours.st_dev == named.st_dev) {
    return {};
  }
  auto before = std::move(lock_);
  auto locked = Lock();
  if (!locked) lock_ = std::move(before);
  return locked;
}

/// Without the note a cut record would not be noticed at the next start: it is put back before anything is written.
base::Status Segments::KeepNote() {
  struct ::stat ours {};
  struct ::stat named {};
  if (note_fd_.valid() && ::fstat(note_fd_.get(), &ours) == 0 && ::lstat(NoteOf(file_).c_str(), &named) == 0 &&
      ours.st_ino == named.st_ino && ours.st_dev == named.st_dev) {
    return {};
  }
  TRY_VOID(OpenNote());
  const auto size = static_cast<ssize_t>(noted_.size());
  if (::pwrite(note_fd_.get(), noted_.data(), noted_.size(), 0) == size) return {};
  return Unavailable("cannot write", NoteOf(file_), errno);
}

base::Status Segments::Replace(std::string_view data, std::uint64_t number, bool sync) {
  TRY_VOID(KeepLock());
  struct ::stat named {};
  struct ::stat given {};
  if (given_ != file_ && ::lstat(file_.c_str(), &named) == 0 &&
      (::stat(given_.c_str(), &given) != 0 || given.st_ino != named.st_ino || given.st_dev != named.st_dev)) {
    return base::MakeError(Code::kUnavailable, "AuditUnavailable",
                           fmt::format("{} does not lead to {} any more, where the record is: put the link back",
                                       given_.string(), file_.string()));
  }
  TRY_VOID(SetAside(number));
  fd_ = base::UniqueFd();
  TRY_VOID(Rotate(data, number, sync));
  damage_ = Damage::kNone;
  return {};
}

void Segments::WriteNote(const Note& note) {
  noted_ = fmt::format(R"({{"stream":"{}","seq":{},"head":"{}","segment":{}}})", note.stream, note.seq, View(note.head),
                       number_);
  noted_.resize(kNoteBytes - 1, ' ');
  noted_ += '\n';
  [[maybe_unused]] const auto written = ::pwrite(note_fd_.get(), noted_.data(), noted_.size(), 0);
}

std::optional<Note> Segments::ReadNote(const std::filesystem::path& file) {
  const base::UniqueFd fd(::open(NoteOf(file).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  const auto noted = fd.valid() ? ParseNote(fd.get()) : std::nullopt;
  return noted ? std::optional(noted->end) : std::nullopt;
}

}  // namespace signet::audit
