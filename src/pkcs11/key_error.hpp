// pkcs11/key_error.hpp - for this module's own .cpp files.
#pragma once

#include <string>
#include <utility>

#include "base/result.hpp"

namespace signet::pkcs11 {

/// kFailedPrecondition: the key that a policy names cannot be used.
inline base::Error KeyRefused(std::string reason, std::string message) {
  return base::MakeError(base::Code::kFailedPrecondition, std::move(reason), std::move(message));
}

}  // namespace signet::pkcs11
