// config/kubeconfig.hpp - kubeconfig files become a kube::ClusterConfig, merged by client-go's rules.
//
// Of each cluster, user and context the first file that has one of that name wins, whole; current-context is the first
// that is set. A file that cannot be read or parsed is an error that names it: another file never takes its place.
// Relative paths are relative to the file that names them, an exec plugin's command with a slash as well. What is not
// supported is refused, with the file, the entry and what to do instead: insecure-skip-tls-verify, plain HTTP, the
// system's roots, auth-provider, basic authentication, alpha versions of exec plugins.
// Environment variables do not matter here: kube::UseProxyOf adds the proxy that they name.
//
// Thread-safety: no shared state.
// Blocking:      reads the files.
// Errors:        kInvalidArgument, reason "KubeconfigInvalid".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "kube/cluster_config.hpp"

namespace signet::config {

/// @param paths    at least one, the most important first; each must exist
/// @param context  overrides the files' current-context; may be empty
base::Result<kube::ClusterConfig> LoadKubeconfig(const std::vector<std::string>& paths, std::string_view context);
/// The same for one file.
base::Result<kube::ClusterConfig> LoadKubeconfig(const std::string& path, std::string_view context);

}  // namespace signet::config
