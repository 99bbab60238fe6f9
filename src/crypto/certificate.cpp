#include "crypto/certificate.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "base/bytes.hpp"
#include "crypto/digest.hpp"
#include "crypto/openssl_types.hpp"

namespace signet::crypto {
namespace {

using base::Code;
using base::MakeError;
using base::Result;
using base::TimePoint;

constexpr std::size_t kMaxNames = 64;
constexpr std::size_t kMaxPem = 64 * 1024;
constexpr int kLeastSecurity = 112;  // bits
constexpr std::time_t kYear10000 = 253402300800;

using ExtensionPtr = std::unique_ptr<X509_EXTENSION, Deleter<X509_EXTENSION_free>>;
using NamesPtr = std::unique_ptr<GENERAL_NAMES, Deleter<GENERAL_NAMES_free>>;
using NamePtr = std::unique_ptr<GENERAL_NAME, Deleter<GENERAL_NAME_free>>;
using StringPtr = std::unique_ptr<ASN1_STRING, Deleter<ASN1_STRING_free>>;
using IntegerPtr = std::unique_ptr<ASN1_INTEGER, Deleter<ASN1_INTEGER_free>>;

base::Error Broken() {
  ERR_clear_error();
  return MakeError(Code::kInternal, "the certificate cannot be made");
}

std::time_t Seconds(TimePoint time) {
  return std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count();
}

/// RFC 1123 section 2.1 labels; "*" may stand for the first.
bool IsHostName(std::string_view name) {
  if (name.empty() || name.size() > 253) return false;
  if (name.starts_with("*.")) name.remove_prefix(2);
  while (true) {
    const std::size_t end = name.find('.');
    const std::string_view label = name.substr(0, end);
    if (label.empty() || label.size() > 63 || label.front() == '-' || label.back() == '-') return false;
    for (const char c : label) {
      if ((c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-') return false;
    }
    if (end == std::string_view::npos) return true;
    name.remove_prefix(end + 1);
  }
}

base::Status CheckNameAndTimes(const std::string& name, TimePoint not_before, TimePoint not_after) {
  if (name.empty() || name.size() > 64 ||
      !std::all_of(name.begin(), name.end(), [](char c) { return c >= 0x20 && c < 0x7f; })) {
    return Bad("a certificate's common name has 1 to 64 printable ASCII characters");
  }
  const std::time_t from = Seconds(not_before);
  const std::time_t until = Seconds(not_after);
  if (from < 0 || until <= from || until >= kYear10000) return Bad("a certificate must end after it begins");
  return {};
}

base::Status Check(const CertificateOptions& options) {
  TRY_VOID(CheckNameAndTimes(options.common_name, options.not_before, options.not_after));
  const std::size_t count = options.dns_names.size() + options.ip_addresses.size();
  if (count == 0 || count > kMaxNames) return Bad("a certificate needs 1 to 64 host names and addresses");
  for (const std::string& host : options.dns_names) {
    if (!IsHostName(host)) return Bad("not a host name for a certificate: \"" + host + "\"");
  }
  return {};
}

bool Push(GENERAL_NAMES* names, int type, ASN1_STRING* value) {
  NamePtr name(GENERAL_NAME_new());
  if (!name || value == nullptr) {
    ASN1_STRING_free(value);
    return false;
  }
  GENERAL_NAME_set0_value(name.get(), type, value);
  if (sk_GENERAL_NAME_push(names, name.get()) <= 0) return false;
  [[maybe_unused]] const auto* owned = name.release();
  return true;
}

Result<NamesPtr> AlternativeNames(const CertificateOptions& options) {
  NamesPtr names(sk_GENERAL_NAME_new_null());
  if (!names) return Broken();
  for (const std::string& host : options.dns_names) {
    StringPtr text(ASN1_IA5STRING_new());
    if (!text || ASN1_STRING_set(text.get(), host.data(), static_cast<int>(host.size())) != 1 ||
        !Push(names.get(), GEN_DNS, text.release())) {
      return Broken();
    }
  }
  for (const std::string& address : options.ip_addresses) {
    const bool whole = address.find('\0') == std::string::npos;
    ASN1_OCTET_STRING* octets = whole ? a2i_IPADDRESS(address.c_str()) : nullptr;
    if (octets == nullptr) return Bad("not an IP address for a certificate: \"" + address + "\"");
    if (!Push(names.get(), GEN_IPADD, octets)) return Broken();
  }
  return names;
}

bool AddExtension(X509* certificate, X509V3_CTX* context, int nid, const char* value) {
  const ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, context, nid, value));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool SetSerial(X509* certificate) {
  base::Bytes octets = RandomBytes(16);
  octets[0] |= 0x01U;  // never zero: RFC 5280 section 4.1.2.2
  const BnPtr number(BN_bin2bn(octets.data(), static_cast<int>(octets.size()), nullptr));
  const IntegerPtr serial(number ? BN_to_ASN1_INTEGER(number.get(), nullptr) : nullptr);
  return serial && X509_set_serialNumber(certificate, serial.get()) == 1;
}

/// All that certificates of both kinds have; `issuer` nullptr: it signs itself.
bool FillFrame(X509* certificate, EVP_PKEY* key, const std::string& common_name, TimePoint from, TimePoint until,
               const X509* issuer) {
  X509_NAME* subject = X509_get_subject_name(certificate);
  const auto* name = reinterpret_cast<const unsigned char*>(common_name.data());
  return X509_set_version(certificate, X509_VERSION_3) == 1 && SetSerial(certificate) &&
         X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_ASC, name, static_cast<int>(common_name.size()),
                                    -1, 0) == 1 &&
         X509_set_issuer_name(certificate, issuer == nullptr ? subject : X509_get_subject_name(issuer)) == 1 &&
         ASN1_TIME_set(X509_getm_notBefore(certificate), Seconds(from)) != nullptr &&
         ASN1_TIME_set(X509_getm_notAfter(certificate), Seconds(until)) != nullptr &&
         X509_set_pubkey(certificate, key) == 1;
}

bool FillServer(X509* certificate, EVP_PKEY* key, const CertificateOptions& options, GENERAL_NAMES* names,
                X509* issuer) {
  if (!FillFrame(certificate, key, options.common_name, options.not_before, options.not_after, issuer)) return false;
  X509V3_CTX context{};
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer == nullptr ? certificate : issuer, certificate, nullptr, nullptr, 0);
  return AddExtension(certificate, &context, NID_basic_constraints, "critical,CA:FALSE") &&
         AddExtension(certificate, &context, NID_key_usage, "critical,digitalSignature") &&
         AddExtension(certificate, &context, NID_ext_key_usage, "serverAuth") &&
         AddExtension(certificate, &context, NID_subject_key_identifier, "hash") &&
         // Not "always": an authority that was made elsewhere may have no key identifier.
         (issuer == nullptr || AddExtension(certificate, &context, NID_authority_key_identifier, "keyid")) &&
         X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
}

bool FillAuthority(X509* certificate, EVP_PKEY* key, const AuthorityOptions& options) {
  if (!FillFrame(certificate, key, options.common_name, options.not_before, options.not_after, nullptr)) return false;
  X509V3_CTX context{};
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  return AddExtension(certificate, &context, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
         AddExtension(certificate, &context, NID_key_usage, "critical,keyCertSign,cRLSign") &&
         AddExtension(certificate, &context, NID_subject_key_identifier, "hash");
}

std::string_view Contents(BIO* bio) {
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio, &text);
  return {text, size > 0 ? static_cast<std::size_t>(size) : 0};
}

Result<CertificateAndKey> Write(X509* certificate, EVP_PKEY* key) {
  const BioPtr public_part(BIO_new(BIO_s_mem()));
  const BioPtr private_part(BIO_new(BIO_s_secmem()));  // wiped when it grows and when it goes
  if (!public_part || !private_part || PEM_write_bio_X509(public_part.get(), certificate) != 1 ||
      PEM_write_bio_PKCS8PrivateKey(private_part.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return Broken();
  }
  return CertificateAndKey{std::string(Contents(public_part.get())),
                           base::Secret(base::ToBytes(base::AsBytes(Contents(private_part.get()))))};
}

/// RFC 5280 sections 4.2.1.3 and 4.2.1.9. Without keyUsage every use is allowed.
bool MaySign(X509* certificate) {
  const std::uint32_t flags = X509_get_extension_flags(certificate);
  if ((flags & EXFLAG_INVALID) != 0 || (flags & EXFLAG_CA) == 0) return false;
  return (flags & EXFLAG_KUSAGE) == 0 || (X509_get_key_usage(certificate) & KU_KEY_CERT_SIGN) != 0;
}

Result<TimePoint> ToTimePoint(const ASN1_TIME* time) {
  std::tm parts{};
  if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1) return Bad("the certificate has a time that is none");
  return TimePoint(std::chrono::seconds(::timegm(&parts)));
}

Result<std::string> Text(const ASN1_STRING* value) {
  unsigned char* utf8 = nullptr;
  const int size = ASN1_STRING_to_UTF8(&utf8, value);
  if (size < 0) return Bad("the certificate has a name that is no text");
  std::string text(reinterpret_cast<const char*>(utf8), static_cast<std::size_t>(size));
  OPENSSL_free(utf8);
  // "alice\0.evil": whoever compares such names as C strings sees another one.
  if (text.find('\0') != std::string::npos) return Bad("the certificate has a name with a NUL in it");
  return text;
}

Result<std::vector<std::string>> SubjectValues(const X509* certificate, int nid) {
  std::vector<std::string> values;
  const X509_NAME* subject = X509_get_subject_name(certificate);
  for (int at = X509_NAME_get_index_by_NID(subject, nid, -1); at >= 0;
       at = X509_NAME_get_index_by_NID(subject, nid, at)) {
    TRY(std::string value, Text(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at))));
    values.push_back(std::move(value));
  }
  return values;
}

