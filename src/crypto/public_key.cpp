#include "crypto/public_key.hpp"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/objects.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <array>

#include "crypto/digest.hpp"
#include "crypto/openssl_types.hpp"

namespace signet::crypto {
namespace {

using base::Bytes;
using base::ByteView;
using base::Code;
using base::MakeError;
using base::Result;
using encoding::HashAlgorithm;
using encoding::KeyAlgorithm;

Result<KeyAlgorithm> AlgorithmOf(const EVP_PKEY* key) {
  switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_EC:
      return KeyAlgorithm::kEcdsa;
    case EVP_PKEY_RSA:
      return KeyAlgorithm::kRsa;
    case EVP_PKEY_ED25519:
      return KeyAlgorithm::kEd25519;
    default:
      return Bad("a key type that Signet does not serve");
  }
}

/// NIST curves only: a size does not name a curve (secp256k1 has 256 bits too).
bool IsServedCurve(const EVP_PKEY* key) {
  std::array<char, 64> group{};
  std::size_t size = 0;
  if (EVP_PKEY_get_group_name(key, group.data(), group.size(), &size) != 1) return false;
  const int nid = OBJ_sn2nid(std::string(group.data(), size).c_str());
  return nid == NID_X9_62_prime256v1 || nid == NID_secp384r1 || nid == NID_secp521r1;
}

Result<Bytes> ToDer(EVP_PKEY* key) {
  unsigned char* out = nullptr;
  const int size = i2d_PUBKEY(key, &out);
  if (size <= 0) return Bad("the public key cannot be encoded");
  Bytes der(out, out + size);
  OPENSSL_free(out);
  return der;
}

/// "P-256" and so on of CKA_EC_PARAMS: a DER OID, or a curve's name as a string (PKCS#11 3.0, "Elliptic curve").
Result<int> CurveNid(ByteView params) {
  constexpr std::uint8_t kPrintableString = 0x13;
  constexpr std::uint8_t kUtf8String = 0x0c;
  if (params.size() >= 2 && (params[0] == kPrintableString || params[0] == kUtf8String)) {
    const std::string name(base::AsText(params.subspan(2)));
    if (params[1] != name.size()) return Bad("EC parameters that are not a named curve");
    if (name == "edwards25519") return NID_ED25519;
    const int nid = EC_curve_nist2nid(name.c_str());
    return nid == NID_undef ? OBJ_sn2nid(name.c_str()) : nid;
  }
  const unsigned char* cursor = params.data();
  const AsnObjectPtr oid(d2i_ASN1_OBJECT(nullptr, &cursor, static_cast<long>(params.size())));
  ERR_clear_error();
  if (!oid || cursor != params.data() + params.size()) return Bad("EC parameters that are not a named curve");
  // Tokens from before RFC 8410 have Ed25519 under the number that GnuPG gave it.
  constexpr std::array<std::uint8_t, 9> kGnuEd25519 = {0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01};
  const ByteView number(OBJ_get0_data(oid.get()), OBJ_length(oid.get()));
  if (std::equal(number.begin(), number.end(), kGnuEd25519.begin(), kGnuEd25519.end())) return NID_ED25519;
  return OBJ_obj2nid(oid.get());
}

/// Octets of one coordinate; 0: not a curve of ours.
std::size_t CoordinateSize(int nid) {
  switch (nid) {
    case NID_ED25519:
    case NID_X9_62_prime256v1:
      return 32;
    case NID_secp384r1:
      return 48;
    case NID_secp521r1:
      return 66;
    default:
      return 0;
  }
}

/// The point in CKA_EC_POINT. The standard wants it in a DER OCTET STRING; tokens also give a BIT STRING, the bare
/// point, or its coordinates alone. Its size says which: a bare point can read like DER by chance.
Bytes UnwrapPoint(ByteView point, int nid) {
  const std::size_t size = CoordinateSize(nid);
  const auto is_point = [&](ByteView octets) {
    if (nid == NID_ED25519) return octets.size() == size;
    return (octets.size() == 2 * size + 1 && octets[0] == 4) ||
           (octets.size() == size + 1 && (octets[0] == 2 || octets[0] == 3));
  };
  if (is_point(point)) return base::ToBytes(point);
  if (nid != NID_ED25519 && point.size() == 2 * size) {
    Bytes whole = {4};
    whole.insert(whole.end(), point.begin(), point.end());
    return whole;
  }
  const unsigned char* cursor = point.data();
  int tag = 0;
  int tag_class = 0;
  long length = 0;
  const int form = ASN1_get_object(&cursor, &length, &tag, &tag_class, static_cast<long>(point.size()));
  ERR_clear_error();
  const bool is_string = tag_class == V_ASN1_UNIVERSAL && (tag == V_ASN1_OCTET_STRING || tag == V_ASN1_BIT_STRING);
  if ((form & 0x80) != 0 || !is_string || cursor + length != point.data() + point.size()) return {};
  ByteView inner(cursor, static_cast<std::size_t>(length));
  if (tag == V_ASN1_BIT_STRING && !inner.empty() && inner[0] == 0) inner = inner.subspan(1);  // no unused bits
  return is_point(inner) ? base::ToBytes(inner) : Bytes();
}

/// Brings equal keys to equal DER, and refuses what must not stand in one.
base::Status Normalise(EVP_PKEY* key, KeyAlgorithm algorithm) {
  if (algorithm == KeyAlgorithm::kRsa) {
    BIGNUM* exponent = nullptr;
    const bool known = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exponent) == 1;
    const BnPtr e(exponent);
    if (!known || BN_is_odd(e.get()) == 0 || BN_is_one(e.get()) != 0) return Bad("an RSA exponent that cannot be one");
  }
  if (algorithm != KeyAlgorithm::kEcdsa) return {};
  if (!IsServedCurve(key)) return Bad("an EC curve that Signet does not serve");
  int is_explicit = 0;
  if (EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &is_explicit) != 1 ||
      is_explicit != 0) {
    return Bad("EC parameters that are not a named curve");
  }
  if (EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "uncompressed") != 1) {
    return Bad("the public key cannot be encoded");
  }
  return {};
}

