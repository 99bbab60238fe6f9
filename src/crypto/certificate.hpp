// crypto/certificate.hpp - a server's own certificate, or one of an authority of ours; who a client certificate names.
//
// A certificate of MakeServerCertificate stands for itself: a client that has it as its only root accepts it (caBundle
// of a webhook, curl --cacert), and it can sign no other (basicConstraints CA:false, no keyCertSign). Several servers
// that come and go share an Authority instead: it signs servers' certificates, and no further authority.
//
// Ownership:     values; the private key is a Secret.
// Thread-safety: no shared state.
// Blocking:      never, except for the system's random source at its first use.
// Sources:       RFC 5280 sections 4.1 and 4.2; RFC 6125; RFC 5958 (PKCS#8); Kubernetes "X.509 client certificates".
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"

namespace signet::crypto {

struct CertificateOptions {
  std::string common_name = "signet";     ///< [1, 64] octets, printable ASCII; names nothing to a client
  std::vector<std::string> dns_names;     ///< host names, "*." in front allowed
  std::vector<std::string> ip_addresses;  ///< "10.0.0.1", "::1"; both lists together: [1, 64] entries
  base::TimePoint not_before;             ///< whole seconds are kept
  base::TimePoint not_after;              ///< after not_before, before the year 10000
};

struct CertificateAndKey {
  std::string certificate_pem;
  base::Secret key_pem;  ///< PKCS#8, not encrypted
};

/// A new P-256 key and a self-signed certificate: random serial of 128 bits, serverAuth, digitalSignature.
/// @return kInvalidArgument a name, address or time that cannot stand in a certificate
base::Result<CertificateAndKey> MakeServerCertificate(const CertificateOptions& options);

struct AuthorityOptions {
  std::string common_name = "signet-ca";  ///< [1, 64] octets, printable ASCII
  base::TimePoint not_before;
  base::TimePoint not_after;
};

/// A new P-256 key and a self-signed certificate that may sign servers' certificates: CA:TRUE, pathlen:0, keyCertSign.
base::Result<CertificateAndKey> MakeAuthority(const AuthorityOptions& options);

/// An authority that was made here or elsewhere, ready to sign. Thread-safety: immutable. Move-only.
class Authority {
 public:
  /// The first certificate of `certificate_pem` and its key (P-256, P-384 or RSA), PEM, not encrypted.
  /// @return kInvalidArgument not both, they do not belong together, or the certificate may not sign others
  static base::Result<Authority> Load(std::string_view certificate_pem, const base::Secret& key_pem);
  Authority(Authority&&) noexcept;
  Authority& operator=(Authority&&) noexcept;
  ~Authority();

  /// As MakeServerCertificate, signed by this authority.
  /// @return kInvalidArgument also when the certificate would outlive the authority
  [[nodiscard]] base::Result<CertificateAndKey> Issue(const CertificateOptions& options) const;

 private:
  struct Impl;
  explicit Authority(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

struct CertificateInfo {
  base::TimePoint not_before;
  base::TimePoint not_after;
  std::vector<std::string> dns_names;
  std::vector<std::string> ip_addresses;   ///< as inet_ntop writes them
  std::string common_name;                 ///< first CN of the subject, UTF-8; Kubernetes: the user. May be empty
  std::vector<std::string> organizations;  ///< every O of the subject, UTF-8; Kubernetes: the groups
  std::string sha256;                      ///< of the DER, hex: tells one certificate from another
  bool is_authority = false;               ///< may sign other certificates
};

/// The first certificate of `pem` (at most 64 KiB; a private key beside it is passed by). Reads, trusts nothing.
/// @return kInvalidArgument no certificate, or a value that has no text (a NUL in a name)
base::Result<CertificateInfo> ReadCertificate(std::string_view pem);

}  // namespace signet::crypto
