// crypto/ssh_signature.hpp - signatures over files as `ssh-keygen -Y sign` writes them.
//
// Strict where PROTOCOL.sshsig leaves room: the reserved field is empty, nothing follows the last field, the namespace
// is printable ASCII, RSA signs with SHA-2 and as many octets as its modulus has. ssh-rsa (SHA-1) is refused.
// A signature is one of many encodings (lines may be wrapped otherwise, ECDSA is malleable): what must be counted
// once is counted by key and message, never by the signature's text.
//
// Ownership:     values. Thread-safety: values; the functions share no state. Blocking: never.
// Sources:       OpenSSH PROTOCOL.sshsig (version 1); RFC 8332 section 3 (rsa-sha2-*); RFC 5656 section 3.1.2; RFC
// 8709.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "crypto/ssh_key.hpp"
#include "encoding/algorithm.hpp"

namespace signet::crypto {

constexpr std::size_t kMaxSshSignature = 16 * 1024;  ///< octets of the armoured text
constexpr std::size_t kMaxSshNamespace = 256;        ///< octets

struct SshSignature {
  SshPublicKey key;                 ///< the key that claims to have signed: nobody until it is compared
  std::string signature_namespace;  ///< "signet-approval@signet.dev"
  encoding::HashAlgorithm hash = encoding::HashAlgorithm::kSha512;  ///< of the message: kSha256 or kSha512
  std::string algorithm;  ///< of the signature: "ssh-ed25519", "rsa-sha2-512", ...
  base::Bytes signature;  ///< the inner signature, in SSH's form
};

/// From "-----BEGIN SSH SIGNATURE-----" to the end line; one line end may follow, lines may end in CR LF.
/// @return kInvalidArgument/"MalformedSignature" too long, cut, not canonical, or a kind that is refused
base::Result<SshSignature> ParseSshSignature(std::string_view armored);

/// Does `expected` say, under `expected_namespace`, exactly `message`?
/// @return kPermissionDenied with the reason "WrongKey", "WrongNamespace" or "SignatureInvalid";
///         kInvalidArgument/"MalformedSignature" a signature or expectation that ParseSshSignature would not have made
base::Status VerifySshSignature(const SshSignature& signature, const SshPublicKey& expected,
                                std::string_view expected_namespace, base::ByteView message);

}  // namespace signet::crypto
