// audit/segments.hpp - the files of one record: FILE, FILE.000001, FILE.000002, ...
//
// FILE is the one being written; full ones are renamed in order. FILE.lock is held locked for the
// life of the process (it is never renamed), and FILE itself too, for aliases of it. A new file is
// prepared as FILE.next, complete with its first line, and renamed into place: at every instant
// either FILE exists, or FILE.next does and is whole.
//
// After every write the file is compared with what this process left: another file or none under its name, fewer or
// more bytes than were written, and the write fails, so that nothing is released that readers of the folder will not
// find. FILE.head holds a note of the last line (stream, seq, hash) and of the highest number, so that the next start
// notices it, too. It is made anew before the next write if somebody removes it.
//
// Ownership:     owns the descriptors.
// Thread-safety: none; one thread at a time.
// Blocking:      disk.
// Errors:        kUnavailable AuditUnavailable, with errno; AuditLocked from Open.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "audit/record.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace signet::audit {

/// The operating system as the record sees it; tests inject faults here. 0 or a count, or -errno.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual std::int64_t Write(int fd, std::string_view data);  ///< at the end of the file
  virtual int Sync(int fd);
  virtual int Truncate(int fd, std::uint64_t size);
  virtual int Rename(const std::filesystem::path& from, const std::filesystem::path& to);
  /// -EEXIST if there is something at `to`.
  virtual int RenameNew(const std::filesystem::path& from, const std::filesystem::path& to);
  static FileSystem& System();
};

/// What happened to FILE behind the process's back.
enum class Damage : std::uint8_t {
  kNone,
  kRemoved,    ///< nothing has its name: removed, renamed, its folder gone
  kReplaced,   ///< something else has its name
  kTruncated,  ///< lines are missing at its end
  kGrown,      ///< there are bytes after the last line that are not this record's
};
/// The reason that `recovered` lines give: "FileRemoved", ...
std::string_view Name(Damage damage);

/// The end of the record as FILE.head notes it.
using Note = Position;

class Segments {
 public:
  /// Takes the lock and finishes a rotation that a crash interrupted. FILE may be absent afterwards: then !exists().
  static base::Result<Segments> Open(const std::filesystem::path& file, FileSystem& file_system);

  [[nodiscard]] bool exists() const { return fd_.valid(); }
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] std::uint64_t size() const { return size_; }  ///< octets that are part of the record
  /// The newest full segment in the folder, if any.
  [[nodiscard]] const std::optional<std::filesystem::path>& LastFull() const { return last_full_; }
  /// The highest number that a segment has had, also of those that were moved away.
  [[nodiscard]] std::uint64_t full() const { return number_; }
  /// A line of the record names segment `number`: it is not used again.
  void Reserve(std::uint64_t number);
  /// The first number after `number` whose name is free. Any thread.
  [[nodiscard]] std::uint64_t FreeAfter(std::uint64_t number) const;

  /// Appends all of `data` or leaves the record as it was (after Repair).
  /// kUnavailable also when FILE is not what this process left; then damage() says why.
  base::Status Append(std::string_view data, bool sync);
  /// Makes a new FILE that holds `data`; the old one, if any, becomes FILE.<number>. Fails if that name is taken.
  base::Status Rotate(std::string_view data, std::uint64_t number, bool sync);
  /// Takes away what a failed Append or Rotate left, and the bytes of others (kGrown).
  base::Status Repair();
  /// As Rotate, where FILE is damaged: what is left of it becomes a full segment, and what is not ours is set aside as
  /// FILE.aside-<n>.
  base::Status Replace(std::string_view data, std::uint64_t number, bool sync);
  [[nodiscard]] Damage damage() const { return damage_; }
  /// At start: FILE is not this record's.
  void SetDamage(Damage damage) { damage_ = damage; }
  /// Cuts FILE to its first `size` bytes.
  base::Status Cut(std::uint64_t size);

  /// What the last process noted; nullopt: no note.
  [[nodiscard]] const std::optional<Note>& note() const { return note_; }
  /// Notes the end of the record. Never fails: without a note the next start knows less.
  void WriteNote(const Note& note);
  /// The note beside `file`, for readers.
  static std::optional<Note> ReadNote(const std::filesystem::path& file);

  /// Full segments beside `file`, in order.
  static std::vector<std::filesystem::path> Find(const std::filesystem::path& file);

 private:
  Segments(std::filesystem::path file, std::filesystem::path given, FileSystem& file_system)
      : file_(std::move(file)), given_(std::move(given)), file_system_(&file_system) {}
  [[nodiscard]] std::filesystem::path Next() const;
  [[nodiscard]] std::filesystem::path Full(std::uint64_t number) const;
  base::Status Lock();
  /// `readable`: others may read what `fd` is open on, so a read lock there is nobody who writes.
  [[nodiscard]] base::Status LockOut(int fd, bool readable) const;
  base::Status OpenNote();
  base::Status OpenFile();
  base::Status WriteAll(int fd, std::string_view data);
  base::Status SyncFolder();
  [[nodiscard]] Damage Look(std::uint64_t size) const;
  base::Status Damaged(Damage damage);
  base::Status SetAside(std::uint64_t number);
  base::Status KeepLock();
  base::Status KeepNote();

  std::filesystem::path file_;
  std::filesystem::path given_;  ///< as configured: may be a symlink to file_
  FileSystem* file_system_;
  base::UniqueFd lock_;
  base::UniqueFd note_fd_;
  base::UniqueFd fd_;
  std::uint64_t size_ = 0;
  std::uint64_t number_ = 0;
  std::optional<std::filesystem::path> last_full_;
  std::optional<Note> note_;
  std::string noted_;  ///< what FILE.head holds
  Damage damage_ = Damage::kNone;
  std::uint64_t displaced_ = 0;  ///< FILE was renamed to this number and its successor is not (durably) in place
};

}  // namespace signet::audit
