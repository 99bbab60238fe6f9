#include "cli/signature_check.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cli/io.hpp"
#include "crypto/digest.hpp"
#include "encoding/algorithm.hpp"

namespace signet::cli {
namespace {

using base::Code;

constexpr std::size_t kMaxKeyFile = 64UL * 1024;
constexpr std::size_t kMaxSignature = 2048;  ///< RSA-16384 has 2048 bytes

base::Error Refused(std::string message) {
  return base::MakeError(Code::kPermissionDenied, "SignatureRefused", std::move(message));
}

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return text;
}

/// What was signed under this algorithm: the digest, or the message.
base::Result<base::Bytes> SignedInput(const SignInput& input, const encoding::AlgorithmInfo& info) {
  if (!info.hash) {
    if (input.message) return *input.message;
    return Refused(fmt::format("the answer's algorithm {} signs messages, and a digest was sent", info.name));
  }
  if (input.message) return crypto::Hash(*info.hash, *input.message);
  if (input.digest->hash != *info.hash) {
    return Refused(fmt::format("the answer's algorithm {} signs another digest than the {} that was sent", info.name,
                               encoding::Name(input.digest->hash)));
  }
  return input.digest->value;
}

}  // namespace

base::Result<crypto::PublicKey> TrustedKey(const SignFlags& flags, const SignatureClaim& claim) {
  crypto::PublicKey key;
  if (!flags.key.empty()) {
    TRY(const auto pem, ReadAll(flags.key, kMaxKeyFile));
    auto pinned = crypto::PublicKey::FromPem(base::AsText(pem));
    if (!pinned) {
      return base::MakeError(Code::kInvalidArgument, "ConfigInvalid",
                             fmt::format("--key {}: {}", flags.key, pinned.error().message));
    }
    key = std::move(*pinned);
  } else {
    auto published = crypto::PublicKey::FromPem(claim.public_key);
    if (!published) return Refused("no public key came with the signature, so it cannot be verified: give --key");
    key = std::move(*published);
  }
  TRY_VOID(CheckPinnedID(flags.key_id, key));
  if (claim.key_id != key.keyID()) {
    return Refused(fmt::format("the answer names key {}, the {} key is {}", claim.key_id,
                               flags.key.empty() ? "published" : "pinned", key.keyID()));
  }
  return key;
}

base::Result<crypto::PublicKey> CheckSignature(const SignFlags& flags, const SignInput& input,
                                               const SignatureClaim& claim) {
  TRY(auto key, TrustedKey(flags, claim));
  const auto algorithm = encoding::ParseSignatureAlgorithm(claim.algorithm);
  if (!algorithm) return Refused("the answer names no signature algorithm of Signet");
  if (!flags.algorithm.empty() && claim.algorithm != flags.algorithm) {
    return Refused(fmt::format("the answer was made with {}, not with {} as asked", claim.algorithm, flags.algorithm));
  }
  const auto& info = encoding::Info(*algorithm);
  if (claim.signature.empty() || claim.signature.size() > kMaxSignature) {
    return Refused(fmt::format("the answer's signature has {} bytes", claim.signature.size()));
  }
  base::Bytes signature = claim.signature;
  if (claim.encoding == "p1363" && info.key == encoding::KeyAlgorithm::kEcdsa) {
    constexpr std::size_t kBits = 8;
    if (signature.size() != 2 * ((static_cast<std::size_t>(key.bits()) + kBits - 1) / kBits)) {
      return Refused("the answer's signature is not in the form r||s that was asked for");
    }
    auto der = crypto::EcdsaP1363ToDer(signature);
    if (!der) return Refused("the answer's signature is not in the form r||s that was asked for");
    signature = std::move(*der);
  }
  TRY(const auto signed_input, SignedInput(input, info));
  if (const auto verified = key.Verify(*algorithm, signed_input, signature); !verified) {
    return Refused(
        fmt::format("the answer's signature does not verify under key {}: {}", key.keyID(), verified.error().message));
  }
  return key;
}

base::Status CheckPinnedID(const std::string& key_id, const crypto::PublicKey& key) {
  if (key_id.empty() || Lower(key_id) == key.keyID()) return {};
  return Refused(fmt::format("the key is {}, not {} as --key-id asks", key.keyID(), Lower(key_id)));
}

ExitCode FailOfCheck(const Context& context, const base::Error& error) {
  const bool file = error.reason == "FileUnreadable" || error.reason == "ConfigInvalid";
  return Fail(context, file ? ExitCode::kConfiguration : ExitCode::kFailed, error);
}

base::Result<crypto::PublicKey> CheckKeyID(const std::string& pem, const std::string& key_id) {
  auto key = crypto::PublicKey::FromPem(pem);
  if (!key) return Refused("the published key is not a public key in PEM: " + key.error().message);
  if (key->keyID() != key_id) {
    return Refused(fmt::format("the published key is {}, but is named {}", key->keyID(), key_id));
  }
  return key;
}

}  // namespace signet::cli
