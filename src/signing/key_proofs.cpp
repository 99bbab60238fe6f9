#include "signing/key_proofs.hpp"

#include <utility>

namespace signet::signing {

token::RecordProof RecordProofsIn(audit::Journal& journal) {
  return [&journal](const token::KeyProof& proof, std::function<void(base::Status)> done) {
    journal.Event(proof.verified ? "keyProven" : "keyNotProven",
                  {{"keyID", proof.public_key.keyID()},
                   {"keyLabel", proof.key_label},
                   {"token", proof.token_label},
                   {"algorithm", std::string(encoding::Info(proof.algorithm).name)},
                   {"challengeSha256", proof.challenge},
                   {"signatureSha256", proof.signature_sha256}},
                  std::move(done));
  };
}

}  // namespace signet::signing
