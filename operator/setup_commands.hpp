// operator/setup_commands.hpp - what an installation needs once: dev-hsm and remove-webhooks. The Helm chart runs them.
//
// dev-hsm FOLDER [--pkcs11-module SO] [--token LABEL]: makes FOLDER/softhsm2.conf, FOLDER/tokens, FOLDER/pin (random,
//   0600) and one SoftHSM token, for a first try. Does again only what is missing; replicas that share the folder take
//   turns.
// remove-webhooks [--kubeconfig FILE] [--context NAME]: deletes the webhook configurations signet.dev after an
//   uninstall.
//
// Blocking: files, the module, the API server.
#pragma once

#include <optional>

#include "operator/exit_code.hpp"
#include "operator/run.hpp"

namespace signet::app {

/// An Ending if argv is one of the two commands.
std::optional<Ending> MaybeRunSetupCommand(int argc, char** argv, const Environment& environment);

}  // namespace signet::app
