#include "crypto/tls_session.hpp"

#include <arpa/inet.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>

#include "crypto/tls_impl.hpp"

namespace signet::crypto {
namespace {

using base::ByteView;
using base::Code;
using base::MakeError;
using base::Result;

constexpr std::size_t kRecord = 16 * 1024;
constexpr const char* kSuites12 =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
constexpr const char* kSuites13 = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
constexpr std::string_view kProtocol = "http/1.1";

/// RFC 7301 section 3.2: a client that names protocols and not ours gets no_application_protocol.
int SelectProtocol(SSL* /*ssl*/, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                   unsigned in_size, void* /*data*/) {
  for (unsigned at = 0; at < in_size;) {
    const unsigned size = in[at];
    if (size >= in_size - at) break;
    if (base::AsText({in + at + 1, size}) == kProtocol) {
      *out = in + at + 1;
      *out_size = static_cast<unsigned char>(size);
      return SSL_TLSEXT_ERR_OK;
    }
    at += size + 1;
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

base::Status Restrict(SSL_CTX* context) {
  SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);  // tickets only: nothing to hold for the absent
  static constexpr std::string_view kSessionContext = "signet";
  if (!RestrictTls(context) || SSL_CTX_set_num_tickets(context, 1) != 1 ||
      SSL_CTX_set_max_early_data(context, 0) != 1 ||
      SSL_CTX_set_session_id_context(context, base::AsBytes(kSessionContext).data(), kSessionContext.size()) != 1) {
    return MakeError(Code::kInternal, "this OpenSSL cannot serve TLS: " + TakeTlsReasons());
  }
  SSL_CTX_set_alpn_select_cb(context, SelectProtocol, nullptr);
  return {};
}

base::Status UseCertificates(SSL_CTX* context, std::string_view pem) {
  const BioPtr bio = MemoryBio(pem);
  X509Ptr certificate(bio ? PEM_read_bio_X509(bio.get(), nullptr, NoPassword, nullptr) : nullptr);
  if (!certificate) return Bad("the server's certificate is not PEM");
  if (SSL_CTX_use_certificate(context, certificate.get()) != 1) {
    return MakeError(Code::kInvalidArgument, "the server's certificate cannot be used: " + TakeTlsReasons());
  }
  while (true) {
    certificate.reset(PEM_read_bio_X509(bio.get(), nullptr, NoPassword, nullptr));
    if (!certificate) break;
    if (SSL_CTX_add1_chain_cert(context, certificate.get()) != 1) {
      return MakeError(Code::kInvalidArgument, "the server's certificate chain cannot be used: " + TakeTlsReasons());
    }
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!at_end) return Bad("a certificate of the server's chain is not PEM");
  return {};
}

base::Status UseKey(SSL_CTX* context, const base::Secret& pem) {
  const BioPtr bio = MemoryBio(base::AsText(pem.Reveal()));
  const PkeyPtr key(bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassword, nullptr) : nullptr);
  if (!key) return Bad("the server's private key is not PEM, or is encrypted");
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1 || SSL_CTX_check_private_key(context) != 1) {
    ERR_clear_error();
    return Bad("the server's private key does not belong to its certificate");
  }
  return {};
}

}  // namespace

std::string TakeTlsReasons() {
  std::string text;
  for (int i = 0; i < 3; ++i) {
    const unsigned long error = ERR_get_error();
    if (error == 0) break;
    const char* reason = ERR_reason_error_string(error);
    if (!text.empty()) text += ", ";
    text += reason != nullptr ? reason : "error " + std::to_string(error);
  }
  ERR_clear_error();
  return text.empty() ? "the connection ended early" : text;
}

bool RestrictTls(SSL_CTX* context) {
  SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
         SSL_CTX_set_cipher_list(context, kSuites12) == 1 && SSL_CTX_set_ciphersuites(context, kSuites13) == 1;
}

