// frontend/injection_mesh.hpp - where the sidecar goes in a pod of a service mesh.
//
// A mesh redirects a pod's connections to its proxy; with a CNI plugin it does so before any container starts. A native
// sidecar that waits for the gateway and starts before the proxy would wait for ever, and the proxy with it. So it goes
// behind a native proxy, and is an ordinary container beside an ordinary one; unless the pod excludes the gateway's
// port.
//
// Thread-safety: pure functions. Linear in the pod.
// Sources:       Istio "Resource Annotations" (traffic.sidecar.istio.io), "Pod Requirements"; Linkerd "Proxy
//                Configuration" (config.linkerd.io/skip-outbound-ports).
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace signet::frontend {

struct MeshPlace {
  std::size_t behind = 0;      ///< so many init containers stay before a native sidecar
  bool proxy_is_late = false;  ///< the proxy is an ordinary container, and all connections wait for it
};

/// @param pod     v1.Pod
/// @param gateway https://HOST[:PORT]
MeshPlace PlaceInMesh(const nlohmann::json& pod, std::string_view gateway);

}  // namespace signet::frontend
