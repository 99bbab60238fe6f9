// store/directory_store.hpp - a folder of manifests as an object store.
//
// Manifests in (*.yaml, *.yml, *.json; several documents a file), status written beside them
// (status_file.hpp). Kubernetes semantics where they matter: uid at first sight, generation counts
// changes of the spec, resourceVersion guards status writes, watches.
//
// Trust:     who may write here is vouched for (TrustsRequesters). What a manifest says under
//            status, or of uid, generation and resourceVersion, is ignored.
// Broken:    each document of a file is read by itself. What a file defined before and does not define where it can
//            still be read is listed as it was, but Get fails with kUnavailable: it cannot be confirmed. An object
//            that two files define is not used from either. Problems() reports both, and they are logged once.
// Deletion:  an object whose manifest is gone on two looks in a row is deleted. Its status, if
//            there was one, stays as NAME.deleted-TIME-UID.status.yaml; the same name is a new object
//            with a new uid afterwards.
// Crash:     status is replaced as a whole (temporary file, fsync, rename, fsync): a kill at any
//            instant leaves the old or the new one.
//
// Ownership:     holds the folder's lock; owns a thread that looks at the folder and one that
//                delivers watch events. Watches are destroyed before the store.
// Thread-safety: every method from any thread.
// Blocking:      file system calls.
// Errors:        kube/object_store.hpp; Open below. Create and Update: kUnimplemented.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "base/clock.hpp"
#include "kube/object_store.hpp"
#include "store/folder.hpp"

namespace signet::store {

class DirectoryStore : public kube::ObjectStore {
 public:
  struct Options {
    std::filesystem::path folder;
    std::vector<kube::Resource> resources;     ///< the kinds that are read; others are a problem
    std::chrono::milliseconds poll{200};       ///< [10, 60000]; longer when a look takes long
    std::chrono::milliseconds bookmark{5000};  ///< how often watches hear that the folder was read
    FolderLimits limits{};
  };

  /// Takes the lock, clears left-over temporary files, reads everything once.
  /// @return kFailedPrecondition reason StoreLocked: another process uses the folder
  ///                             reason StoreNotWritable, StoreNotFound
  ///         kInvalidArgument    an option out of range
  static base::Result<std::unique_ptr<DirectoryStore>> Open(Options options, const base::Clock& clock);

  /// What is not used now, and why; sorted by file.
  [[nodiscard]] virtual std::vector<Problem> Problems() const = 0;
  /// Looks at the folder now; true when nothing is left to be looked at again soon.
  virtual bool Refresh() = 0;
};

}  // namespace signet::store
