// kube/rest_store.hpp - the ObjectStore that is a Kubernetes API server.
//
// Ownership:     owns its connections and one thread (the watchdog of watches). Watches may outlive it.
// Thread-safety: any thread; at most Options::max_in_flight requests run, more wait for their turn.
// Blocking:      as kube/object_store.hpp says. Retried here: once after a broken connection, when
//                the request may be repeated (GET, reviews; PUT, PATCH and DELETE carry a precondition), and
//                429 and 503 with Retry-After within the deadline. A repeated PATCH that is refused (409, 404) is
//                kUnavailable: the first one may have been carried out. Never retried: a timeout; a POST
//                whose connection broke (it may have created the object: kAlreadyExists then).
// Errors:        as kube/object_store.hpp says; native is {"http", status}, reason is that of the
//                server's metav1.Status ("Conflict", "Expired").
#pragma once

#include <chrono>
#include <memory>

#include "kube/cluster_config.hpp"
#include "kube/object_store.hpp"
#include "kube/transport.hpp"

namespace signet::kube {

/// Call once, first in main, before threads start: sizes cpprestsdk's thread pool, and points
/// SSL_CERT_FILE and SSL_CERT_DIR to nothing, since the library would parse the system's roots for
/// each connection only for RestStore to drop them. Start child processes with base::ChildEnvironment(),
/// which has both as they were before. Further calls do nothing.
void InitializeProcess();

struct RestOptions {
  Deadlines deadlines;
  std::size_t max_in_flight = 32;
  std::size_t page = 500;                               ///< objects a page of a list; fewer where they are large
  std::size_t page_body = 2U << 20;                     ///< octets of a page; one that is larger is asked for anew
  std::size_t max_body = 64U << 20;                     ///< octets of one response
  std::size_t max_line = 8U << 20;                      ///< octets of one watch event
  std::chrono::milliseconds bookmark_interval{60'000};  ///< the server sends one about this often
  std::chrono::milliseconds watch_grace{90'000};        ///< bookmark_interval + this without a word: ended
  std::chrono::seconds watch_min{300};                  ///< timeoutSeconds is drawn from [watch_min, watch_max]
  std::chrono::seconds watch_max{600};
  std::chrono::milliseconds watch_overrun{15'000};  ///< longer than timeoutSeconds + this: ended
  std::string field_manager = "signet";
};

class RestStore final : public ObjectStore {
 public:
  /// Does not connect. @return as OpenCpprestTransport.
  static base::Result<std::unique_ptr<RestStore>> Open(ClusterConfig config, RestOptions options);
  RestStore(std::unique_ptr<Transport> transport, RestOptions options);
  ~RestStore() override;

  base::Result<nlohmann::json> Get(const Resource& resource, std::string_view ns, std::string_view name) override;
  base::Result<List> ListAll(const Resource& resource) override;
  base::Status ListEach(const Resource& resource, const ListSink& sink) override;
  /// The objects of one namespace: for those who may not list all.
  base::Result<List> ListNamespace(const Resource& resource, std::string_view ns);
  base::Status ListEachIn(const Resource& resource, std::string_view ns,
                          const std::function<void(nlohmann::json object)>& take) override;
  base::Result<nlohmann::json> Create(const Resource& resource, std::string_view ns,
                                      const nlohmann::json& object) override;
  base::Result<nlohmann::json> Update(const Resource& resource, std::string_view ns, std::string_view name,
                                      const nlohmann::json& object) override;
  base::Result<nlohmann::json> PatchStatus(const Resource& resource, std::string_view ns, std::string_view name,
                                           std::string_view uid, std::string_view resource_version,
                                           const nlohmann::json& status) override;
  base::Result<nlohmann::json> PatchStatusWithin(std::chrono::milliseconds limit, const Resource& resource,
                                                 std::string_view ns, std::string_view name, std::string_view uid,
                                                 std::string_view resource_version,
                                                 const nlohmann::json& status) override;
  base::Result<nlohmann::json> Review(const Resource& resource, const nlohmann::json& question) override;
  base::Result<nlohmann::json> MergePatch(const Resource& resource, std::string_view ns, std::string_view name,
                                          const nlohmann::json& patch) override;
  base::Status Delete(const Resource& resource, std::string_view ns, std::string_view name,
                      std::string_view uid) override;
  std::unique_ptr<Watch> StartWatch(const Resource& resource, std::string_view resource_version,
                                    WatchSink sink) override;
  [[nodiscard]] bool TrustsRequesters() const override { return false; }
  base::Result<nlohmann::json> ServerVersion() override;

 private:
  class Core;
  base::Result<List> ListPath(const Resource& resource, const std::string& path);
  base::Status ReadPages(const Resource& resource, const std::string& path, const ListSink& sink);
  std::shared_ptr<Core> core_;
};

}  // namespace signet::kube
