#include "operator/run.hpp"

#include "config/kubeconfig.hpp"
#include "operator/controllers.hpp"
#include "operator/once.hpp"
#include "reconcile/resources.hpp"
#include "store/directory_store.hpp"

namespace signet::app {
namespace {

constexpr std::string_view kDefaultLeaseNamespace = "signet-system";

}  // namespace

base::Result<kube::ClusterConfig> FindCluster(const config::OperatorConfig& config, const Environment& environment) {
  auto cluster = config.kubeconfig.empty() ? kube::InClusterConfig(kube::kServiceAccountFolder,
                                                                   environment.service_host, environment.service_port)
                                           : config::LoadKubeconfig(config.kubeconfig, config.context);
  if (cluster || !config.kubeconfig.empty()) return cluster;
  return base::MakeError(base::Code::kFailedPrecondition, "ConfigInvalid",
                         "not in a cluster (" + cluster.error().message +
                             "): give --kubeconfig FILE, or --store dir:PATH for a folder of manifests");
}

base::Result<std::unique_ptr<kube::ObjectStore>> OpenCluster(const config::OperatorConfig& config,
                                                             const Environment& environment, kube::RestOptions options,
                                                             std::string* ns) {
  TRY(auto cluster, FindCluster(config, environment));
  if (ns != nullptr) {
    *ns = cluster.namespace_name.empty() ? std::string(kDefaultLeaseNamespace) : cluster.namespace_name;
  }
  TRY(auto store, kube::RestStore::Open(std::move(cluster), options));
  return std::unique_ptr<kube::ObjectStore>(std::move(store));
}

base::Result<std::unique_ptr<kube::ObjectStore>> OpenFolder(const config::OperatorConfig& config) {
  store::DirectoryStore::Options options;
  options.folder = config.StoreFolder();
  options.resources = {reconcile::SigningPolicies(), reconcile::SigningRequests(), reconcile::SigningApprovals(),
                       reconcile::Namespaces()};
  TRY(auto store, store::DirectoryStore::Open(std::move(options), base::SystemClock()));
  return std::unique_ptr<kube::ObjectStore>(std::move(store));
}

Ending Run(const CommandLine& command, const Environment& environment) {
  config::Apply(command.config.log);
  if (command.config.once) return RunOnce(command.config);
  return RunControllers(command, environment);
}

}  // namespace signet::app
