// authn/installation_key.hpp - the key behind every seal: Secret signet-seal in the operator's namespace.
//
// data.key (32 random octets) seals and verifies; data.previous, where it is there, verifies too, so that a key can be
// changed by hand (docs/admission.md, "Another seal key"). The key is never logged, and leaves this process to that
// Secret only.
//
// Thread-safety: no shared state.
// Blocking:      one to three store calls.
// Errors:        those of the store; kFailedPrecondition, reason "SealKeyInvalid", for a Secret that holds no key: it
// is
//                never overwritten, since every stamp so far would lose its worth.
#pragma once

#include <string_view>

#include "authn/stamp.hpp"
#include "base/result.hpp"
#include "kube/object_store.hpp"

namespace signet::authn {

inline constexpr std::string_view kSealSecret = "signet-seal";

const kube::Resource& Secrets();

/// Reads the key, or makes one where there is none; of several replicas one wins, and all read its key.
base::Result<Sealer> LoadSealer(kube::ObjectStore& store, std::string_view ns);

}  // namespace signet::authn
