// frontend/injection.hpp - a pod gets its sidecar: from the pod as it is to the JSON patch that it needs.
//
// What is missing is added, what is there and ours stays, what is there and not ours is refused: so the same pod again,
// or a pod that another webhook has changed since, gets the rest and no more. docs/injection.md is the reference.
//
// The patch holds nothing secret: a token is made by the kubelet for this pod alone, and mounted in the sidecar alone.
// It is no boundary either: whoever may create pods can ask for such a token in a pod of his own making, and is then
// the same principal. Policies decide (docs/injection.md, "What it is not").
//
// Thread-safety: pure functions.
// Blocking:      never. Linear in the pod.
// Errors:        kInvalidArgument (the pod or an annotation is wrong), kPermissionDenied (somebody else's container or
//                volume under our name). The message begins with the path or the annotation and says what to do.
// Sources:       Kubernetes "Sidecar Containers"; "Dynamic Admission Control" (idempotence, reinvocation); RFC 6902.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "api/sidecar_resources.hpp"
#include "base/result.hpp"

namespace signet::frontend {

enum class SidecarForm : std::uint8_t {
  kNative,     ///< an init container with restartPolicy Always (Kubernetes 1.29 and later)
  kContainer,  ///< a container beside the others
};
/// "native", "container".
std::string_view Name(SidecarForm form);

struct InjectionOptions {
  std::string image;
  std::string gateway_url;              ///< https://HOST[:PORT], as pods reach it
  std::string gateway_ca;               ///< PEM: what the sidecar trusts
  std::string audience = "signet.dev";  ///< of the token
  SidecarForm form = SidecarForm::kNative;
  api::SidecarResources resources;
  std::string version;  ///< of the status annotation
};

struct Injection {
  nlohmann::json patch;               ///< RFC 6902; null: nothing is missing
  std::vector<std::string> warnings;  ///< for whoever creates the pod
};

inline constexpr std::string_view kSidecarName = "signet-sidecar";
inline constexpr std::string_view kSocketVolume = "signet-socket";
inline constexpr std::string_view kIdentityVolume = "signet-identity";
inline constexpr std::string_view kSocketFolder = "/run/signet";
inline constexpr std::string_view kSocketPath = "/run/signet/signet.sock";
inline constexpr std::string_view kIdentityFolder = "/var/run/secrets/signet";
inline constexpr std::uint16_t kSidecarMetricsPort = 9464;

/// @param pod  v1.Pod as the API server sends it for CREATE
base::Result<Injection> InjectSidecar(const nlohmann::json& pod, const InjectionOptions& options);

}  // namespace signet::frontend
