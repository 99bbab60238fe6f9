#include "operator/run.hpp"

#include <filesystem>
#include <sstream>
#include <utility>

#include "config/hardening_options.hpp"
#include "config/kubeconfig.hpp"
#include "kube/relay.hpp"
#include "operator/controllers.hpp"
#include "operator/once.hpp"
#include "process/signals.hpp"
#include "reconcile/resources.hpp"
#include "store/directory_store.hpp"

namespace signet::app {
namespace {

constexpr std::string_view kDefaultLeaseNamespace = "signet-system";

/// The file alone: it is read once. A link in a folder is allowed as the file behind it.
void AddRoots(const kube::SystemRoots& roots, std::vector<std::string>& files) {
  files.push_back(roots.file);
  for (const auto& folder : roots.folders) {
    files.push_back(folder);
    std::error_code failed;
    for (std::filesystem::directory_iterator entry(folder, failed), end; entry != end; entry.increment(failed)) {
      if (entry->is_symlink(failed)) files.push_back(entry->path());
    }
  }
}

}  // namespace

base::Result<kube::ClusterConfig> FindCluster(const config::OperatorConfig& config, const Environment& environment) {
  auto cluster = config.kubeconfig.empty() ? kube::InClusterConfig(kube::kServiceAccountFolder,
                                                                   environment.service_host, environment.service_port)
                                           : config::LoadKubeconfig(config.kubeconfig, config.context);
  if (cluster) TRY_VOID(kube::UseProxyOf(environment.proxy, *cluster));
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

std::optional<Ending> Confine(const CommandLine& command, const Environment& environment) {
  const auto& config = command.config;
  config::Apply(config.log);
  process::PrepareFileLimit();
  process::Files files;
  config::AddFolders(config.approval_roots, files.read);
  config::AddFolders(config.metrics_token_file, files.read);
  config::AddFolders(config.webhook.client_ca, files.read);
  config::AddFolders(config.audit.file, files.write);
  files.write.push_back(config.StoreFolder());
  if (config.StoreFolder().empty()) {
    const auto cluster = FindCluster(config, environment);
    if (!cluster) return Fail(ExitCode::kConfiguration, cluster.error());
    std::istringstream kubeconfigs(config.kubeconfig);  // a list, as in KUBECONFIG
    for (std::string file; std::getline(kubeconfigs, file, ':');) config::AddFolders(file, files.read);
    for (const auto* file :
         {&cluster->ca_file, &cluster->token_file, &cluster->client_certificate_file, &cluster->client_key_file}) {
      config::AddFolders(*file, files.read);
    }
    if (const auto roots = kube::Relay::RootsOf(*cluster)) AddRoots(*roots, files.read);
  }
  const auto confinement = config::ToConfinement(config.hardening, std::move(files), config.hsm);
  if (!confinement) return Fail(ExitCode::kConfiguration, confinement.error());
  if (auto confined = token::Confine(*confinement); !confined) return Fail(ExitCode::kConfiguration, confined.error());
  return std::nullopt;
}

Ending Run(const CommandLine& command, const Environment& environment) {
  if (command.config.once) return RunOnce(command.config);
  return RunControllers(command, environment);
}

}  // namespace signet::app
