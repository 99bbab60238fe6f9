// api/injection_names.hpp - the labels, annotations and names by which pods get their sidecar (docs/injection.md).
#pragma once

#include <cstdint>
#include <string_view>

namespace signet::api {

/// On a namespace ("true") or on a pod ("true", "false").
inline constexpr std::string_view kInjectLabel = "signet.dev/inject";
/// On a namespace, any value: no pod of it is ever looked at.
inline constexpr std::string_view kControlPlaneLabel = "signet.dev/control-plane";
/// Of every namespace since Kubernetes 1.21, set by the server.
inline constexpr std::string_view kNamespaceNameLabel = "kubernetes.io/metadata.name";

/// Where the gateway publishes the certificate of its CA, in the operator's namespace.
inline constexpr std::string_view kGatewayCaConfigMap = "signet-gateway-ca";
inline constexpr std::string_view kGatewayCaKey = "ca.crt";

}  // namespace signet::api
