// pkcs11/setup.hpp - initialises a token in a software HSM, for a first try. Never for an HSM that holds keys: its own
// tools do that.
//
// Ownership:     borrows the module; opens and closes a session of its own.
// Thread-safety: one thread, and no other user of the module in this process.
// Blocking:      a few calls of the module.
// Sizes:         label 1 to 32 octets.
// Errors:        pkcs11::FromRv; kFailedPrecondition/TokenNotFound: no slot has a token that is not initialised.
// Sources:       PKCS#11 v2.40 base, "Slot and token management functions": C_InitToken, C_InitPIN.
#pragma once

#include <string>

#include "base/result.hpp"
#include "base/secret.hpp"
#include "pkcs11/module.hpp"

namespace signet::pkcs11 {

/// A token `label` with these PINs is there afterwards. One that is there already is left alone, but for a user PIN
/// that it still lacks (a crash between the two calls).
/// @return whether something was done.
base::Result<bool> EnsureToken(const std::shared_ptr<Module>& module, const std::string& label,
                               const base::Secret& so_pin, const base::Secret& pin);

}  // namespace signet::pkcs11
