// operator/run.hpp - the running operator, from configuration to exit code.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "config/operator_config.hpp"
#include "kube/cluster_config.hpp"
#include "kube/object_store.hpp"
#include "kube/proxy.hpp"
#include "kube/rest_store.hpp"
#include "operator/command_line.hpp"
#include "operator/exit_code.hpp"

namespace signet::app {

/// What main() read of the environment.
struct Environment {
  std::string service_host, service_port;  ///< KUBERNETES_SERVICE_*
  std::string host_name;                   ///< HOSTNAME: the pod's name
  std::string pod_uid;                     ///< SIGNET_POD_UID, which the chart sets; empty: not known
  kube::ProxyEnvironment proxy;
};

/// Which API server and with which credentials: the kubeconfig's, or the pod's.
base::Result<kube::ClusterConfig> FindCluster(const config::OperatorConfig& config, const Environment& environment);
/// The API server of the configuration; `ns` becomes the namespace that it names.
base::Result<std::unique_ptr<kube::ObjectStore>> OpenCluster(const config::OperatorConfig& config,
                                                             const Environment& environment, kube::RestOptions options,
                                                             std::string* ns);
/// The folder of the configuration, locked.
base::Result<std::unique_ptr<kube::ObjectStore>> OpenFolder(const config::OperatorConfig& config);

/// Starts the launcher of the HSM workers, and gives up what the process does not need: before any other thread.
std::optional<Ending> Confine(const CommandLine& command, const Environment& environment);

/// Blocks until SIGTERM or SIGINT, or with --once until everything is handled.
Ending Run(const CommandLine& command, const Environment& environment);

}  // namespace signet::app