Result<std::string> FormatAddress(base::ByteView octets) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (octets.size() == 4) {
    ::inet_ntop(AF_INET, octets.data(), text.data(), text.size());
  } else if (octets.size() == 16) {
    ::inet_ntop(AF_INET6, octets.data(), text.data(), text.size());
  } else {
    return Bad("the certificate has an IP address that is none");
  }
  return std::string(text.data());
}

base::Status ReadNames(const X509* certificate, CertificateInfo& info) {
  const NamesPtr names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    int type = 0;
    const auto* value =
        static_cast<const ASN1_STRING*>(GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), i), &type));
    if (type == GEN_DNS) {
      TRY(std::string host, Text(value));
      info.dns_names.push_back(std::move(host));
    } else if (type == GEN_IPADD) {
      const base::ByteView octets(ASN1_STRING_get0_data(value), static_cast<std::size_t>(ASN1_STRING_length(value)));
      TRY(std::string address, FormatAddress(octets));
      info.ip_addresses.push_back(std::move(address));
    }
  }
  return {};
}

}  // namespace

Result<CertificateAndKey> MakeServerCertificate(const CertificateOptions& options) {
  TRY_VOID(Check(options));
  TRY(const NamesPtr names, AlternativeNames(options));
  const PkeyPtr key(EVP_EC_gen("P-256"));
  const X509Ptr certificate(X509_new());
  if (!key || !certificate || !FillServer(certificate.get(), key.get(), options, names.get(), nullptr) ||
      X509_sign(certificate.get(), key.get(), EVP_sha256()) <= 0) {
    return Broken();
  }
  return Write(certificate.get(), key.get());
}

