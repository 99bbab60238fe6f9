#include "crypto/ssh_key.hpp"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>

#include <algorithm>
#include <array>

#include "crypto/digest.hpp"
#include "crypto/openssl_types.hpp"
#include "crypto/public_key.hpp"
#include "crypto/ssh_wire.hpp"
#include "encoding/text.hpp"

namespace signet::crypto {
namespace {

using base::Bytes;
using base::ByteView;
using base::Code;
using base::MakeError;
using base::Result;
using encoding::KeyAlgorithm;

constexpr int kMinRsaBits = 2048;
constexpr int kMaxRsaBits = 8192;

struct Kind {
  std::string_view name;
  KeyAlgorithm algorithm;
  int bits;                ///< 0: of the modulus
  std::string_view curve;  ///< the name inside the blob
  const char* group;       ///< OpenSSL's
  std::size_t point;       ///< octets: 0x04 and two coordinates
};
constexpr std::array<Kind, 5> kKinds{{
    {"ssh-ed25519", KeyAlgorithm::kEd25519, 256, {}, nullptr, 32},
    {"ecdsa-sha2-nistp256", KeyAlgorithm::kEcdsa, 256, "nistp256", "P-256", 65},
    {"ecdsa-sha2-nistp384", KeyAlgorithm::kEcdsa, 384, "nistp384", "P-384", 97},
    {"ecdsa-sha2-nistp521", KeyAlgorithm::kEcdsa, 521, "nistp521", "P-521", 133},
    {"ssh-rsa", KeyAlgorithm::kRsa, 0, {}, nullptr, 0},
}};

Result<const Kind*> FindKind(std::string_view name) {
  for (const Kind& kind : kKinds) {
    if (kind.name == name) return &kind;
  }
  if (name.starts_with("sk-")) return Bad("a security key (sk-*): Signet does not serve these yet, use another key");
  if (name.find("-cert-v0") != std::string_view::npos) return Bad("an SSH certificate: give the public key itself");
  if (name == "ssh-dss") return Bad("a DSA key: make an ssh-ed25519 key");
  return Bad("not an SSH key type that Signet serves: use ssh-ed25519, ecdsa-sha2-nistp256/384/521 or ssh-rsa");
}

Result<PkeyPtr> SshKeyFromParams(const char* type, OSSL_PARAM_BLD* builder) {
  const ParamsPtr params(OSSL_PARAM_BLD_to_param(builder));
  const PkeyCtxPtr context(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
  EVP_PKEY* key = nullptr;
  if (!params || !context || EVP_PKEY_fromdata_init(context.get()) <= 0 ||
      EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, params.get()) <= 0) {
    return Bad("the SSH key is not a valid key");
  }
  return PkeyPtr(key);
}

Result<PkeyPtr> ReadEd25519(SshReader& reader) {
  TRY(const ByteView point, reader.String());
  if (point.size() != 32) return Bad("the ssh-ed25519 key does not have 32 octets");
  PkeyPtr key(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, point.data(), point.size()));
  if (!key) return Bad("the SSH key is not a valid key");
  return key;
}

Result<PkeyPtr> ReadEcdsa(SshReader& reader, const Kind& kind) {
  TRY(const ByteView curve, reader.String());
  TRY(const ByteView point, reader.String());
  if (base::AsText(curve) != kind.curve) return Bad("the curve inside the SSH key is not that of its type");
  if (point.size() != kind.point || point[0] != 4) return Bad("the point of the SSH key is not an uncompressed one");
  const ParamBuilderPtr builder(OSSL_PARAM_BLD_new());
  if (!builder || OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, kind.group, 0) != 1 ||
      OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size()) != 1) {
    return Bad("the SSH key is not a valid key");
  }
  return SshKeyFromParams("EC", builder.get());  // refuses points that are not on the curve
}