Result<PkeyPtr> FromParams(const char* type, OSSL_PARAM_BLD* builder) {
  const ParamsPtr params(OSSL_PARAM_BLD_to_param(builder));
  const PkeyCtxPtr context(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
  EVP_PKEY* key = nullptr;
  if (!params || !context || EVP_PKEY_fromdata_init(context.get()) <= 0 ||
      EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, params.get()) <= 0) {
    return Bad("the token's public key is not a valid key");
  }
  return PkeyPtr(key);
}

}  // namespace

struct PublicKey::Impl {
  PkeyPtr key;
  KeyAlgorithm algorithm = KeyAlgorithm::kEcdsa;
  int bits = 0;
  Bytes der;
  std::string pem;
  std::string key_id;
};

Result<PublicKey> PublicKey::FromDer(ByteView spki) {
  const unsigned char* cursor = spki.data();
  PkeyPtr key(d2i_PUBKEY(nullptr, &cursor, static_cast<long>(spki.size())));
  if (!key || cursor != spki.data() + spki.size()) return Bad("not a DER SubjectPublicKeyInfo");
  TRY(const KeyAlgorithm algorithm, AlgorithmOf(key.get()));
  const int bits = algorithm == KeyAlgorithm::kEd25519 ? 256 : EVP_PKEY_get_bits(key.get());
  TRY_VOID(Normalise(key.get(), algorithm));
  if (algorithm == KeyAlgorithm::kRsa && (bits < 2048 || bits > 4096)) return Bad("RSA keys have 2048 to 4096 bits");
  auto impl = std::make_shared<Impl>();
  impl->algorithm = algorithm;
  impl->bits = bits;
  TRY(impl->der, ToDer(key.get()));
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (!bio || PEM_write_bio_PUBKEY(bio.get(), key.get()) != 1) return Bad("the public key cannot be encoded");
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  impl->pem.assign(text, static_cast<std::size_t>(size));
  impl->key_id = Sha256Hex(impl->der);
  impl->key = std::move(key);
  PublicKey result;
  result.impl_ = std::move(impl);
  return result;
}

