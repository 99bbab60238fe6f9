// crypto/ssh_key.hpp - OpenSSH public keys: one line of a .pub or authorized_keys file, or its blob.
//
// Served: ssh-ed25519, ecdsa-sha2-nistp256/384/521, ssh-rsa of 2048 to 8192 bits. Refused by name: security keys
// (sk-*), certificates (*-cert-v01@openssh.com), DSA, and lines that start with authorized_keys options.
//
// Ownership:     an SshPublicKey shares one immutable value; copies are cheap.
// Thread-safety: const calls from any thread.
// Blocking:      never.
// Errors:        kInvalidArgument, with a message that says what to do.
// Sources:       RFC 4253 section 6.6 (ssh-rsa), RFC 5656 section 3.1 (ECDSA), RFC 8709 section 4 (Ed25519), RFC 4251
//                section 5 (string, mpint); sshd(8) "AUTHORIZED_KEYS FILE FORMAT".
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "encoding/algorithm.hpp"

namespace signet::crypto {

class SshPublicKey {
 public:
  static constexpr std::size_t kMaxLine = 16 * 1024;  ///< octets of a line
  static constexpr std::size_t kMaxBlob = 4 * 1024;   ///< octets of a blob; RSA with 8192 bits needs about 1050
  static constexpr std::size_t kMaxComment = 1024;    ///< octets of a comment

  SshPublicKey() = default;  ///< empty; compares unequal to every key, verifies nothing

  /// "ssh-ed25519 AAAA... comment", one space between the fields; one line end may follow. In the comment, octets that
  /// are not ASCII become '?'; control characters are refused.
  static base::Result<SshPublicKey> Parse(std::string_view line);
  /// The blob alone, as it stands inside a signature. No comment.
  static base::Result<SshPublicKey> FromBlob(base::ByteView blob);

  [[nodiscard]] bool empty() const { return impl_ == nullptr; }
  // The rest needs a key that is not empty.
  [[nodiscard]] std::string_view algorithm() const;  ///< "ssh-ed25519", ...
  [[nodiscard]] encoding::KeyAlgorithm key_algorithm() const;
  [[nodiscard]] int bits() const;                        ///< 256, 384, 521 / of the RSA modulus
  [[nodiscard]] const base::Bytes& blob() const;         ///< RFC 4253 section 6.6
  [[nodiscard]] const std::string& comment() const;      ///< may be empty; says nothing about who holds the key
  [[nodiscard]] const std::string& fingerprint() const;  ///< "SHA256:..." as ssh-keygen -l prints it
  [[nodiscard]] std::string Line() const;                ///< "algorithm base64[ comment]", no line end

  /// Same key, whatever the comments. Empty keys equal nothing.
  [[nodiscard]] bool SameKey(const SshPublicKey& other) const;

  /// Could this key have made a signature of this form? VerifyRaw's kInvalidArgument, without its cost.
  [[nodiscard]] base::Status CheckForm(std::string_view signature_algorithm, base::ByteView signature) const;
  /// Checks one signature over `data`, both as RFC 4253 section 6.6 has them: `signature_algorithm` "ssh-ed25519",
  /// "ecdsa-sha2-nistp256", "rsa-sha2-512", ... and the octets of the inner string. VerifySshSignature is the call
  /// for files; this one knows no namespace.
  /// @return kInvalidArgument the algorithm does not fit the key, or the signature is not well formed for it;
  ///         kPermissionDenied/"SignatureInvalid" it does not verify
  [[nodiscard]] base::Status VerifyRaw(std::string_view signature_algorithm, base::ByteView data,
                                       base::ByteView signature) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace signet::crypto
