// kube/cluster_config.hpp - which API server, which CA, which credentials.
//
// Filled by config::LoadKubeconfig or InClusterConfig; RestStore takes it over. There is no way to
// switch certificate verification off, and none to speak plain HTTP.
//
// Ownership:     owns its secrets; move-only because of them.
// Thread-safety: a value.
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/secret.hpp"

namespace signet::kube {

struct ClusterConfig {
  std::string server;  ///< https://host:port, a path prefix may follow

  /// The CAs that the server's certificate must chain to, PEM; exactly one of both. The system's
  /// roots are never trusted beside them.
  std::string ca_file;
  std::string ca_data;

  /// At most one of both. The file is read again for every request: rotation needs nothing else.
  std::string token_file;
  base::Secret token;

  /// A client certificate (chain) and its key, PEM; file or data for each. May be absent.
  std::string client_certificate_file;
  std::string client_certificate_data;
  std::string client_key_file;
  base::Secret client_key_data;

  std::string namespace_name;  ///< the context's or the pod's own; "" when neither names one
};

/// The configuration of a pod, from the folder that the kubelet mounts (token, ca.crt, namespace) and
/// the environment's KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, which main() reads.
/// @return kNotFound            host or port is empty, or a file is missing: not in a cluster
inline constexpr std::string_view kServiceAccountFolder = "/var/run/secrets/kubernetes.io/serviceaccount";
base::Result<ClusterConfig> InClusterConfig(std::string_view service_account_folder, std::string_view host,
                                            std::string_view port);

/// kInvalidArgument, reason "ConfigInvalid", for a combination that RestStore would refuse.
base::Status Validate(const ClusterConfig& config);

}  // namespace signet::kube
