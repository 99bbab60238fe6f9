// authn/pod_facts.hpp - what Signet wants to know of a pod, read from the object as the API server shows it.
//
// Thread-safety: pure functions.
// Blocking:      never.
// Sizes:         at most kMostContainers are looked at; a pod with more counts as incomplete.
// Errors:        kInvalidArgument: not a pod.
// Sources:       Kubernetes core/v1 Pod: spec.{containers, initContainers, ephemeralContainers}[].image,
//                spec.volumes[].image.reference, spec.restartPolicy,
//                status.*ContainerStatuses[].{imageID, state.terminated}; metadata.uid.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "identity/pod.hpp"
#include "kube/object_store.hpp"

namespace signet::authn {

const kube::Resource& Pods();

struct PodFacts {
  struct Container {
    std::string name;
    bool ended = false;  ///< terminated, and the restart policy leaves it so
  };
  identity::PodIdentity pod;
  identity::PodImages images;         ///< of containers of every kind, and of volumes
  std::vector<Container> containers;  ///< those of spec.containers
};

inline constexpr std::size_t kMostContainers = 256;

base::Result<PodFacts> PodFactsOf(const nlohmann::json& pod);

/// Every container but the one named `own` has ended for good.
bool OthersEnded(const PodFacts& facts, std::string_view own);

/// "sha256:<hex>" at the end of a status's imageID ("repository@sha256:...", "docker-pullable://...@sha256:..."); empty
/// where there is none.
std::string DigestOf(std::string_view image_id);

}  // namespace signet::authn
