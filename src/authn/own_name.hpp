// authn/own_name.hpp - the user name that the API server knows this process by, from its own credentials.
//
// Needed to tell our status writes from everybody else's. API servers before 1.26 cannot be asked.
//
// Thread-safety: no shared state.
// Blocking:      reads the token or certificate file.
// Sources:       RFC 7519 section 4.1.2 (sub); Kubernetes "X.509 client certificates" (CN).
#pragma once

#include <string>

#include "base/result.hpp"
#include "kube/cluster_config.hpp"

namespace signet::authn {

/// The CN of the client certificate (the server looks at it first), or the `sub` of the bearer token, a JWT. It is
/// read, not verified: it is ours, and a wrong name only makes our own writes fail.
/// @return kFailedPrecondition, reason "ConfigInvalid": the credentials name nobody (an opaque token): give --username
base::Result<std::string> OwnName(const kube::ClusterConfig& config);

}  // namespace signet::authn