Result<PkeyPtr> ReadRsa(SshReader& reader) {
  TRY(const ByteView exponent, reader.PositiveMpint());
  TRY(const ByteView modulus, reader.PositiveMpint());
  const BnPtr e(BN_bin2bn(exponent.data(), static_cast<int>(exponent.size()), nullptr));
  const BnPtr n(BN_bin2bn(modulus.data(), static_cast<int>(modulus.size()), nullptr));
  const ParamBuilderPtr builder(OSSL_PARAM_BLD_new());
  if (!e || !n || !builder) return Bad("the SSH key is not a valid key");
  const int bits = BN_num_bits(n.get());
  if (bits < kMinRsaBits || bits > kMaxRsaBits) {
    return Bad("an RSA key of " + std::to_string(bits) + " bits: Signet serves 2048 to 8192, ssh-ed25519 is better");
  }
  // FIPS 186-5 section 5.4 (e); the upper bound keeps verification cheap.
  if (BN_num_bits(e.get()) < 17 || BN_num_bits(e.get()) > 64 || BN_is_odd(e.get()) == 0 || BN_is_odd(n.get()) == 0) {
    return Bad("an RSA key whose exponent or modulus is weak: make a new key");
  }
  if (OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get()) != 1 ||
      OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get()) != 1) {
    return Bad("the SSH key is not a valid key");
  }
  return SshKeyFromParams("RSA", builder.get());
}

std::string Fingerprint(ByteView blob) {
  std::string text = encoding::ToBase64(Sha256(blob));
  while (text.ends_with('=')) text.pop_back();
  return "SHA256:" + text;
}

/// r and s as two mpints (RFC 5656 section 3.1.2) to DER, as OpenSSL wants them.
Result<Bytes> EcdsaToDer(ByteView signature, int bits) {
  SshReader reader(signature);
  TRY(const ByteView r_octets, reader.PositiveMpint());
  TRY(const ByteView s_octets, reader.PositiveMpint());
  const auto half = static_cast<std::size_t>((bits + 7) / 8);
  if (!reader.AtEnd() || r_octets.size() > half || s_octets.size() > half) return Bad("not an ECDSA signature");
  Bytes raw(2 * half);
  std::copy(r_octets.begin(), r_octets.end(), raw.begin() + static_cast<std::ptrdiff_t>(half - r_octets.size()));
  std::copy(s_octets.begin(), s_octets.end(), raw.end() - static_cast<std::ptrdiff_t>(s_octets.size()));
  return EcdsaP1363ToDer(raw);
}

}  // namespace

struct SshPublicKey::Impl {
  const Kind* kind = nullptr;
  int bits = 0;
  PkeyPtr key;
  Bytes blob;
  std::string comment;
  std::string fingerprint;
};

Result<SshPublicKey> SshPublicKey::FromBlob(ByteView blob) {
  if (blob.size() > kMaxBlob) return Bad("the SSH key is too long");
  SshReader reader(blob);
  TRY(const ByteView name, reader.String());
  auto impl = std::make_shared<Impl>();
  TRY(impl->kind, FindKind(base::AsText(name)));
  switch (impl->kind->algorithm) {
    case KeyAlgorithm::kEd25519: {
      TRY(impl->key, ReadEd25519(reader));
      break;
    }
    case KeyAlgorithm::kEcdsa: {
      TRY(impl->key, ReadEcdsa(reader, *impl->kind));
      break;
    }
    case KeyAlgorithm::kRsa: {
      TRY(impl->key, ReadRsa(reader));
      break;
    }
  }
  if (!reader.AtEnd()) return Bad("the SSH key has something behind its end");
  impl->bits = impl->kind->bits != 0 ? impl->kind->bits : EVP_PKEY_get_bits(impl->key.get());
  impl->blob = base::ToBytes(blob);
  impl->fingerprint = Fingerprint(blob);
  SshPublicKey key;
  key.impl_ = std::move(impl);
  return key;
}

Result<SshPublicKey> SshPublicKey::Parse(std::string_view line) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.size() > kMaxLine) return Bad("the line of the SSH key is too long");
  const std::size_t name_end = line.find(' ');
  const std::string_view name = line.substr(0, name_end);
  const auto kind = FindKind(name);
  if (!kind) {
    if (name.find_first_of("=,\"") != std::string_view::npos) {
      return Bad("a line with authorized_keys options: give the key alone, \"ssh-ed25519 AAAA... comment\"");
    }
    return base::Error(kind.error());
  }
  if (name_end == std::string_view::npos) return Bad("the line names a key type and has no key");
  std::string_view rest = line.substr(name_end + 1);
  const std::size_t blob_end = rest.find(' ');
  const auto blob = encoding::FromBase64(rest.substr(0, blob_end));
  if (!blob || blob->empty()) return Bad("the SSH key is not base64, or more than one space stands before it");
  TRY(const SshPublicKey key, FromBlob(*blob));
  if (key.impl_->kind != *kind) return Bad("the key inside the line is of another type than the line says");

  auto impl = std::make_shared<Impl>();
  const auto& parsed = *key.impl_;
  EVP_PKEY_up_ref(parsed.key.get());
  impl->key.reset(parsed.key.get());
  impl->kind = parsed.kind;
  impl->bits = parsed.bits;
  impl->blob = parsed.blob;
  impl->fingerprint = parsed.fingerprint;
  if (blob_end != std::string_view::npos) impl->comment = rest.substr(blob_end + 1);
  if (impl->comment.size() > kMaxComment) return Bad("the comment of the SSH key is too long");
  for (char& c : impl->comment) {
    const auto octet = static_cast<unsigned char>(c);
    if (octet < 0x20 || octet == 0x7f) return Bad("a control character in the comment: give one key, one line");
    if (octet > 0x7f) c = '?';
  }
  SshPublicKey result;
  result.impl_ = std::move(impl);
  return result;
}