TlsContext::TlsContext(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TlsContext::~TlsContext() = default;

Result<std::shared_ptr<const TlsContext>> TlsContext::Create(std::string_view certificates, const base::Secret& key_pem,
                                                             std::string_view client_authorities) {
  if (certificates.size() > kMaxPem || key_pem.Reveal().size() > kMaxPem) {
    return Bad("the server's certificate chain or key is longer than 16 KiB");
  }
  ERR_clear_error();
  auto impl = std::make_unique<Impl>();
  impl->context.reset(SSL_CTX_new(TLS_server_method()));
  if (!impl->context) return MakeError(Code::kInternal, "this OpenSSL cannot serve TLS: " + TakeTlsReasons());
  TRY_VOID(Restrict(impl->context.get()));
  TRY_VOID(UseCertificates(impl->context.get(), certificates));
  TRY_VOID(UseKey(impl->context.get(), key_pem));
  if (!client_authorities.empty()) {
    TRY_VOID(AddAuthorities(SSL_CTX_get_cert_store(impl->context.get()), client_authorities));
    SSL_CTX_set_verify(impl->context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  return std::shared_ptr<const TlsContext>(new TlsContext(std::move(impl)));
}

struct TlsSession::Impl {
  std::shared_ptr<const void> context;  ///< keeps what the session was made from
  SslPtr ssl;
  BIO* in = nullptr;   ///< the SSL object's: what came
  BIO* out = nullptr;  ///< the SSL object's: what is to be sent
  State state = State::kHandshaking;
  bool closed = false;  ///< we said close_notify
  bool client = false;
  base::Error failure;

  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    // Else OpenSSL holds a session that just ended for a bad one, and its ticket with it.
    if (ssl && client && state != State::kFailed) SSL_set_shutdown(ssl.get(), SSL_SENT_SHUTDOWN);
  }

  void Fail(base::Error error) {
    state = State::kFailed;
    failure = std::move(error);
    ERR_clear_error();
  }
  /// After a call that did not succeed. Looks at the cause; "wants more" is none.
  void Explain(int result) {
    switch (SSL_get_error(ssl.get(), result)) {
      case SSL_ERROR_WANT_READ:
      case SSL_ERROR_WANT_WRITE:
        ERR_clear_error();
        return;
      case SSL_ERROR_ZERO_RETURN:
        if (state == State::kHandshaking) break;
        state = State::kClosed;
        ERR_clear_error();
        return;
      default:
        break;
    }
    const bool open = state == State::kOpen;
    const int reason = ERR_GET_REASON(ERR_peek_error());
    if (!open && (reason == SSL_R_HTTP_REQUEST || reason == SSL_R_HTTPS_PROXY_REQUEST)) {
      return Fail(MakeError(Code::kUnavailable, "PlainHttp", "the client spoke HTTP without TLS: use https://"));
    }
    if (!open && client) {
      if (const long verdict = SSL_get_verify_result(ssl.get()); verdict != X509_V_OK) {
        return Fail(MakeError(
            Code::kUnavailable, "CertificateRefused",
            std::string("the server's certificate is not accepted: ") + X509_verify_cert_error_string(verdict)));
      }
    }
    std::string text = (open ? "the TLS session broke: " : "the TLS handshake failed: ") + TakeTlsReasons();
    Fail(MakeError(Code::kUnavailable, open ? "TlsFailed" : "HandshakeFailed", std::move(text)));
  }
  [[nodiscard]] bool HasUnread() const { return BIO_ctrl_pending(in) > 0 || SSL_has_pending(ssl.get()) == 1; }
  void Drain(std::string& ciphertext) const {
    char* data = nullptr;
    const long size = BIO_get_mem_data(out, &data);
    if (size <= 0) return;
    ciphertext.append(data, static_cast<std::size_t>(size));
    (void)BIO_reset(out);
  }
};

TlsSession::TlsSession(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TlsSession::~TlsSession() = default;

Result<std::unique_ptr<TlsSession>> TlsSession::Make(std::shared_ptr<const void> context, void* ssl_context) {
  auto impl = std::make_unique<Impl>();
  impl->ssl.reset(SSL_new(static_cast<SSL_CTX*>(ssl_context)));
  BioPtr in(BIO_new(BIO_s_mem()));
  BioPtr out(BIO_new(BIO_s_mem()));
  if (!impl->ssl || !in || !out) {
    ERR_clear_error();
    return MakeError(Code::kInternal, "a TLS session cannot be made");
  }
  BIO_set_mem_eof_return(in.get(), -1);  // empty means "later", not "the end"
  impl->context = std::move(context);
  impl->in = in.get();
  impl->out = out.get();
  SSL_set_bio(impl->ssl.get(), in.release(), out.release());
  return std::unique_ptr<TlsSession>(new TlsSession(std::move(impl)));
}

Result<std::unique_ptr<TlsSession>> TlsSession::Accept(std::shared_ptr<const TlsContext> context) {
  SSL_CTX* ssl_context = context->impl_->context.get();
  TRY(auto session, Make(std::move(context), ssl_context));
  SSL_set_accept_state(session->impl_->ssl.get());
  return session;
}

Result<std::unique_ptr<TlsSession>> TlsSession::Connect(std::shared_ptr<const TlsTrust> trust,
                                                        const std::string& server_name, const TlsTicket* ticket) {
  SSL_CTX* ssl_context = trust->impl_->context.get();
  TRY(auto session, Make(std::move(trust), ssl_context));
  Impl& s = *session->impl_;
  SSL* ssl = s.ssl.get();
  s.client = true;
  SSL_set_connect_state(ssl);
  std::array<unsigned char, 16> address{};
  const bool numeric = ::inet_pton(AF_INET, server_name.c_str(), address.data()) == 1 ||
                       ::inet_pton(AF_INET6, server_name.c_str(), address.data()) == 1;
  const bool named =
      numeric ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), server_name.c_str()) == 1
              : SSL_set1_host(ssl, server_name.c_str()) == 1 && SSL_set_tlsext_host_name(ssl, server_name.c_str()) == 1;
  if (server_name.empty() || !named) return Bad("\"" + server_name + "\" is no name of a server");
  if (ticket != nullptr) (void)SSL_set_session(ssl, ticket->get());  // refused: a full handshake
  ERR_clear_error();
  session->Receive({});
  return session;
}

std::shared_ptr<const TlsTicket> TlsSession::ticket() const {
  SslSessionPtr session(SSL_get1_session(impl_->ssl.get()));
  if (!impl_->client || !session || SSL_SESSION_is_resumable(session.get()) != 1) return nullptr;
  return std::make_shared<const TlsTicket>(std::move(session));
}

TlsSession::State TlsSession::state() const { return impl_->state; }
const base::Error& TlsSession::failure() const { return impl_->failure; }
bool TlsSession::resumed() const { return SSL_session_reused(impl_->ssl.get()) == 1; }
std::string_view TlsSession::version() const { return SSL_get_version(impl_->ssl.get()); }

void TlsSession::Receive(ByteView ciphertext) {
  Impl& s = *impl_;
  if (s.state != State::kHandshaking && s.state != State::kOpen) return;  // nobody reads it any more
  ERR_clear_error();
  if (ciphertext.size() + BIO_ctrl_pending(s.in) > kMaxHeld) {
    return s.Fail(MakeError(Code::kResourceExhausted, s.state == State::kOpen ? "TlsFailed" : "HandshakeFailed",
                            "the peer sent more than is held unread"));
  }
  if (!ciphertext.empty() &&
      BIO_write(s.in, ciphertext.data(), static_cast<int>(ciphertext.size())) != static_cast<int>(ciphertext.size())) {
    return s.Fail(MakeError(Code::kInternal, "TlsFailed", "no memory for what the peer sent"));
  }
  if (s.state != State::kHandshaking) return;
  const int result = SSL_do_handshake(s.ssl.get());
  if (result == 1) {
    s.state = State::kOpen;
  } else {
    s.Explain(result);
  }
}

std::size_t TlsSession::Read(std::span<std::uint8_t> plaintext) {
  Impl& s = *impl_;
  std::size_t total = 0;
  while (s.state == State::kOpen && total < plaintext.size() && s.HasUnread()) {
    ERR_clear_error();
    std::size_t size = 0;
    const int result = SSL_read_ex(s.ssl.get(), plaintext.data() + total, plaintext.size() - total, &size);
    if (result != 1) {
      s.Explain(result);
      break;
    }
    total += size;
  }
  return total;
}

base::Status TlsSession::Encrypt(ByteView plaintext, std::string& ciphertext) {
  Impl& s = *impl_;
  if (s.closed || (s.state != State::kOpen && s.state != State::kClosed)) {
    return MakeError(Code::kFailedPrecondition, "the TLS session is not open");
  }
  ciphertext.reserve(ciphertext.size() + plaintext.size() + (plaintext.size() / kRecord + 2) * 64);
  s.Drain(ciphertext);
  while (!plaintext.empty()) {
    ERR_clear_error();
    const ByteView part = plaintext.first(std::min(plaintext.size(), kRecord));
    std::size_t written = 0;
    const int result = SSL_write_ex(s.ssl.get(), part.data(), part.size(), &written);
    if (result != 1) {
      s.Fail(MakeError(Code::kInternal, "TlsFailed", "the TLS session cannot write: " + TakeTlsReasons()));
      return s.failure;
    }
    plaintext = plaintext.subspan(written);
    s.Drain(ciphertext);
  }
  return {};
}

void TlsSession::TakePending(std::string& ciphertext) { impl_->Drain(ciphertext); }

void TlsSession::Close(std::string& ciphertext) {
  Impl& s = *impl_;
  if (!s.closed && (s.state == State::kOpen || s.state == State::kClosed)) {
    s.closed = true;
    ERR_clear_error();
    (void)SSL_shutdown(s.ssl.get());
    ERR_clear_error();
  }
  s.Drain(ciphertext);
}

}  // namespace signet::crypto
