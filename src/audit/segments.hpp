// audit/segments.hpp - the files of one record: FILE, FILE.000001, FILE.000002, ...
//
// FILE is the one being written; full ones are renamed in order. FILE.lock is held locked for the
// life of the process (it is never renamed), and FILE itself too, for aliases of it. A new file is
// prepared as FILE.next, complete with its first line, and renamed into place: at every instant
// either FILE exists, or FILE.next does and is whole.
//
// Ownership:     owns the descriptors.
// Thread-safety: none; one thread at a time.
// Blocking:      disk.
// Errors:        kUnavailable AuditUnavailable, with errno; AuditLocked from Open.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace signet::audit {

/// The operating system as the record sees it; tests inject faults here. 0 or a count, or -errno.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual std::int64_t Write(int fd, std::string_view data, std::uint64_t offset);
  virtual int Sync(int fd);
  virtual int Truncate(int fd, std::uint64_t size);
  virtual int Rename(const std::filesystem::path& from, const std::filesystem::path& to);
  static FileSystem& System();
};

class Segments {
 public:
  /// Takes the lock and finishes a rotation that a crash interrupted. FILE may be absent afterwards: then !exists().
  static base::Result<Segments> Open(const std::filesystem::path& file, FileSystem& file_system);

  [[nodiscard]] bool exists() const { return fd_.valid(); }
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] std::uint64_t size() const { return size_; }  ///< octets that are part of the record
  /// The newest full segment, if any.
  [[nodiscard]] std::optional<std::filesystem::path> LastFull() const;
  [[nodiscard]] std::uint64_t full() const { return number_; }

  /// Appends all of `data` or leaves the record as it was (after Repair).
  base::Status Append(std::string_view data, bool sync);
  /// Makes a new FILE that holds `data`; the old one, if any, becomes FILE.<full() + 1>.
  base::Status Rotate(std::string_view data, bool sync);
  /// Takes away what a failed Append or Rotate left.
  base::Status Repair();

  /// Full segments beside `file`, in order.
  static std::vector<std::filesystem::path> Find(const std::filesystem::path& file);

 private:
  Segments(std::filesystem::path file, FileSystem& file_system) : file_(std::move(file)), file_system_(&file_system) {}
  [[nodiscard]] std::filesystem::path Next() const;
  [[nodiscard]] std::filesystem::path Full(std::uint64_t number) const;
  base::Status Lock();
  /// `readable`: others may read what `fd` is open on, so a read lock there is nobody who writes.
  [[nodiscard]] base::Status LockOut(int fd, bool readable) const;
  base::Status OpenFile();
  base::Status WriteAll(int fd, std::string_view data, std::uint64_t offset);
  base::Status SyncFolder();

  std::filesystem::path file_;
  FileSystem* file_system_;
  base::UniqueFd lock_;
  base::UniqueFd fd_;
  std::uint64_t size_ = 0;
  std::uint64_t number_ = 0;
  bool displaced_ = false;  ///< FILE was renamed and its successor is not (durably) in place
};

}  // namespace signet::audit
