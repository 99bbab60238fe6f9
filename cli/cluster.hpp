// cli/cluster.hpp - which API server and namespace: kubectl's conventions.
//
// --kubeconfig, else the files of KUBECONFIG that are there, merged, else ~/.kube/config, else
// the pod's own account. -n, else the context's namespace, else "default". The proxy is the kubeconfig's, else that of
// HTTPS_PROXY. --as takes the place of the kubeconfig's `as`.
//
// Thread-safety: none.
// Blocking:      as kube/object_store.hpp.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/approval.hpp"
#include "api/types.hpp"
#include "base/result.hpp"
#include "cli/context.hpp"
#include "kube/rest_store.hpp"

namespace signet::cli {

struct ClusterFlags {
  std::string kubeconfig, context, ns;
  std::string as, as_uid;
  std::vector<std::string> as_groups;
};

void AddClusterFlags(CLI::App& command, ClusterFlags& flags);
/// --as, --as-group, --as-uid, of which `policy explain` has its own.
void AddImpersonationFlags(CLI::App& command, ClusterFlags& flags);
void AddNamespaceFlag(CLI::App& command, ClusterFlags& flags);

/// False: neither flags, environment nor pod name an API server.
bool NamesCluster(const Context& context, const ClusterFlags& flags);

struct Cluster {
  std::unique_ptr<kube::RestStore> store;
  std::string ns;
};
/// @return KubeconfigInvalid, ConfigInvalid or NoCluster: exit 3
base::Result<Cluster> OpenCluster(const Context& context, const ClusterFlags& flags);

/// The object of that name, as it is and parsed.
struct FoundRequest {
  nlohmann::json object;
  api::SigningRequest request;
};
struct FoundPolicy {
  nlohmann::json object;
  api::SigningPolicy policy;
};
base::Result<FoundRequest> GetRequest(Cluster& cluster, std::string_view name);
base::Result<FoundPolicy> GetPolicy(Cluster& cluster, std::string_view name);

/// Metadata and status alone are needed of objects whose spec may not parse (they end as Failed, Invalid).
api::SigningRequest ReadLeniently(const nlohmann::json& object);

/// What an API server said, as one line without the path of the request, and the exit code for it: kConfiguration where
/// the kubeconfig is at fault, kDenied where an admission webhook refused with 403, kFailed else.
ExitCode FailOf(const Context& context, const base::Error& error);
std::string Plainly(const base::Error& error);

}  // namespace signet::cli