Result<CertificateAndKey> MakeAuthority(const AuthorityOptions& options) {
  TRY_VOID(CheckNameAndTimes(options.common_name, options.not_before, options.not_after));
  const PkeyPtr key(EVP_EC_gen("P-256"));
  const X509Ptr certificate(X509_new());
  if (!key || !certificate || !FillAuthority(certificate.get(), key.get(), options) ||
      X509_sign(certificate.get(), key.get(), EVP_sha256()) <= 0) {
    return Broken();
  }
  return Write(certificate.get(), key.get());
}

struct Authority::Impl {
  X509Ptr certificate;
  PkeyPtr key;
};

Authority::Authority(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Authority::Authority(Authority&&) noexcept = default;
Authority& Authority::operator=(Authority&&) noexcept = default;
Authority::~Authority() = default;

Result<Authority> Authority::Load(std::string_view certificate_pem, const base::Secret& key_pem) {
  if (certificate_pem.size() > kMaxPem || key_pem.Reveal().size() > kMaxPem) {
    return Bad("the authority's certificate or key is longer than 64 KiB");
  }
  auto impl = std::make_unique<Impl>();
  const BioPtr public_part = MemoryBio(certificate_pem);
  impl->certificate.reset(public_part ? PEM_read_bio_X509(public_part.get(), nullptr, NoPassword, nullptr) : nullptr);
  if (!impl->certificate) return Bad("the authority's certificate is not PEM");
  const BioPtr private_part = MemoryBio(base::AsText(key_pem.Reveal()));
  impl->key.reset(private_part ? PEM_read_bio_PrivateKey(private_part.get(), nullptr, NoPassword, nullptr) : nullptr);
  if (!impl->key) return Bad("the authority's key is not PEM");
  const int kind = EVP_PKEY_get_base_id(impl->key.get());
  if ((kind != EVP_PKEY_EC && kind != EVP_PKEY_RSA) || EVP_PKEY_get_security_bits(impl->key.get()) < kLeastSecurity) {
    return Bad("the authority's key must be an EC or RSA key of at least 112 bits of security");
  }
  if (X509_check_private_key(impl->certificate.get(), impl->key.get()) != 1) {
    return Bad("the authority's certificate and key do not belong together");
  }
  if (!MaySign(impl->certificate.get())) {
    return Bad("the authority's certificate may not sign others (basicConstraints CA, keyUsage keyCertSign)");
  }
  return Authority(std::move(impl));
}

Result<CertificateAndKey> Authority::Issue(const CertificateOptions& options) const {
  TRY_VOID(Check(options));
  TRY(const TimePoint end, ToTimePoint(X509_get0_notAfter(impl_->certificate.get())));
  if (Seconds(options.not_after) > Seconds(end)) return Bad("a certificate must not outlive its authority");
  TRY(const NamesPtr names, AlternativeNames(options));
  const PkeyPtr key(EVP_EC_gen("P-256"));
  const X509Ptr certificate(X509_new());
  if (!key || !certificate ||
      !FillServer(certificate.get(), key.get(), options, names.get(), impl_->certificate.get()) ||
      X509_sign(certificate.get(), impl_->key.get(), EVP_sha256()) <= 0) {
    return Broken();
  }
  return Write(certificate.get(), key.get());
}

Result<CertificateInfo> ReadCertificate(std::string_view pem) {
  if (pem.size() > kMaxPem) return Bad("the certificate is longer than 64 KiB");
  const BioPtr bio = MemoryBio(pem);
  const X509Ptr certificate(bio ? PEM_read_bio_X509(bio.get(), nullptr, NoPassword, nullptr) : nullptr);
  if (!certificate) return Bad("not a PEM certificate");
  CertificateInfo info;
  TRY(info.not_before, ToTimePoint(X509_get0_notBefore(certificate.get())));
  TRY(info.not_after, ToTimePoint(X509_get0_notAfter(certificate.get())));
  TRY_VOID(ReadNames(certificate.get(), info));
  TRY(const auto common_names, SubjectValues(certificate.get(), NID_commonName));
  if (!common_names.empty()) info.common_name = common_names.front();
  TRY(info.organizations, SubjectValues(certificate.get(), NID_organizationName));
  info.is_authority = MaySign(certificate.get());
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate.get(), &der);
  if (size <= 0) return Bad("the certificate cannot be encoded");
  info.sha256 = Sha256Hex({der, static_cast<std::size_t>(size)});
  OPENSSL_free(der);
  ERR_clear_error();
  return info;
}

}  // namespace signet::crypto
