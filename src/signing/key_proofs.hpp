// signing/key_proofs.hpp - proofs of possession, on record.
//
// A proof is a signature, so it leaves a line (type keyProven, or keyNotProven where the public key does not verify it)
// although nobody is given it: which key, in which token, by which algorithm, and the hashes of what was signed and of
// the signature.
//
// Thread-safety: reactor thread.
#pragma once

#include "audit/journal.hpp"
#include "token/worker_hsm.hpp"

namespace signet::signing {

/// `journal` must outlive the Hsm.
token::RecordProof RecordProofsIn(audit::Journal& journal);

}  // namespace signet::signing
