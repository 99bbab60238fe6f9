// cli/verify.hpp - `signet verify`.
#pragma once

#include <optional>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "cli/context.hpp"
#include "crypto/public_key.hpp"

namespace signet::cli {

void AddVerify(CLI::App& parent, Context& context);

/// The forms that the octets of a signature file may mean: decoded where they are base64, as they are; for ECDSA, r||s
/// as DER as well.
std::vector<base::Bytes> SignatureForms(base::ByteView octets, const crypto::PublicKey& key);

}  // namespace signet::cli
