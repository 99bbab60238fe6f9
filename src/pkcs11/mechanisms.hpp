// pkcs11/mechanisms.hpp - how each signature algorithm and key kind is said in PKCS#11: data only.
// Private to src/pkcs11.
//
// Sources: PKCS#11 v2.40 mechanisms: "Elliptic curve", "PKCS #1 v1.5 RSA", "PKCS #1 RSA PSS";
//          v3.0 mechanisms: "EdDSA"; RFC 8017 section 9.2 note 1 (DigestInfo); RFC 5480 (curve OIDs).
#pragma once

#include <p11-kit/pkcs11.h>

#include <span>

#include "base/bytes.hpp"
#include "encoding/algorithm.hpp"

namespace signet::pkcs11 {

/// What the mechanism is given to sign.
enum class Input : std::uint8_t {
  kDigest,      ///< the digest; for ECDSA cut to the size of the curve's order
  kDigestInfo,  ///< DER DigestInfo with the digest
  kMessage,
};

struct SignMechanism {
  encoding::SignatureAlgorithm algorithm;
  CK_MECHANISM_TYPE type;
  Input input;
  CK_MECHANISM_TYPE pss_hash;  ///< 0: not PSS
  CK_RSA_PKCS_MGF_TYPE pss_mgf;
};
const SignMechanism& MechanismOf(encoding::SignatureAlgorithm algorithm);

/// DER before the digest in a DigestInfo.
base::ByteView DigestInfoPrefix(encoding::HashAlgorithm hash);

struct KeyKind {
  encoding::KeyAlgorithm algorithm;
  int bits;  ///< 0: any
  CK_KEY_TYPE key_type;
  CK_MECHANISM_TYPE generate;
  std::size_t order_size;                 ///< bytes of the curve's order; 0 for others
  std::span<const base::ByteView> curve;  ///< forms of the curve parameters, best first
};
/// nullptr: not supported.
const KeyKind* KindOf(encoding::KeyAlgorithm algorithm, int bits);
const KeyKind* KindOf(CK_KEY_TYPE type);

}  // namespace signet::pkcs11
