// tests/support/tls_client.hpp - the client's side of TLS over memory, by OpenSSL itself: never by code of ours.
#pragma once

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <string_view>

namespace signet::testing {

class TlsClient {
 public:
  /// Trusts `ca_pem` only and expects the host name "localhost".
  explicit TlsClient(const std::string& ca_pem) : context_(SSL_CTX_new(TLS_client_method()), SSL_CTX_free) {
    BIO* bio = BIO_new_mem_buf(ca_pem.data(), static_cast<int>(ca_pem.size()));
    X509* ca = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context_.get()), ca);
    X509_free(ca);
    SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
    Reconnect();
  }
  [[nodiscard]] SSL_CTX* context() { return context_.get(); }
  [[nodiscard]] SSL* ssl() { return ssl_.get(); }

  /// A new connection with the same settings.
  void Reconnect() {
    if (ssl_) SSL_shutdown(ssl_.get());  // else OpenSSL holds the session for a bad one and never resumes it
    ssl_.reset(SSL_new(context_.get()));
    SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    BIO_set_mem_eof_return(SSL_get_rbio(ssl_.get()), -1);
    SSL_set_connect_state(ssl_.get());
    SSL_set_tlsext_host_name(ssl_.get(), "localhost");
    SSL_set1_host(ssl_.get(), "localhost");
    error_.clear();
    closed_ = false;
  }

  /// Takes what the server sent; the handshake goes on, plaintext is in Read().
  void Receive(std::string_view ciphertext) {
    if (!ciphertext.empty())
      BIO_write(SSL_get_rbio(ssl_.get()), ciphertext.data(), static_cast<int>(ciphertext.size()));
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl_.get());
    if (result != 1) return Note(result);
    char part[4096];
    while (true) {
      const int size = SSL_read(ssl_.get(), part, sizeof(part));
      if (size <= 0) return Note(size);
      plain_.append(part, static_cast<std::size_t>(size));
    }
  }
  /// What the server is to get.
  std::string Pending() {
    char* data = nullptr;
    const long size = BIO_get_mem_data(SSL_get_wbio(ssl_.get()), &data);
    std::string text(data, size > 0 ? static_cast<std::size_t>(size) : 0);
    (void)BIO_reset(SSL_get_wbio(ssl_.get()));
    return text;
  }
  std::string Encrypt(std::string_view plain) {
    while (!plain.empty()) {
      const int size =
          SSL_write(ssl_.get(), plain.data(), static_cast<int>(std::min<std::size_t>(plain.size(), 16384)));
      if (size <= 0) break;
      plain.remove_prefix(static_cast<std::size_t>(size));
    }
    return Pending();
  }
  std::string CloseNotify() {
    SSL_shutdown(ssl_.get());
    return Pending();
  }
  std::string Read() { return std::exchange(plain_, {}); }
  [[nodiscard]] const std::string& plain() const { return plain_; }
  [[nodiscard]] bool open() const { return SSL_is_init_finished(ssl_.get()) == 1; }
  [[nodiscard]] bool closed() const { return closed_; }              ///< the server said close_notify
  [[nodiscard]] const std::string& error() const { return error_; }  ///< why it failed, by OpenSSL

 private:
  void Note(int result) {
    switch (SSL_get_error(ssl_.get(), result)) {
      case SSL_ERROR_WANT_READ:
      case SSL_ERROR_WANT_WRITE:
        return;
      case SSL_ERROR_ZERO_RETURN:
        closed_ = true;
        return;
      default: {
        if (!error_.empty()) return;
        const char* reason = ERR_reason_error_string(ERR_peek_error());
        error_ = reason != nullptr ? reason : "failed";
        ERR_clear_error();
      }
    }
  }

  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context_;
  std::unique_ptr<SSL, void (*)(SSL*)> ssl_{nullptr, SSL_free};
  std::string plain_, error_;
  bool closed_ = false;
};

}  // namespace signet::testing
