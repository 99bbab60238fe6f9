// crypto/tls_impl.hpp - for this module's own .cpp files: what both sides of TLS share.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "crypto/openssl_types.hpp"
#include "crypto/tls_session.hpp"
#include "crypto/tls_trust.hpp"

namespace signet::crypto {

using SslCtxPtr = std::unique_ptr<SSL_CTX, Deleter<SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, Deleter<SSL_free>>;
using SslSessionPtr = std::unique_ptr<SSL_SESSION, Deleter<SSL_SESSION_free>>;

struct TlsContext::Impl {
  SslCtxPtr context;
};

struct TlsTrust::Impl {
  SslCtxPtr context;
};

class TlsTicket {
 public:
  explicit TlsTicket(SslSessionPtr session) : session_(std::move(session)) {}
  [[nodiscard]] SSL_SESSION* get() const { return session_.get(); }

 private:
  SslSessionPtr session_;
};

/// The reasons OpenSSL has queued, oldest first, for logs: they name no secret and no octet of the peer.
std::string TakeTlsReasons();
/// TLS 1.2 and 1.3, AEAD suites with forward secrecy, no compression, no renegotiation.
bool RestrictTls(SSL_CTX* context);
/// Adds the certificates of a CA file. @return kInvalidArgument: it holds none, or something else
base::Status AddAuthorities(X509_STORE* store, std::string_view pem);

}  // namespace signet::crypto
