// identity/pod.hpp - the pod that calls, as the API server vouches for it: plain data, no I/O.
//
// Thread-safety: values.
// Sources:       Kubernetes TokenReview, extra authentication.kubernetes.io/pod-name, pod-uid and node-name;
//                PodStatus containerStatuses[].imageID.
#pragma once

#include <string>
#include <vector>

namespace signet::identity {

/// The pod that a token is bound to.
struct PodIdentity {
  std::string ns;
  std::string name;
  std::string uid;   ///< never empty
  std::string node;  ///< may be empty: older API servers do not say
};

/// What the containers of a pod run, of every kind (init and ephemeral ones too), and its image volumes: as its spec
/// orders it and as its status reports it.
struct PodImages {
  std::vector<std::string> digests;        ///< "sha256:<hex>", every one that spec or status names
  bool complete = false;                   ///< for each container, spec and status name the same digest
  std::vector<std::string> unpinned = {};  ///< containers and volumes whose image the spec names without a digest
};

}  // namespace signet::identity
