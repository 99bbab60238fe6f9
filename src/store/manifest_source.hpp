// store/manifest_source.hpp - the objects that the files of a folder define, and what is wrong with the rest.
//
// Thread-safety: none.
// Blocking:      file system calls.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "kube/object_store.hpp"
#include "store/folder.hpp"
#include "store/status_file.hpp"

namespace signet::store {

struct DefinedObject {
  ObjectKey key;
  nlohmann::json manifest;  ///< without status and server-side metadata
  int line = 1;             ///< where it starts in its file
  bool current = true;      ///< false: from an earlier reading; the file as it is now cannot be read there
};

/// One manifest file as it was last read.
struct Source {
  FileStamp stamp;
  bool loaded = false;  ///< read at least once, well or not
  bool broken = false;  ///< part of the file, or all of it, could not be read: see DefinedObject::current
  bool unread = false;  ///< the file has changed since it was read
  int missed = 0;       ///< looks in a row that did not see the file
  std::vector<DefinedObject> objects;
  std::vector<Problem> problems;
  std::vector<std::string> broken_texts;  ///< documents that cannot be read, as they stand in the file
};

/// Takes one document (`line`: where it starts) as objects or problems of `source`.
using Define = std::function<void(const nlohmann::json& document, int line, const std::string& file, Source& source)>;
/// For an object store: documents of `resources` are objects, as a server would take them; all others are problems.
Define DefineObjects(std::vector<kube::Resource> resources);

class ManifestSource {
 public:
  ManifestSource(std::filesystem::path folder, Define define, FolderLimits limits)
      : folder_(std::move(folder)), define_(std::move(define)), limits_(limits) {}

  /// Looks at the folder and reads what has changed.
  /// @return whether to look again soon: a file is still being written, or has just vanished.
  base::Result<bool> Look(base::TimePoint now);
  /// True when Look has changed sources() since the last call.
  bool TakeChanged() { return std::exchange(changed_, false); }
  [[nodiscard]] const std::map<std::string, Source>& sources() const { return sources_; }
  /// Forgets a file that was removed by us.
  void Forget(const std::string& file);

 private:
  void Read(const FolderFile& file, Source& source);
  void MarkUnread(Source& source);
  static void KeepWhatIsHidden(const std::vector<DefinedObject>& before, Source& source);
  bool ReadChanged(const FolderListing& listing, base::TimePoint now);
  bool DropVanished(const FolderListing& listing);

  std::filesystem::path folder_;
  Define define_;
  FolderLimits limits_;
  FolderListing last_;
  bool looked_ = false;
  bool again_ = false;
  bool retry_ = false;  ///< a file could not be read for a reason that its stamp does not show
  bool changed_ = false;
  std::map<std::string, Source> sources_;
};

}  // namespace signet::store
