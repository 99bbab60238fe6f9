// authn/identity_error.hpp - for this module's own .cpp files.
#pragma once

#include <string>
#include <utility>

#include "base/result.hpp"

namespace signet::authn {

/// kUnauthenticated: the caller has not proven an identity.
inline base::Error Unauthenticated(std::string why) {
  return base::MakeError(base::Code::kUnauthenticated, "Unauthenticated", std::move(why));
}

/// kUnavailable, reason "IdentityUnavailable": the caller's identity cannot be looked up now.
inline base::Error IdentityUnavailable(std::string why) {
  return base::MakeError(base::Code::kUnavailable, "IdentityUnavailable", std::move(why));
}

}  // namespace signet::authn
