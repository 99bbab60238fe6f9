// token/hsm.hpp - keys by name, signatures by callback: the HSM as the floors above see it.
//
// An Hsm is the set of tokens that the process configuration names. Keys are
// addressed by the policy's RFC 7512 URI, resolved once and then by an opaque
// KeyRef: never a search per signature. Implementations: WorkerHsm (worker
// processes that hold the PKCS#11 module, worker_hsm.hpp) and tests' FakeHsm.
//
// Thread-safety: call on the reactor's thread; callbacks run there, exactly once,
//                never before the call has returned.
// Blocking:      never; every operation has a deadline (Options of the implementation).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "crypto/public_key.hpp"
#include "encoding/algorithm.hpp"
#include "encoding/pkcs11_uri.hpp"

namespace signet::token {

/// Opaque; 0 names no key. Stays valid for the life of the Hsm (workers find the key again by
/// token and CKA_ID after a restart and check that its public key is still the same).
using KeyRef = std::uint32_t;

struct KeyInfo {
  KeyRef ref = 0;
  crypto::PublicKey public_key;  ///< keyID, algorithm and size come from here
  std::string token_label;
  bool sensitive = false;
  bool extractable = true;
  bool never_extractable = false;
  bool local = false;  ///< generated inside the token
  bool can_sign = false;
  std::vector<encoding::SignatureAlgorithm> mechanisms;  ///< what token and key can do, of our table
};

/// What a private key signed to show that its public key is its own: a fresh challenge. Nobody is given the signature.
struct KeyProof {
  bool verified = true;  ///< false: the public key is another key's
  crypto::PublicKey public_key;
  std::string token_label;
  std::string key_label;
  encoding::SignatureAlgorithm algorithm{};
  std::string challenge;         ///< hex SHA-256 of what was signed
  std::string signature_sha256;  ///< hex
};

/// True when `error` says that the token's objects are not, or not any more, the key that was asked for. Nothing was
/// signed, and nothing will be until somebody puts them right.
bool IsKeyTrouble(const base::Error& error);

struct GenerateSpec {
  encoding::KeyAlgorithm algorithm = encoding::KeyAlgorithm::kEcdsa;
  int bits = 0;
};

struct HsmState {
  bool ready = false;   ///< at least one worker is logged in
  std::string reason;   ///< CamelCase when not ready: Starting, PinRefused, PinLocked, TokenNotFound, ModuleFailed, ...
  std::string message;  ///< what to do
  std::uint32_t workers = 0;
  std::uint32_t workers_ready = 0;
  /// Several tokens fit what the process configuration says, and none was ever chosen: nothing that
  /// waiting would mend. A main ends with its configuration exit code. An absent token is not fatal,
  /// named or not: it may come.
  bool fatal_configuration = false;
};

class Hsm {
 public:
  template <class T>
  using Callback = std::function<void(base::Result<T>)>;

  virtual ~Hsm() = default;

  /// Finds the one private key that fits `uri`, and has it prove that its public key is its own.
  /// @return kNotFound             reason KeyNotFound: no token or key fits
  ///         kFailedPrecondition   reason KeyAmbiguous: more than one fits; KeyMismatch: its public key is another's;
  ///                               KeyNotUsable, MechanismMissing: it cannot sign for us
  ///         kUnavailable          reason HSMUnavailable: no worker, token gone
  virtual void Find(const encoding::Pkcs11Uri& uri, Callback<KeyInfo> done) = 0;

  /// Generates a key pair (CKA_SENSITIVE, not CKA_EXTRACTABLE, random CKA_ID, label = uri.object),
  /// finds it again and returns it. The caller makes sure that no key fits yet.
  /// @return kInvalidArgument when the URI names no object; kAlreadyExists; kUnavailable.
  virtual void Generate(const encoding::Pkcs11Uri& uri, const GenerateSpec& spec, Callback<KeyInfo> done) = 0;

  /// Signs `input` (the digest for hashed algorithms: 32/48/64 bytes; the message for PureEd25519).
  /// Result: DER ECDSA-Sig-Value; RSA: modulus-length octets; Ed25519: 64 octets.
  /// @return kUnavailable  reason HSMUnavailable, the HSM did not sign: safe to ask again
  ///         kResourceExhausted reason Busy: the queue is full
  ///         kDeadlineExceeded, kInternal: unknown whether a signature was made: final
  ///         kFailedPrecondition: mechanism or key cannot do this
  virtual void Sign(KeyRef key, encoding::SignatureAlgorithm algorithm, base::ByteView input,
                    Callback<base::Bytes> done) = 0;

  /// Of all tokens: ready when one of them is and none is starting. Where others are away all the same, reason and
  /// message are of the first of those.
  [[nodiscard]] virtual HsmState State() const = 0;
  /// Of the token that holds `key`, whatever becomes of the others. A ref that names no key: not ready, KeyNotFound.
  [[nodiscard]] virtual HsmState StateOf(KeyRef key) const = 0;
  /// Called on the loop after a token became ready or stopped to be, or its reason changed.
  virtual void OnStateChange(std::function<void()> handler) = 0;
};

}  // namespace signet::token