std::string_view SshPublicKey::algorithm() const { return impl_->kind->name; }
KeyAlgorithm SshPublicKey::key_algorithm() const { return impl_->kind->algorithm; }
int SshPublicKey::bits() const { return impl_->bits; }
const Bytes& SshPublicKey::blob() const { return impl_->blob; }
const std::string& SshPublicKey::comment() const { return impl_->comment; }
const std::string& SshPublicKey::fingerprint() const { return impl_->fingerprint; }

std::string SshPublicKey::Line() const {
  std::string line = std::string(algorithm()) + " " + encoding::ToBase64(blob());
  if (!comment().empty()) line += " " + comment();
  return line;
}

bool SshPublicKey::SameKey(const SshPublicKey& other) const {
  return impl_ && other.impl_ && impl_->blob == other.impl_->blob;
}

base::Status SshPublicKey::CheckForm(std::string_view signature_algorithm, ByteView signature) const {
  if (!impl_) return Bad("an empty SSH key verifies nothing");
  if (signature_algorithm == "ssh-rsa") return Bad("an RSA signature with SHA-1 (ssh-rsa): sign with rsa-sha2-512");
  const bool rsa = impl_->kind->algorithm == KeyAlgorithm::kRsa;
  if (rsa ? signature_algorithm != "rsa-sha2-256" && signature_algorithm != "rsa-sha2-512"
          : signature_algorithm != impl_->kind->name) {
    return Bad("the signature's algorithm does not fit the SSH key");
  }
  switch (impl_->kind->algorithm) {
    case KeyAlgorithm::kEd25519:
      if (signature.size() != 64) return Bad("the Ed25519 signature does not have 64 octets");
      break;
    case KeyAlgorithm::kEcdsa:
      TRY_VOID(EcdsaToDer(signature, impl_->bits));
      break;
    case KeyAlgorithm::kRsa:
      if (signature.size() != static_cast<std::size_t>(EVP_PKEY_get_size(impl_->key.get()))) {
        return Bad("the RSA signature does not have the octets of its modulus");
      }
      break;
  }
  return {};
}

base::Status SshPublicKey::VerifyRaw(std::string_view signature_algorithm, ByteView data, ByteView signature) const {
  TRY_VOID(CheckForm(signature_algorithm, signature));
  const EVP_MD* hash = nullptr;  // Ed25519 hashes by itself
  Bytes der;
  if (impl_->kind->algorithm == KeyAlgorithm::kEcdsa) {
    TRY(der, EcdsaToDer(signature, impl_->bits));
    signature = der;
    hash = impl_->bits == 256 ? EVP_sha256() : impl_->bits == 384 ? EVP_sha384() : EVP_sha512();  // RFC 5656 6.2.1
  } else if (impl_->kind->algorithm == KeyAlgorithm::kRsa) {
    hash = signature_algorithm == "rsa-sha2-256" ? EVP_sha256() : EVP_sha512();
  }
  const MdCtxPtr context(EVP_MD_CTX_new());
  if (!context || EVP_DigestVerifyInit(context.get(), nullptr, hash, nullptr, impl_->key.get()) != 1 ||
      EVP_DigestVerify(context.get(), signature.data(), signature.size(), data.data(), data.size()) != 1) {
    ERR_clear_error();
    return MakeError(Code::kPermissionDenied, "SignatureInvalid", "the SSH signature does not verify");
  }
  return {};
}

}  // namespace signet::crypto
