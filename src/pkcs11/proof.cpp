// The proof of possession: a public key is believed once its private half has signed a fresh challenge.
//
// The challenge holds 32 octets that are drawn after all candidates have been read. No answer that a caller may have
// had signed before fits it, and no public key can have been made to fit the answer. Its name keeps it apart from
// anything else that is signed. The signature ends here: nobody is given it.
#include <fmt/format.h>

#include "crypto/digest.hpp"
#include "pkcs11/key_error.hpp"
#include "pkcs11/session.hpp"

namespace signet::pkcs11 {
namespace {

constexpr std::string_view kName = "signet.dev/proof-of-possession/v1";
constexpr std::size_t kRandomSize = 32;

/// name, NUL, random, SubjectPublicKeyInfo; for algorithms with a digest, its hash.
base::Bytes Challenge(const crypto::PublicKey& key, const encoding::AlgorithmInfo& info) {
  base::Bytes text = base::ToBytes(base::AsBytes(kName));
  text.push_back(0);
  const base::Bytes random = crypto::RandomBytes(kRandomSize);
  text.insert(text.end(), random.begin(), random.end());
  text.insert(text.end(), key.der().begin(), key.der().end());
  return info.hash ? crypto::Hash(*info.hash, text) : text;
}

}  // namespace

base::Status CheckUsable(const KeyRecord& key) {
  if (key.always_authenticate) {
    return KeyRefused(
        "KeyNotUsable",
        "the key wants the PIN for every signature (CKA_ALWAYS_AUTHENTICATE), which Signet does not serve: "
        "name another key, or make it without");
  }
  if (!key.can_sign) {
    return KeyRefused("KeyNotUsable", "the key in the HSM may not sign (CKA_SIGN is false): name another key");
  }
  if (key.algorithms.empty()) {
    return KeyRefused(
        "MechanismMissing",
        fmt::format("the token lets this {} key sign by no mechanism that takes a digest (CKM_ECDSA, "
                    "CKM_RSA_PKCS, CKM_RSA_PKCS_PSS; CKM_EDDSA for Ed25519); one that hashes by itself cannot "
                    "sign the digest of a request: name another key or token",
                    encoding::Name(key.public_key.algorithm())));
  }
  return {};
}

base::Result<PossessionProof> Session::Prove(const KeyRecord& key) {
  TRY_VOID(CheckUsable(key));
  base::Error last;
  for (const auto algorithm : key.algorithms) {
    const base::Bytes input = Challenge(key.public_key, encoding::Info(algorithm));
    const auto outcome = Sign(key.handle, algorithm, key.public_key.bits(), input);
    if (outcome.signature) {
      const bool verified = key.public_key.Verify(algorithm, input, *outcome.signature).has_value();
      return PossessionProof{verified, algorithm, crypto::Sha256Hex(input), crypto::Sha256Hex(*outcome.signature)};
    }
    last = outcome.signature.error();
    if (last.native.source.empty()) return KeyRefused("KeyNotUsable", last.message);  // ours: the HSM did sign
    if (last.reason != "MechanismMissing") break;  // tokens list mechanisms that they refuse for some keys
  }
  return last;
}

}  // namespace signet::pkcs11
