// frontend/injection_sidecar.hpp - the sidecar's container and volumes as they go into a pod, and whether one that is
// there already is ours.
//
// Every member that a server would default is written out where it is compared later.
//
// Thread-safety: pure functions.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "frontend/injection.hpp"
#include "frontend/injection_annotations.hpp"

namespace signet::frontend {

struct SidecarPlan {
  SidecarForm form = SidecarForm::kNative;
  bool end_with_pod = false;       ///< the pod ends, and the sidecar is no native one
  std::uint16_t metrics_port = 0;  ///< 0: none
};

nlohmann::json SidecarContainer(const InjectionOptions& options, const InjectionChoices& choices,
                                const SidecarPlan& plan);
nlohmann::json SocketVolume();
nlohmann::json IdentityVolume(const std::string& audience);

/// What tells `found` from `wanted` in a way that another webhook's change cannot explain; "": it is ours. Other tag,
/// registry, environment, resources, more mounts: ours. A guard against mistakes, not a boundary (injection.hpp).
std::string ForeignMember(const nlohmann::json& found, const nlohmann::json& wanted);

}  // namespace signet::frontend
