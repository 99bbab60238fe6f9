// crypto/tls_session.hpp - TLS as a machine over memory, either side: octets in, octets out, no sockets.
//
// TLS 1.2 and 1.3, AEAD suites with forward secrecy only; no renegotiation, compression or early data; ALPN
// "http/1.1"; session tickets under keys that live and die with the TlsContext (no session is stored). A client
// checks the chain up to its TlsTrust and the name or address that it meant to reach.
//
// The owner of the socket calls Receive with what came, Read until it gives nothing, and TakePending after each of
// them, and sends what that appends. Backpressure: whoever does not Read and does not Receive holds at most
// kMaxHeld octets here.
//
// Ownership:     a TlsSession shares its TlsContext or TlsTrust; the context owns certificate and key.
// Thread-safety: TlsContext: any thread. TlsSession: one thread at a time.
// Blocking:      never. A handshake costs one signature of the certificate's key.
// Errors:        a session that fails stays failed and says why; kUnavailable where only the peer is at fault.
// Sources:       RFC 8446; RFC 5246; RFC 7301 (ALPN); RFC 9325 (recommendations); RFC 8446 section 6.1 (half close).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "crypto/tls_trust.hpp"

namespace signet::crypto {

/// Immutable: a new certificate is a new context; sessions keep the one they began with.
class TlsContext {
 public:
  static constexpr std::size_t kMaxPem = 16 * 1024;  ///< octets of the certificate chain, and of the key

  /// @param certificates the server's certificate, then those that lead to a root, if any
  /// @param key_pem PKCS#8 or traditional PEM, not encrypted
  /// @param client_authorities PEM: clients must show a certificate that leads to one of these; empty: they need none
  /// @return kInvalidArgument not PEM, too long, a weak key, or a key that does not belong to the certificate
  static base::Result<std::shared_ptr<const TlsContext>> Create(std::string_view certificates,
                                                                const base::Secret& key_pem,
                                                                std::string_view client_authorities = {});
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

 private:
  friend class TlsSession;
  struct Impl;
  explicit TlsContext(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

class TlsSession {
 public:
  enum class State : std::uint8_t {
    kHandshaking,
    kOpen,
    kClosed,  ///< the peer said close_notify: no more to Read; Encrypt still works until Close (half close)
    kFailed,  ///< failure() says why; TakePending may have an alert
  };
  static constexpr std::size_t kMaxHeld = 64 * 1024;  ///< octets received and not yet read

  static base::Result<std::unique_ptr<TlsSession>> Accept(std::shared_ptr<const TlsContext> context);
  /// The client's side; its first words are pending at once. @param server_name a DNS name or an address, which the
  /// server's certificate must have. @param ticket from an earlier session with the same trust and name, or null.
  static base::Result<std::unique_ptr<TlsSession>> Connect(std::shared_ptr<const TlsTrust> trust,
                                                           const std::string& server_name,
                                                           const TlsTicket* ticket = nullptr);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  [[nodiscard]] State state() const;
  /// kFailed: reason "PlainHttp" when the peer spoke HTTP without TLS, "HandshakeFailed" before the session was open,
  /// "CertificateRefused" (clients), "TlsFailed" after; the message is for logs.
  [[nodiscard]] const base::Error& failure() const;
  [[nodiscard]] bool resumed() const;              ///< the client came back with a ticket
  [[nodiscard]] std::string_view version() const;  ///< "TLSv1.3", once open
  /// A client's: what it may come back with; null when the server gave nothing (TLS 1.3: yet).
  [[nodiscard]] std::shared_ptr<const TlsTicket> ticket() const;

  /// Takes ciphertext and moves the handshake on. More than kMaxHeld unread octets fail the session.
  void Receive(base::ByteView ciphertext);
  /// Up to plaintext.size() octets of what was received. 0: nothing more for now; look at state().
  std::size_t Read(std::span<std::uint8_t> plaintext);
  /// Appends everything pending, then `plaintext`, as records.
  /// @return kFailedPrecondition not open, failed, or after Close
  base::Status Encrypt(base::ByteView plaintext, std::string& ciphertext);
  /// Appends what the protocol itself has to say: handshake, tickets, key updates, alerts.
  void TakePending(std::string& ciphertext);
  /// Appends what is pending and close_notify, once; nothing for a session that is not open. No Encrypt after it.
  void Close(std::string& ciphertext);

 private:
  struct Impl;
  explicit TlsSession(std::unique_ptr<Impl> impl);
  static base::Result<std::unique_ptr<TlsSession>> Make(std::shared_ptr<const void> context, void* ssl_context);
  std::unique_ptr<Impl> impl_;
};

}  // namespace signet::crypto
