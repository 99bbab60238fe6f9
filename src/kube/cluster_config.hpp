// kube/cluster_config.hpp - which API server, by which way, which CA, which credentials.
//
// Filled by config::LoadKubeconfig or InClusterConfig; RestStore takes it over. There is no way to
// switch certificate verification off, and none to speak plain HTTP.
//
// Ownership:     owns its secrets; move-only because of them.
// Thread-safety: a value.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "base/secret.hpp"
#include "kube/credentials.hpp"

namespace signet::kube {

/// The identity to act as, by the API server's impersonation headers; `user` is needed for the others.
struct Impersonation {
  std::string user;
  std::string uid;
  std::vector<std::string> groups;
  std::map<std::string, std::vector<std::string>> extra;
};

/// A program that fetches credentials, as a kubeconfig's `exec` describes it. Who runs it sets
/// ClusterConfig::credentials; see config/exec_credential.hpp.
struct ExecPlugin {
  enum class Interactive { kNever, kIfAvailable, kAlways };

  std::string where;        ///< the kubeconfig and the user's entry, for messages
  std::string api_version;  ///< client.authentication.k8s.io/v1 or v1beta1
  std::string command;      ///< with a slash: a path; else looked up in the PATH
  std::vector<std::string> arguments;
  std::vector<std::pair<std::string, std::string>> environment;
  std::string install_hint;
  Interactive interactive = Interactive::kIfAvailable;
  bool provide_cluster_info = false;
  std::string cluster_config;  ///< JSON, of the cluster's extension client.authentication.k8s.io/exec; may be empty
};

struct ClusterConfig {
  std::string server;  ///< https://host:port, a path prefix may follow
  /// The name to expect in the server's certificate, and to send as SNI; empty: the server's host.
  std::string tls_server_name;
  /// http, https or socks5 URL of the proxy to reach the server through; empty: none. May hold a password.
  std::string proxy_url;

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

  /// In this order of preference a user has a token, then what `credentials` gives, which takes the place of the
  /// client certificate. `exec` without `credentials` is refused: not every program runs plugins.
  std::optional<ExecPlugin> exec;
  std::shared_ptr<CredentialSource> credentials;

  Impersonation impersonation;

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
