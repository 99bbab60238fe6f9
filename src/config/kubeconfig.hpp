// config/kubeconfig.hpp - a kubeconfig file becomes a kube::ClusterConfig.
//
// Relative paths are relative to the kubeconfig. What we cannot do safely is refused with its reason:
// exec and auth-provider plugins (they run programs), basic authentication, impersonation,
// insecure-skip-tls-verify, plain HTTP, proxies.
//
// Thread-safety: no shared state.
// Blocking:      reads one file.
// Errors:        kInvalidArgument, reason "KubeconfigInvalid".
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "kube/cluster_config.hpp"

namespace signet::config {

/// @param context  overrides the file's current-context; may be empty
base::Result<kube::ClusterConfig> LoadKubeconfig(const std::string& path, std::string_view context);

}  // namespace signet::config
