// frontend/sign_body.hpp - the bodies of POST /v1/sign and POST /v1/sign/batch.
//
// Strict: an unknown or repeated member, a wrong type, both or neither of digest and message are
// refused by name. Pure functions of the text, made to be fuzzed.
//
// Errors: kInvalidArgument, reason "Malformed" (or "TooLarge": a message over 64 KiB), message
//         "items[3].digest: what".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "signing/service.hpp"

namespace signet::frontend {

inline constexpr std::size_t kMaxBatchItems = 256;

/// How ECDSA signatures are written: DER ECDSA-Sig-Value, or r||s as IEEE P1363 has it.
enum class SignatureEncoding : std::uint8_t { kAsn1, kP1363 };

struct SignBody {
  signing::SignCall call;
  SignatureEncoding encoding = SignatureEncoding::kAsn1;
};

/// {policy, digest | message, algorithm?, artifact?, encoding?}
base::Result<SignBody> ParseSignBody(std::string_view text);

/// {policy, items: [{digest | message, algorithm?, artifact?, encoding?}, ...]}, 1 to 256 items. Every
/// item's call carries the policy.
base::Result<std::vector<SignBody>> ParseBatchBody(std::string_view text);

}  // namespace signet::frontend
