// cli/exec_plugin.hpp - runs the credential plugin of a kubeconfig (`exec`), as client-go does.
//
// The plugin gets our environment, that of its entry and KUBERNETES_EXEC_INFO; the terminal if it may ask questions,
// else no stdin; our stderr. No shell. What it prints on stdout is kept in memory alone and never shown.
//
// Thread-safety: from any thread; one plugin runs at a time.
// Blocking:      while the plugin runs: 5 minutes at most, or as long as a person takes where it has the terminal.
// Errors:        reason kPluginFailed, naming the file, the user's entry and the plugin.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "kube/cluster_config.hpp"

namespace signet::cli {

inline constexpr std::string_view kPluginFailed = "CredentialPluginFailed";
/// A browser may be open for a login meanwhile.
inline constexpr std::chrono::milliseconds kPluginTimeLimit = std::chrono::minutes(5);

/// @param config  has `exec`; nothing is run before the first Get
/// @param path    where commands without a slash are looked for: absolute folders of it only
/// @param limit   for one run of a plugin without the terminal, which is killed then
base::Result<std::shared_ptr<kube::CredentialSource>> MakePluginCredentials(
    const kube::ClusterConfig& config, std::string path, bool in_is_terminal,
    std::chrono::milliseconds limit = kPluginTimeLimit);

}  // namespace signet::cli
