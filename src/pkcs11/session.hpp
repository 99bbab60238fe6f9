// pkcs11/session.hpp - one session with a token: login, search, sign, generate.
//
// Ownership:     move-only; closing a Session never logs out (the login belongs to the token and
//                lasts until its last session closes: keep one open for life).
// Thread-safety: one thread at a time.
// Blocking:      every call, for as long as the HSM does.
// Errors:        pkcs11::FromRv; ConsequenceOf(error) tells what to do with the session.
// Sources:       PKCS#11 v2.40 base: "Session management functions", "Object management functions",
//                "Signing and MACing functions", "Key management functions".
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "crypto/public_key.hpp"
#include "encoding/algorithm.hpp"
#include "pkcs11/module.hpp"

namespace signet::pkcs11 {

using ObjectHandle = unsigned long;
using SessionHandle = unsigned long;

/// Which private (or public) keys: what is set must be equal.
struct KeyQuery {
  std::optional<std::string> label;  ///< CKA_LABEL
  std::optional<base::Bytes> id;     ///< CKA_ID
};

/// A private key as its token describes it.
struct KeyRecord {
  ObjectHandle handle = 0;
  std::string label;
  base::Bytes id;
  crypto::PublicKey public_key;
  bool sensitive = false;
  bool extractable = true;
  bool never_extractable = false;
  bool local = false;
  bool can_sign = false;
  bool always_authenticate = false;                      ///< wants the PIN for every signature: not served
  std::vector<encoding::SignatureAlgorithm> algorithms;  ///< token, key and its allowed mechanisms together
};

/// What a private key signed to show that a public key is its own: something that nobody could know before.
struct PossessionProof {
  bool verified = true;  ///< with the public key; false: that key is another's
  encoding::SignatureAlgorithm algorithm{};
  std::string challenge;         ///< hex SHA-256 of what was signed
  std::string signature_sha256;  ///< hex, of the signature as Sign returns it
};

/// Whether Signet can sign with a key, by what its token says.
/// @return kFailedPrecondition/KeyNotUsable: not for signing, or the PIN is wanted for every signature;
///         MechanismMissing: no mechanism that takes what we have.
base::Status CheckUsable(const KeyRecord& key);

struct SignOutcome {
  base::Result<base::Bytes> signature;
  bool not_begun = false;  ///< on error: certainly no signature was made
};

class Session {
 public:
  enum class Mode : std::uint8_t { kReadOnly, kReadWrite };

  static base::Result<Session> Open(std::shared_ptr<Module> module, SlotId slot, Mode mode);
  Session(Session&& other) noexcept;
  Session& operator=(Session&& other) noexcept;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() { Close(); }

  /// Logs the user in for all sessions of this process with the token.
  /// @return true: the token accepted the PIN. false: the user was logged in already, so that it did not look at it.
  base::Result<bool> Login(base::ByteView pin);
  /// Whether the user is logged in, asked of the token.
  [[nodiscard]] base::Result<bool> LoggedIn() const;

  /// Handles of at most `limit` private keys (public keys) that fit.
  [[nodiscard]] base::Result<std::vector<ObjectHandle>> FindPrivateKeys(const KeyQuery& query, std::size_t limit) const;
  [[nodiscard]] base::Result<std::vector<ObjectHandle>> FindPublicKeys(const KeyQuery& query, std::size_t limit) const;

  /// The only private key that fits, with everything about it.
  /// Its public key is what the token says, and not proven: see Prove.
  /// @return kNotFound/KeyNotFound, kFailedPrecondition/KeyAmbiguous, KeyMismatch (the token contradicts itself about
  /// the
  ///         public half), KeyNotUsable (no public half can be read; an object that needs no login).
  [[nodiscard]] base::Result<KeyRecord> FindKey(const KeyQuery& query) const;
  /// The public key object's value.
  [[nodiscard]] base::Result<crypto::PublicKey> ReadPublicKey(ObjectHandle public_key) const;

  /// Has `key` sign a fresh challenge and verifies it with the public key in the record.
  /// @return what was signed, also when it does not verify; or as CheckUsable; or the HSM's error.
  [[nodiscard]] base::Result<PossessionProof> Prove(const KeyRecord& key);

  /// Signs the digest (hashed algorithms) or message (PureEd25519) with a key of `bits` bits.
  /// Result: DER ECDSA-Sig-Value, RSA modulus-length octets, 64 octets for Ed25519.
  SignOutcome Sign(ObjectHandle key, encoding::SignatureAlgorithm algorithm, int bits, base::ByteView input);

  /// Generates a pair on the token: sensitive, not extractable, for signing only; needs Mode::kReadWrite.
  base::Status GenerateKeyPair(encoding::KeyAlgorithm algorithm, int bits, const std::string& label, base::ByteView id);

 private:
  Session(std::shared_ptr<Module> module, SlotId slot, SessionHandle handle)
      : module_(std::move(module)), slot_(slot), handle_(handle) {}

  void Close() noexcept;
  [[nodiscard]] base::Result<std::vector<ObjectHandle>> Find(unsigned long object_class, const KeyQuery& query,
                                                             std::size_t limit) const;
  [[nodiscard]] base::Result<base::Bytes> Attribute(ObjectHandle object, unsigned long type) const;
  /// As Attribute; an attribute that the token does not show is empty.
  [[nodiscard]] base::Result<base::Bytes> Shown(ObjectHandle object, unsigned long type) const;
  [[nodiscard]] base::Result<bool> Flag(ObjectHandle object, unsigned long type, bool otherwise) const;
  [[nodiscard]] base::Result<unsigned long> Number(ObjectHandle object, unsigned long type) const;
  [[nodiscard]] base::Result<crypto::PublicKey> PublicKeyOf(ObjectHandle private_key, const KeyRecord& record) const;
  [[nodiscard]] base::Result<crypto::PublicKey> OwnPublicKey(ObjectHandle private_key) const;
  [[nodiscard]] base::Result<crypto::PublicKey> OnePublicKey(unsigned long object_class, const KeyQuery& query) const;
  [[nodiscard]] base::Result<ObjectHandle> OnePrivateKey(const KeyQuery& query) const;
  base::Status RestrictToAllowed(KeyRecord& record) const;

  std::shared_ptr<Module> module_;
  SlotId slot_ = 0;
  SessionHandle handle_ = 0;  ///< 0 (CK_INVALID_HANDLE): moved from
};

}  // namespace signet::pkcs11
