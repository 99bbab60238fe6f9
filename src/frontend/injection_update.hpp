// frontend/injection_update.hpp - what may be changed in a pod that has its sidecar, and what may be added to it.
//
// Thread-safety: pure functions. Linear in the pod.
// Errors:        kPermissionDenied; the message says what and what to do instead.
// Sources:       Kubernetes "Ephemeral Containers"; v1.Pod (which fields of a spec may be updated).
#pragma once

#include <nlohmann/json.hpp>

#include "base/result.hpp"

namespace signet::frontend {

/// An update of the pod itself. What the sidecar is told, and the image that holds its token, stay.
base::Status CheckPodUpdate(const nlohmann::json& before, const nlohmann::json& after);

/// An update of `pods/ephemeralcontainers`: a v1.Pod, or v1.EphemeralContainers before Kubernetes 1.22.
base::Status CheckEphemeralContainers(const nlohmann::json& before, const nlohmann::json& after);

}  // namespace signet::frontend
