// kube/object_store.hpp - objects in a store with Kubernetes semantics.
//
// The controllers see only this. Implementations: RestStore (an API server, rest_store.hpp)
// and store::DirectoryStore (a folder of manifests).
//
// Thread-safety: every method from any thread.
// Blocking:      every method but Watch blocks until the answer or its deadline (about 10 s to the
//                first byte, 30 s in all). Never call on the reactor's thread.
// Errors:        kNotFound, kAlreadyExists, kAborted (409, or a failed precondition: read again),
//                kPermissionDenied (403), kUnauthenticated (401), kInvalidArgument (400, 422),
//                kUnavailable (no connection, 429, 5xx), kDeadlineExceeded.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace signet::kube {

struct Resource {
  std::string group;    ///< "" for core
  std::string version;  ///< "v1alpha1"
  std::string plural;   ///< "signingrequests"
  std::string kind;     ///< "SigningRequest"
  bool namespaced = true;

  friend bool operator==(const Resource&, const Resource&) = default;
};

struct List {
  std::vector<nlohmann::json> items;
  std::string resource_version;
};

struct WatchEvent {
  enum class Type : std::uint8_t { kAdded, kModified, kDeleted, kBookmark };
  Type type = Type::kAdded;
  nlohmann::json object;
};

/// A running watch. Destroying it cancels and waits until no callback runs any more.
class Watch {
 public:
  virtual ~Watch() = default;
};

struct WatchSink {
  /// Events in order. Runs on a thread of the implementation: be short, never block.
  std::function<void(WatchEvent)> on_event;
  /// Exactly once, last: the watch ended. Ok = regular end (start again from the last version);
  /// kAborted = the version is too old (410): list again; others: wait, then list again.
  std::function<void(base::Status)> on_end;
};

class ObjectStore {
 public:
  virtual ~ObjectStore() = default;

  virtual base::Result<nlohmann::json> Get(const Resource& resource, std::string_view ns, std::string_view name) = 0;
  /// All objects of all namespaces (pages inside).
  virtual base::Result<List> ListAll(const Resource& resource) = 0;
  /// Gives `take` the objects of one namespace as they are now (no copy of a server's). An error may come after some of
  /// them: it says nothing about those that were not given.
  virtual base::Status ListEachIn(const Resource& resource, std::string_view ns,
                                  const std::function<void(nlohmann::json object)>& take);
  /// Gives out the same objects one by one, in a server's case with one page of them in memory. An error may come after
  /// some of the objects were given out: it says nothing about those that were not.
  struct ListSink {
    /// The version that all objects of the list have been read at, before the first of them: a watch may start there.
    std::function<void(const std::string& resource_version)> on_version;
    std::function<void(nlohmann::json object)> on_object;
    /// Asked before each page; true ends the list with kAborted, reason "Stopped". Empty: nobody stops it.
    std::function<bool()> stopped = {};
  };
  virtual base::Status ListEach(const Resource& resource, const ListSink& sink);
  virtual base::Result<nlohmann::json> Create(const Resource& resource, std::string_view ns,
                                              const nlohmann::json& object) = 0;
  /// Replaces (PUT); object.metadata.resourceVersion is the precondition.
  virtual base::Result<nlohmann::json> Update(const Resource& resource, std::string_view ns, std::string_view name,
                                              const nlohmann::json& object) = 0;
  /// Writes the status sub-resource by merge patch, if resourceVersion is still `resource_version`
  /// and uid still `uid`; kAborted otherwise. `status` replaces the members it names.
  virtual base::Result<nlohmann::json> PatchStatus(const Resource& resource, std::string_view ns, std::string_view name,
                                                   std::string_view uid, std::string_view resource_version,
                                                   const nlohmann::json& status) = 0;
  /// PatchStatus that takes no longer than `limit` in all, its wait for a turn and for a busy server included.
  virtual base::Result<nlohmann::json> PatchStatusWithin(std::chrono::milliseconds limit, const Resource& resource,
                                                         std::string_view ns, std::string_view name,
                                                         std::string_view uid, std::string_view resource_version,
                                                         const nlohmann::json& status);
  /// Creates what is answered and not kept (TokenReview, SubjectAccessReview): the answer. Cluster-scoped kinds; asking
  /// twice does no harm. kUnimplemented in a store that has nobody to ask.
  virtual base::Result<nlohmann::json> Review(const Resource& resource, const nlohmann::json& question) {
    static_cast<void>(question);
    return base::MakeError(base::Code::kUnimplemented, "there is nobody to ask for a " + resource.kind);
  }
  /// Merges `patch` (RFC 7386) into the object, whatever its version. kUnimplemented where a store has no use for it.
  virtual base::Result<nlohmann::json> MergePatch(const Resource& resource, std::string_view ns, std::string_view name,
                                                  const nlohmann::json& patch);
  virtual base::Status Delete(const Resource& resource, std::string_view ns, std::string_view name,
                              std::string_view uid) = 0;
  /// Starts a watch after `resource_version`. Does not block; failures arrive by on_end.
  virtual std::unique_ptr<Watch> StartWatch(const Resource& resource, std::string_view resource_version,
                                            WatchSink sink) = 0;
  /// True when writers of this store are vouched for by its owner (the directory store), so that
  /// spec.requester may be taken as written (identity: asserted).
  [[nodiscard]] virtual bool TrustsRequesters() const = 0;
  /// Of an API server: {"major", "minor", "gitVersion", ...}. kUnimplemented elsewhere.
  virtual base::Result<nlohmann::json> ServerVersion();
};

}  // namespace signet::kube
