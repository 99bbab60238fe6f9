#include "kube/tls_settings.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cerrno>
#include <fstream>
#include <sstream>
#include <utility>

#include "crypto/issuers.hpp"
#include "kube/config_error.hpp"
#include "kube/read_file.hpp"
#include "kube/server_address.hpp"

namespace signet::kube {
namespace {

using base::Code;

base::Error TlsInvalid(std::string message) {
  ERR_clear_error();
  return ConfigInvalid(std::move(message));
}

struct Freer {
  void operator()(BIO* bio) const { BIO_free_all(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(X509_STORE* store) const { X509_STORE_free(store); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(STACK_OF(X509) * chain) const { sk_X509_pop_free(chain, X509_free); }
};
template <class T>
using Owned = std::unique_ptr<T, Freer>;

int NoPassword(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*user*/) { return 0; }

class Settings final : public TlsSettings {
 public:
  explicit Settings(std::string name) : name_(std::move(name)), is_address_(IsIpAddress(name_)) {}

  base::Status ReadAuthorities(const ClusterConfig& config);
  base::Status ReadClientCertificate(const ClusterConfig& config, const Credential* credential);
  void Apply(SSL_CTX* context) const override;

 private:
  using Keeper = std::shared_ptr<const TlsSettings>;
  static int KeeperIndex();
  static int VerifyPeer(X509_STORE_CTX* chain, void* self);
  static void SendName(const SSL* connection, int where, int result);

  const std::string name_;
  const bool is_address_;
  Owned<X509_STORE> authorities_;
  Owned<X509> certificate_;
  Owned<STACK_OF(X509)> chain_;
  Owned<EVP_PKEY> key_;
};

base::Status Settings::ReadAuthorities(const ClusterConfig& config) {
  std::string pem = config.ca_data;
  if (pem.empty()) {
    TRY(pem, ReadFile(config.ca_file));
  }
  const Owned<BIO> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  authorities_.reset(X509_STORE_new());
  int count = 0;
  while (const Owned<X509> certificate{PEM_read_bio_X509(bio.get(), nullptr, NoPassword, nullptr)}) {
    X509_STORE_add_cert(authorities_.get(), certificate.get());
    ++count;
  }
  ERR_clear_error();  // the end of the text is an error to OpenSSL
  if (count == 0) return TlsInvalid("the API server's CA is not a PEM certificate");
  // As Go does: a CA that is named is trusted, self-signed or not.
  X509_STORE_set_flags(authorities_.get(), X509_V_FLAG_PARTIAL_CHAIN);
  crypto::TryEveryIssuer(authorities_.get());
  return {};
}

base::Status Settings::ReadClientCertificate(const ClusterConfig& config, const Credential* credential) {
  const bool fetched = credential != nullptr && !credential->certificate.empty();
  std::string pem = fetched ? credential->certificate : config.client_certificate_data;
  if (pem.empty()) {
    if (config.client_certificate_file.empty()) return {};
    TRY(pem, ReadFile(config.client_certificate_file));
  }
  const Owned<BIO> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  certificate_.reset(PEM_read_bio_X509(bio.get(), nullptr, NoPassword, nullptr));
  if (!certificate_) return TlsInvalid("the client certificate is not PEM");
  chain_.reset(sk_X509_new_null());
  while (X509* next = PEM_read_bio_X509(bio.get(), nullptr, NoPassword, nullptr)) sk_X509_push(chain_.get(), next);
  ERR_clear_error();

  base::Secret key_text;
  if (!fetched && config.client_key_data.empty()) {
    TRY(std::string read, ReadFile(config.client_key_file));
    key_text = base::Secret(base::ToBytes(base::AsBytes(read)));
    base::WipeMemory(read.data(), read.size());
  }
  const base::ByteView key = fetched            ? credential->key.Reveal()
                             : key_text.empty() ? config.client_key_data.Reveal()
                                                : key_text.Reveal();
  const Owned<BIO> key_bio(BIO_new_mem_buf(key.data(), static_cast<int>(key.size())));
  key_.reset(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, NoPassword, nullptr));
  if (!key_) return TlsInvalid("the client key is not an unencrypted PEM key");
  if (X509_check_private_key(certificate_.get(), key_.get()) != 1) {
    return TlsInvalid("the client key does not belong to the client certificate");
  }
  return {};
}

int Settings::KeeperIndex() {
  static const int index =
      SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr,
                               [](void* /*context*/, void* keeper, CRYPTO_EX_DATA* /*data*/, int /*index*/,
                                  long /*number*/, void* /*argument*/) { delete static_cast<Keeper*>(keeper); });
  return index;
}

void Settings::Apply(SSL_CTX* context) const {
  X509_STORE_up_ref(authorities_.get());
  SSL_CTX_set_cert_store(context, authorities_.get());  // drops the system's roots that the library has loaded
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  if (certificate_) SSL_CTX_use_cert_and_key(context, certificate_.get(), key_.get(), chain_.get(), 1);
  SSL_CTX_set_ex_data(context, KeeperIndex(), new Keeper(shared_from_this()));
  SSL_CTX_set_cert_verify_callback(context, &VerifyPeer, const_cast<Settings*>(this));
  SSL_CTX_set_info_callback(context, &SendName);
}

/// Takes the place of X509_verify_cert, so that the callback that the library has set, with its own idea of the name,
/// is not asked.
int Settings::VerifyPeer(X509_STORE_CTX* chain, void* self) {
  const auto& settings = *static_cast<const Settings*>(self);
  X509_VERIFY_PARAM* expected = X509_STORE_CTX_get0_param(chain);
  X509_VERIFY_PARAM_set_hostflags(expected, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  const int set = settings.is_address_
                      ? X509_VERIFY_PARAM_set1_ip_asc(expected, settings.name_.c_str())
                      : X509_VERIFY_PARAM_set1_host(expected, settings.name_.data(), settings.name_.size());
  X509_STORE_CTX_set_verify_cb(chain, [](int verified, X509_STORE_CTX* /*chain*/) { return verified; });
  return set == 1 && X509_verify_cert(chain) == 1 ? 1 : 0;
}

void Settings::SendName(const SSL* connection, int where, int /*result*/) {
  if ((where & SSL_CB_HANDSHAKE_START) == 0) return;
  const auto* keeper = static_cast<const Keeper*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(connection), KeeperIndex()));
  const auto& settings = static_cast<const Settings&>(**keeper);
  // OpenSSL calls with the connection that it is about to work on, const by its type alone.
  if (!settings.is_address_) SSL_set_tlsext_host_name(const_cast<SSL*>(connection), settings.name_.c_str());
}

}  // namespace

base::Result<std::shared_ptr<const TlsSettings>> TlsSettings::Read(const ClusterConfig& config, std::string name,
                                                                   const Credential* credential) {
  auto settings = std::make_shared<Settings>(std::move(name));
  TRY_VOID(settings->ReadAuthorities(config));
  TRY_VOID(settings->ReadClientCertificate(config, credential));
  return std::shared_ptr<const TlsSettings>(std::move(settings));
}

}  // namespace signet::kube