Result<PublicKey> PublicKey::FromPem(std::string_view pem) {
  const BioPtr bio = MemoryBio(pem);
  const PkeyPtr key(PEM_read_bio_PUBKEY(bio.get(), nullptr, NoPassword, nullptr));
  if (!key) return Bad("not a PEM public key");
  TRY(const Bytes der, ToDer(key.get()));
  return FromDer(der);
}

Result<PublicKey> PublicKey::FromCertificate(ByteView certificate) {
  const unsigned char* cursor = certificate.data();
  const X509Ptr parsed(d2i_X509(nullptr, &cursor, static_cast<long>(certificate.size())));
  EVP_PKEY* key = parsed ? X509_get0_pubkey(parsed.get()) : nullptr;
  ERR_clear_error();
  if (key == nullptr) return Bad("not a DER certificate");
  TRY(const Bytes der, ToDer(key));
  return FromDer(der);
}

Result<PublicKey> PublicKey::FromEcPoint(ByteView ec_params, ByteView ec_point) {
  TRY(const int nid, CurveNid(ec_params));
  if (CoordinateSize(nid) == 0) return Bad("an EC curve that Signet does not serve");
  Bytes point = UnwrapPoint(ec_point, nid);
  if (point.empty()) return Bad("the token's EC point has a form that Signet does not know");
  if (nid == NID_ED25519) {
    const PkeyPtr key(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, point.data(), point.size()));
    if (!key) return Bad("the token's Ed25519 point is not valid");
    TRY(const Bytes der, ToDer(key.get()));
    return FromDer(der);
  }
  const char* group = OBJ_nid2sn(nid);
  const ParamBuilderPtr builder(OSSL_PARAM_BLD_new());
  if (!builder || group == nullptr ||
      OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, group, 0) != 1 ||
      OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size()) != 1) {
    return Bad("an EC curve that Signet does not serve");
  }
  TRY(const PkeyPtr key, FromParams("EC", builder.get()));
  TRY(const Bytes der, ToDer(key.get()));
  return FromDer(der);
}

Result<PublicKey> PublicKey::FromRsa(ByteView modulus, ByteView exponent) {
  const BnPtr n(BN_bin2bn(modulus.data(), static_cast<int>(modulus.size()), nullptr));
  const BnPtr e(BN_bin2bn(exponent.data(), static_cast<int>(exponent.size()), nullptr));
  const ParamBuilderPtr builder(OSSL_PARAM_BLD_new());
  if (!n || !e || !builder || OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get()) != 1 ||
      OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get()) != 1) {
    return Bad("the token's RSA key is not valid");
  }
  TRY(const PkeyPtr key, FromParams("RSA", builder.get()));
  TRY(const Bytes der, ToDer(key.get()));
  return FromDer(der);
}

KeyAlgorithm PublicKey::algorithm() const { return impl_->algorithm; }
int PublicKey::bits() const { return impl_->bits; }
const Bytes& PublicKey::der() const { return impl_->der; }
const std::string& PublicKey::pem() const { return impl_->pem; }
const std::string& PublicKey::keyID() const { return impl_->key_id; }

