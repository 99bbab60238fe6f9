// config/exec_credential.hpp - what is said to credential plugins, and what they answer.
//
// Sources:       client.authentication.k8s.io/v1 and v1beta1 (ExecCredential), client-go's plugin/pkg/client/auth/exec.
// Thread-safety: no shared state.
// Blocking:      MakeExecInfo reads the CA's file.
// Errors:        kInvalidArgument, reason "CredentialInvalid"; messages hold nothing of what the plugin printed.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "kube/cluster_config.hpp"
#include "kube/credentials.hpp"

namespace signet::config {

inline constexpr std::string_view kExecV1 = "client.authentication.k8s.io/v1";
inline constexpr std::string_view kExecV1Beta1 = "client.authentication.k8s.io/v1beta1";

struct FetchedCredential {
  kube::Credential credential;
  std::optional<base::TimePoint> expires;
};

/// What a plugin printed, JSON or YAML. It must be of `api_version`, and hold a token, a certificate with its key, or
/// all of them.
base::Result<FetchedCredential> ParseExecCredential(std::string_view printed, std::string_view api_version);

/// The value of KUBERNETES_EXEC_INFO.
base::Result<std::string> MakeExecInfo(const kube::ClusterConfig& config, bool interactive);

}  // namespace signet::config
