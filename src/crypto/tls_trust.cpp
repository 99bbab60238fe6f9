#include "crypto/tls_trust.hpp"

#include <array>

#include "crypto/issuers.hpp"
#include "crypto/tls_impl.hpp"

namespace signet::crypto {
namespace {

using base::Code;
using base::MakeError;

constexpr std::array<unsigned char, 9> kProtocols = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};

}  // namespace

base::Status AddAuthorities(X509_STORE* store, std::string_view pem) {
  const BioPtr bio = MemoryBio(pem);
  int count = 0;
  while (bio) {
    const X509Ptr certificate(PEM_read_bio_X509(bio.get(), nullptr, NoPassword, nullptr));
    if (!certificate) break;
    if (X509_STORE_add_cert(store, certificate.get()) != 1) return Bad("a certificate of the CA file cannot be used");
    ++count;
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!at_end) return Bad("the CA file holds something that is no PEM certificate");
  if (count == 0) return Bad("the CA file holds no PEM certificate");
  TryEveryIssuer(store);
  return {};
}

TlsTrust::TlsTrust(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TlsTrust::~TlsTrust() = default;

base::Result<std::shared_ptr<const TlsTrust>> TlsTrust::Create(std::string_view authorities) {
  if (authorities.size() > kMaxPem) return Bad("the CA file is longer than 256 KiB");
  ERR_clear_error();
  auto impl = std::make_unique<Impl>();
  impl->context.reset(SSL_CTX_new(TLS_client_method()));
  SSL_CTX* context = impl->context.get();
  if (context == nullptr || !RestrictTls(context) ||
      SSL_CTX_set_alpn_protos(context, kProtocols.data(), kProtocols.size()) != 0) {
    return MakeError(Code::kInternal, "this OpenSSL cannot speak TLS: " + TakeTlsReasons());
  }
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  TRY_VOID(AddAuthorities(SSL_CTX_get_cert_store(context), authorities));
  return std::shared_ptr<const TlsTrust>(new TlsTrust(std::move(impl)));
}

}  // namespace signet::crypto