base::Status PublicKey::Verify(encoding::SignatureAlgorithm algorithm, ByteView input, ByteView signature) const {
  const auto& info = encoding::Info(algorithm);
  if (!impl_ || info.key != impl_->algorithm) {
    return MakeError(Code::kInvalidArgument, "the algorithm does not fit the public key");
  }
  const auto failed = [] {
    ERR_clear_error();
    return MakeError(Code::kFailedPrecondition, "VerificationFailed", "the signature does not verify");
  };
  if (!info.hash) {  // RFC 8032: the scheme hashes the message itself
    const MdCtxPtr context(EVP_MD_CTX_new());
    if (!context || EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, impl_->key.get()) != 1 ||
        EVP_DigestVerify(context.get(), signature.data(), signature.size(), input.data(), input.size()) != 1) {
      return failed();
    }
    return {};
  }
  if (input.size() != encoding::DigestSize(*info.hash)) {
    return MakeError(Code::kInvalidArgument, "the digest has the wrong length for the algorithm");
  }
  const PkeyCtxPtr context(EVP_PKEY_CTX_new(impl_->key.get(), nullptr));
  if (!context || EVP_PKEY_verify_init(context.get()) <= 0) return failed();
  if (info.padding != encoding::Padding::kNone) {
    const int padding = info.padding == encoding::Padding::kPss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING;
    if (EVP_PKEY_CTX_set_rsa_padding(context.get(), padding) <= 0) return failed();
  }
  if (EVP_PKEY_CTX_set_signature_md(context.get(), DigestOf(*info.hash)) <= 0) return failed();
  if (info.padding == encoding::Padding::kPss &&
      EVP_PKEY_CTX_set_rsa_pss_saltlen(context.get(), RSA_PSS_SALTLEN_DIGEST) <= 0) {
    return failed();
  }
  if (EVP_PKEY_verify(context.get(), signature.data(), signature.size(), input.data(), input.size()) != 1) {
    return failed();
  }
  return {};
}

Result<Bytes> EcdsaP1363ToDer(ByteView raw) {
  if (raw.empty() || raw.size() % 2 != 0 || raw.size() > 132) return Bad("not an r||s signature");
  const int half = static_cast<int>(raw.size() / 2);
  const SigPtr signature(ECDSA_SIG_new());
  BnPtr r(BN_bin2bn(raw.data(), half, nullptr));
  BnPtr s(BN_bin2bn(raw.data() + half, half, nullptr));
  if (!signature || !r || !s || BN_is_zero(r.get()) || BN_is_zero(s.get())) return Bad("not an r||s signature");
  ECDSA_SIG_set0(signature.get(), r.release(), s.release());
  unsigned char* out = nullptr;
  const int size = i2d_ECDSA_SIG(signature.get(), &out);
  if (size <= 0) return Bad("the signature cannot be encoded");
  Bytes der(out, out + size);
  OPENSSL_free(out);
  return der;
}

Result<Bytes> EcdsaTokenToDer(ByteView raw, std::size_t half) {
  if (raw.size() == 2 * half) return EcdsaP1363ToDer(raw);
  if (auto plain = EcdsaDerToP1363(raw, half)) return EcdsaP1363ToDer(*plain);
  ERR_clear_error();
  const std::size_t longer = raw.size() / 2;
  if (raw.size() % 2 != 0 || longer < half) return EcdsaP1363ToDer(raw);
  Bytes exact;
  for (const ByteView number : {raw.first(longer), raw.subspan(longer)}) {
    const ByteView padding = number.first(longer - half);
    if (std::any_of(padding.begin(), padding.end(), [](std::uint8_t octet) { return octet != 0; })) {
      return Bad("not an r||s signature");
    }
    exact.insert(exact.end(), number.begin() + static_cast<std::ptrdiff_t>(longer - half), number.end());
  }
  return EcdsaP1363ToDer(exact);
}

Result<Bytes> EcdsaDerToP1363(ByteView der, std::size_t half) {
  const unsigned char* cursor = der.data();
  const SigPtr signature(d2i_ECDSA_SIG(nullptr, &cursor, static_cast<long>(der.size())));
  if (!signature || cursor != der.data() + der.size()) return Bad("not a DER ECDSA-Sig-Value");
  Bytes raw(half * 2);
  const BIGNUM* r = ECDSA_SIG_get0_r(signature.get());
  const BIGNUM* s = ECDSA_SIG_get0_s(signature.get());
  for (const BIGNUM* number : {r, s}) {
    if (BN_is_negative(number) != 0 || BN_is_zero(number) != 0) return Bad("not a DER ECDSA-Sig-Value");
  }
  if (BN_bn2binpad(r, raw.data(), static_cast<int>(half)) < 0 ||
      BN_bn2binpad(s, raw.data() + half, static_cast<int>(half)) < 0) {
    return Bad("the signature does not fit the curve");
  }
  return raw;
}

}  // namespace signet::crypto
