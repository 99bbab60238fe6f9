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

/// What the containers of a pod run, of every kind (init and ephemeral ones too), as its status says.
struct PodImages {
  std::vector<std::string> digests;  ///< "sha256:<hex>", one per container whose image is known
  bool complete = false;             ///< every container's image is known
};

}  // namespace signet::identity
