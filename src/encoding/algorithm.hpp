// encoding/algorithm.hpp - keys and signature algorithms by the names users write.
//
// One table ties each algorithm to its key type, digest and padding; nobody else
// switches on algorithms. Names are cert-manager's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace signet::encoding {

enum class KeyAlgorithm : std::uint8_t { kEcdsa, kRsa, kEd25519 };
enum class HashAlgorithm : std::uint8_t { kSha256, kSha384, kSha512 };
enum class Padding : std::uint8_t { kNone, kPkcs1, kPss };

enum class SignatureAlgorithm : std::uint8_t {
  kEcdsaWithSha256,
  kEcdsaWithSha384,
  kEcdsaWithSha512,
  kSha256WithRsa,
  kSha384WithRsa,
  kSha512WithRsa,
  kSha256WithRsaPss,
  kSha384WithRsaPss,
  kSha512WithRsaPss,
  kPureEd25519,
};

struct AlgorithmInfo {
  SignatureAlgorithm algorithm;
  std::string_view name;  ///< "ECDSAWithSHA256", ...
  KeyAlgorithm key;
  std::optional<HashAlgorithm> hash;  ///< nothing for schemes that sign the message itself (PureEd25519)
  Padding padding;
};

/// All algorithms, in the enum's order.
std::span<const AlgorithmInfo> Algorithms();
const AlgorithmInfo& Info(SignatureAlgorithm algorithm);
std::optional<SignatureAlgorithm> ParseSignatureAlgorithm(std::string_view name);

/// "ECDSA", "RSA", "Ed25519".
std::string_view Name(KeyAlgorithm algorithm);
std::optional<KeyAlgorithm> ParseKeyAlgorithm(std::string_view name);

/// "sha256", "sha384", "sha512", as in OCI digests.
std::string_view Name(HashAlgorithm hash);
std::optional<HashAlgorithm> ParseHashAlgorithm(std::string_view name);
/// 32, 48 or 64 bytes.
std::size_t DigestSize(HashAlgorithm hash);

/// ECDSA 256|384|521, RSA 2048|3072|4096, Ed25519 256 (or 0: not written).
bool IsSupportedKeySize(KeyAlgorithm algorithm, int bits);

}  // namespace signet::encoding
