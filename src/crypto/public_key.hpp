// crypto/public_key.hpp - public keys and signature verification (OpenSSL inside).
//
// Ownership:     a PublicKey shares one immutable OpenSSL key; copies are cheap.
// Thread-safety: const calls from any thread.
// Sources:       RFC 5280 section 4.1.2.7 (SubjectPublicKeyInfo), RFC 3279 section 2.2.3
//                (ECDSA-Sig-Value), RFC 8017 sections 8.1 and 8.2, RFC 8032.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "encoding/algorithm.hpp"

namespace signet::crypto {

class PublicKey {
 public:
  PublicKey() = default;  ///< empty; every call fails

  /// From DER SubjectPublicKeyInfo. kInvalidArgument: not DER, or a key type we do not serve. Equal keys give equal
  /// `der()`, however the point of a curve was written; curves that are spelt out instead of named are refused.
  static base::Result<PublicKey> FromDer(base::ByteView spki);
  static base::Result<PublicKey> FromPem(std::string_view pem);
  /// The key in a DER X.509 certificate, which is not checked otherwise.
  static base::Result<PublicKey> FromCertificate(base::ByteView certificate);
  /// From PKCS#11 attributes: CKA_EC_POINT (DER OCTET STRING or BIT STRING around the point, the bare point, or
  /// its two coordinates) and CKA_EC_PARAMS (DER OID or curve name).
  static base::Result<PublicKey> FromEcPoint(base::ByteView ec_params, base::ByteView ec_point);
  /// CKA_MODULUS and CKA_PUBLIC_EXPONENT, big endian.
  static base::Result<PublicKey> FromRsa(base::ByteView modulus, base::ByteView exponent);

  [[nodiscard]] encoding::KeyAlgorithm algorithm() const;
  [[nodiscard]] int bits() const;                  ///< 256, 384, 521 / 2048... / 256 for Ed25519
  [[nodiscard]] const base::Bytes& der() const;    ///< SubjectPublicKeyInfo
  [[nodiscard]] const std::string& pem() const;    ///< "-----BEGIN PUBLIC KEY-----"
  [[nodiscard]] const std::string& keyID() const;  ///< hex SHA-256 of der()
  [[nodiscard]] bool empty() const { return impl_ == nullptr; }

  /// Checks `signature` (DER for ECDSA) over `input`: the digest for hashed algorithms, the
  /// message for PureEd25519. PSS salt length = digest length.
  /// @return kFailedPrecondition "the signature does not verify"; kInvalidArgument when the
  ///         algorithm does not fit the key.
  [[nodiscard]] base::Status Verify(encoding::SignatureAlgorithm algorithm, base::ByteView input,
                                    base::ByteView signature) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

/// r||s (two halves of equal size, as PKCS#11 and IEEE P1363 write it) to DER ECDSA-Sig-Value.
base::Result<base::Bytes> EcdsaP1363ToDer(base::ByteView raw);
/// What a token made of an ECDSA signature for a curve whose order has `half` bytes: r||s, with leading zeros
/// cut or added alike in both halves, or DER already. Result: DER ECDSA-Sig-Value.
base::Result<base::Bytes> EcdsaTokenToDer(base::ByteView raw, std::size_t half);
/// DER ECDSA-Sig-Value to r||s with `half` bytes each (32, 48 or 66).
base::Result<base::Bytes> EcdsaDerToP1363(base::ByteView der, std::size_t half);

}  // namespace signet::crypto
