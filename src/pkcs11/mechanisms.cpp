#include "pkcs11/mechanisms.hpp"

#include <array>
#include <cstddef>

namespace signet::pkcs11 {
namespace {

using encoding::HashAlgorithm;
using encoding::KeyAlgorithm;
using A = encoding::SignatureAlgorithm;

// In the enum's order.
constexpr std::array kMechanisms = {
    SignMechanism{A::kEcdsaWithSha256, CKM_ECDSA, Input::kDigest, 0, 0},
    SignMechanism{A::kEcdsaWithSha384, CKM_ECDSA, Input::kDigest, 0, 0},
    SignMechanism{A::kEcdsaWithSha512, CKM_ECDSA, Input::kDigest, 0, 0},
    SignMechanism{A::kSha256WithRsa, CKM_RSA_PKCS, Input::kDigestInfo, 0, 0},
    SignMechanism{A::kSha384WithRsa, CKM_RSA_PKCS, Input::kDigestInfo, 0, 0},
    SignMechanism{A::kSha512WithRsa, CKM_RSA_PKCS, Input::kDigestInfo, 0, 0},
    SignMechanism{A::kSha256WithRsaPss, CKM_RSA_PKCS_PSS, Input::kDigest, CKM_SHA256, CKG_MGF1_SHA256},
    SignMechanism{A::kSha384WithRsaPss, CKM_RSA_PKCS_PSS, Input::kDigest, CKM_SHA384, CKG_MGF1_SHA384},
    SignMechanism{A::kSha512WithRsaPss, CKM_RSA_PKCS_PSS, Input::kDigest, CKM_SHA512, CKG_MGF1_SHA512},
    SignMechanism{A::kPureEd25519, CKM_EDDSA, Input::kMessage, 0, 0},
};

template <std::size_t N>
constexpr std::array<std::uint8_t, N - 1> Octets(const char (&text)[N]) {
  std::array<std::uint8_t, N - 1> octets{};
  for (std::size_t i = 0; i < N - 1; ++i) octets[i] = static_cast<std::uint8_t>(text[i]);
  return octets;
}

constexpr auto kInfo256 = Octets("\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20");
constexpr auto kInfo384 = Octets("\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30");
constexpr auto kInfo512 = Octets("\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40");

constexpr auto kP256 = Octets("\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07");
constexpr auto kP384 = Octets("\x06\x05\x2b\x81\x04\x00\x22");
constexpr auto kP521 = Octets("\x06\x05\x2b\x81\x04\x00\x23");
constexpr auto kEdwardsName = Octets(
    "\x13\x0c"
    "edwards25519");
constexpr auto kEdwardsOid = Octets("\x06\x03\x2b\x65\x70");

constexpr std::array<base::ByteView, 1> kCurve256 = {kP256};
constexpr std::array<base::ByteView, 1> kCurve384 = {kP384};
constexpr std::array<base::ByteView, 1> kCurve521 = {kP521};
constexpr std::array<base::ByteView, 2> kCurveEdwards = {kEdwardsName, kEdwardsOid};

constexpr std::array kKinds = {
    KeyKind{KeyAlgorithm::kEcdsa, 256, CKK_EC, CKM_EC_KEY_PAIR_GEN, 32, kCurve256},
    KeyKind{KeyAlgorithm::kEcdsa, 384, CKK_EC, CKM_EC_KEY_PAIR_GEN, 48, kCurve384},
    KeyKind{KeyAlgorithm::kEcdsa, 521, CKK_EC, CKM_EC_KEY_PAIR_GEN, 66, kCurve521},
    KeyKind{KeyAlgorithm::kRsa, 0, CKK_RSA, CKM_RSA_PKCS_KEY_PAIR_GEN, 0, {}},
    KeyKind{KeyAlgorithm::kEd25519, 0, CKK_EC_EDWARDS, CKM_EC_EDWARDS_KEY_PAIR_GEN, 0, kCurveEdwards},
};

}  // namespace

const SignMechanism& MechanismOf(encoding::SignatureAlgorithm algorithm) {
  return kMechanisms.at(static_cast<std::size_t>(algorithm));
}

base::ByteView DigestInfoPrefix(HashAlgorithm hash) {
  constexpr std::array<base::ByteView, 3> kPrefixes = {kInfo256, kInfo384, kInfo512};
  return kPrefixes.at(static_cast<std::size_t>(hash));
}

const KeyKind* KindOf(KeyAlgorithm algorithm, int bits) {
  for (const auto& kind : kKinds) {
    if (kind.algorithm == algorithm && (kind.bits == 0 || kind.bits == bits)) return &kind;
  }
  return nullptr;
}

const KeyKind* KindOf(CK_KEY_TYPE type) {
  for (const auto& kind : kKinds) {
    if (kind.key_type == type) return &kind;
  }
  return nullptr;
}

}  // namespace signet::pkcs11
