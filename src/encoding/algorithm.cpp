#include "encoding/algorithm.hpp"

#include <algorithm>
#include <array>

namespace signet::encoding {
namespace {

using S = SignatureAlgorithm;
using K = KeyAlgorithm;
using H = HashAlgorithm;
constexpr std::array<AlgorithmInfo, 10> kAlgorithms = {{
    {S::kEcdsaWithSha256, "ECDSAWithSHA256", K::kEcdsa, H::kSha256, Padding::kNone},
    {S::kEcdsaWithSha384, "ECDSAWithSHA384", K::kEcdsa, H::kSha384, Padding::kNone},
    {S::kEcdsaWithSha512, "ECDSAWithSHA512", K::kEcdsa, H::kSha512, Padding::kNone},
    {S::kSha256WithRsa, "SHA256WithRSA", K::kRsa, H::kSha256, Padding::kPkcs1},
    {S::kSha384WithRsa, "SHA384WithRSA", K::kRsa, H::kSha384, Padding::kPkcs1},
    {S::kSha512WithRsa, "SHA512WithRSA", K::kRsa, H::kSha512, Padding::kPkcs1},
    {S::kSha256WithRsaPss, "SHA256WithRSAPSS", K::kRsa, H::kSha256, Padding::kPss},
    {S::kSha384WithRsaPss, "SHA384WithRSAPSS", K::kRsa, H::kSha384, Padding::kPss},
    {S::kSha512WithRsaPss, "SHA512WithRSAPSS", K::kRsa, H::kSha512, Padding::kPss},
    {S::kPureEd25519, "PureEd25519", K::kEd25519, std::nullopt, Padding::kNone},
}};
constexpr std::array<std::string_view, 3> kKeyNames = {"ECDSA", "RSA", "Ed25519"};
constexpr std::array<std::string_view, 3> kHashNames = {"sha256", "sha384", "sha512"};

template <class Enum, std::size_t N>
std::optional<Enum> IndexOf(const std::array<std::string_view, N>& names, std::string_view name) {
  const auto* const found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return std::nullopt;
  return static_cast<Enum>(found - names.begin());
}

}  // namespace

std::span<const AlgorithmInfo> Algorithms() { return kAlgorithms; }

const AlgorithmInfo& Info(SignatureAlgorithm algorithm) { return kAlgorithms.at(static_cast<std::size_t>(algorithm)); }

std::optional<SignatureAlgorithm> ParseSignatureAlgorithm(std::string_view name) {
  for (const auto& info : kAlgorithms) {
    if (info.name == name) return info.algorithm;
  }
  return std::nullopt;
}

std::string_view Name(KeyAlgorithm algorithm) { return kKeyNames.at(static_cast<std::size_t>(algorithm)); }
std::optional<KeyAlgorithm> ParseKeyAlgorithm(std::string_view name) { return IndexOf<KeyAlgorithm>(kKeyNames, name); }
std::string_view Name(HashAlgorithm hash) { return kHashNames.at(static_cast<std::size_t>(hash)); }
std::optional<HashAlgorithm> ParseHashAlgorithm(std::string_view name) {
  return IndexOf<HashAlgorithm>(kHashNames, name);
}

std::size_t DigestSize(HashAlgorithm hash) {
  static constexpr std::array<std::size_t, 3> kSizes = {32, 48, 64};
  return kSizes.at(static_cast<std::size_t>(hash));
}

bool IsSupportedKeySize(KeyAlgorithm algorithm, int bits) {
  switch (algorithm) {
    case KeyAlgorithm::kEcdsa:
      return bits == 256 || bits == 384 || bits == 521;
    case KeyAlgorithm::kRsa:
      return bits == 2048 || bits == 3072 || bits == 4096;
    case KeyAlgorithm::kEd25519:
      return bits == 0 || bits == 256;
  }
  return false;
}

}  // namespace signet::encoding
