// cli/signature_check.hpp - nothing that a socket or an API server sends is written before it has been verified here.
//
// Thread-safety: none. Blocking: reads the file of a pinned key.
#pragma once

#include <string>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "cli/sign.hpp"
#include "crypto/public_key.hpp"

namespace signet::cli {

/// A signature as the other side describes it. Every member is a claim.
struct SignatureClaim {
  std::string algorithm;   ///< "ECDSAWithSHA256"
  std::string key_id;      ///< hex SHA-256 of the public key
  std::string public_key;  ///< PEM; not used where --key names one
  base::Bytes signature;   ///< in the form that `encoding` names
  std::string encoding;    ///< "asn1" or "p1363"
};

/// The key that the signature must verify under: the file of --key, else the claimed key. Compares its computed key ID
/// with the claimed one and with --key-id.
/// @return kInvalidArgument "ConfigInvalid": --key is not a public key; "FileUnreadable"; kPermissionDenied
///         "SignatureRefused": another key than the pinned or the claimed one
base::Result<crypto::PublicKey> TrustedKey(const SignFlags& flags, const SignatureClaim& claim);

/// Verifies the claim over the input that was sent. Without --key and --key-id that shows that the signature belongs to
/// the key that the other side publishes; with one of them, that it belongs to the caller's.
/// @return the key under which it verifies; or the errors of TrustedKey, and "SignatureRefused" for an algorithm that
/// was not asked for, an empty or
///         oversized signature, and one that does not verify
base::Result<crypto::PublicKey> CheckSignature(const SignFlags& flags, const SignInput& input,
                                               const SignatureClaim& claim);

/// Ok where `key_id`, the value of --key-id, is empty or the ID of `key`; kPermissionDenied "SignatureRefused"
/// otherwise.
base::Status CheckPinnedID(const std::string& key_id, const crypto::PublicKey& key);

/// kConfiguration where the file of --key cannot be used, kFailed for what the other side sent.
ExitCode FailOfCheck(const Context& context, const base::Error& error);

/// The key of a PEM text, if it has the claimed key ID. Give out its own pem(): the text may hold more.
base::Result<crypto::PublicKey> CheckKeyID(const std::string& pem, const std::string& key_id);

}  // namespace signet::cli
