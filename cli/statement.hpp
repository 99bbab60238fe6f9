// cli/statement.hpp - an approver's own signature over the approval statement.
//
// Thread-safety: none.
// Blocking:      SignStatement runs a program, which may ask for a passphrase on the terminal.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "api/approval.hpp"
#include "api/types.hpp"
#include "base/result.hpp"
#include "policy/approval_statement.hpp"

namespace signet::cli {

/// What `decision` about `request` under `policy` says. `cluster` is the uid of the namespace kube-system.
policy::ApprovalStatement StatementOf(const api::SigningRequest& request, const api::SigningPolicy& policy,
                                      std::string cluster, api::Decision decision, base::TimePoint issued_at,
                                      base::TimePoint expires_at);

struct Signer {
  std::string key;      ///< file of a private key, or a .pub file whose key the agent holds: ssh-keygen -Y sign
  std::string command;  ///< or a command of the shell: statement on stdin, armoured signature on stdout
};
/// The armoured signature, checked.
/// @return kFailedPrecondition with what the program did wrong
base::Result<std::string> SignStatement(const std::string& statement, const Signer& signer);

/// Does `armored` sign exactly `statement`, with whatever key? So that nothing is sent that the operator must refuse.
base::Status CheckSignature(const std::string& statement, const std::string& armored);

}  // namespace signet::cli
