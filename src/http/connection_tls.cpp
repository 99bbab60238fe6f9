// The part of a Connection that only TLS connections use: ciphertext from the socket, ciphertext to it.
#include <sys/socket.h>

#include <utility>

#include "http/connection.hpp"
#include "obs/log.hpp"

namespace signet::http {
namespace {

using State = crypto::TlsSession::State;

constexpr std::size_t kReceiveBuffer = 17 * 1024;  // a whole record
constexpr std::size_t kKeptScratch = 4 * 1024;

}  // namespace

void Connection::StartTls(std::unique_ptr<crypto::TlsSession> session) {
  tls_ = std::make_unique<Tls>();
  tls_->session = std::move(session);
  tls_->received.resize(kReceiveBuffer);
  Enter(Phase::kHandshake);
  Read();
}

void Connection::OnCiphertext(const boost::system::error_code& error, std::size_t size) {
  if (error) return Close();
  crypto::TlsSession& session = *tls_->session;
  tls_->heard = true;
  session.Receive(base::AsBytes({tls_->received.data(), size}));
  if (phase_ == Phase::kHandshake) {
    if (session.state() == State::kFailed) return OnTlsFailure();
    if (!Flush()) return;
    if (session.state() == State::kHandshaking) return Read();
    Enter(hub_->draining ? Phase::kReceiving : Phase::kIdle);  // who came in while we drain has little time
  }
  Process();
}

void Connection::OnTlsFailure() {
  const base::Error failure = tls_->session->failure();
  if (hub_->MayWarn()) obs::Warn("a TLS connection failed", {{"error", base::Describe(failure)}});
  if (failure.reason == "PlainHttp") {
    tls_.reset();
    return RefuseWith(400, "Malformed", "this port speaks TLS: send the request to https://");
  }
  if (hub_->draining) return Close();
  if (Flush()) Linger();  // closing with unread octets would take the alert from the client
}

/// Plaintext of what has come, into in_. True: there is some.
bool Connection::Decrypt() {
  crypto::TlsSession& session = *tls_->session;
  auto* const space = reinterpret_cast<std::uint8_t*>(in_.data() + end_);
  const std::size_t size = session.Read({space, in_.size() - end_});
  end_ += size;
  if (session.state() == State::kFailed && size == 0) {
    OnTlsFailure();
    return false;
  }
  if (!Flush()) return false;
  if (size > 0) return true;
  if (session.state() != State::kOpen) Close();
  return false;
}

/// Turns the response in out_ into records, with the last word when it is the last response.
bool Connection::EncryptOut() {
  std::string& plain = tls_->scratch;
  plain.clear();
  plain.swap(out_);
  if (!tls_->session->Encrypt(base::AsBytes(plain), out_)) return false;
  if (close_after_) tls_->session->Close(out_);
  plain.clear();
  if (plain.capacity() > kKeptScratch) std::string().swap(plain);
  return true;
}

/// False: the connection is closed.
bool Connection::SendEncrypted(std::string_view plaintext) {
  if (tls_->session->Encrypt(base::AsBytes(plaintext), tls_->scratch)) return Flush();
  Close();
  return false;
}

/// Sends what the protocol itself has to say. False: the connection is closed.
bool Connection::Flush() {
  tls_->session->TakePending(tls_->scratch);
  const bool sent = SendNow(tls_->scratch);
  tls_->scratch.clear();
  if (!sent) Close();
  return sent;
}

/// Only while nothing of ours is queued: then no client that reads takes less than these few octets.
bool Connection::SendNow(const std::string& ciphertext) {
  if (ciphertext.empty()) return true;
  const ssize_t sent =
      ::send(socket_.native_handle(), ciphertext.data(), ciphertext.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  return sent == static_cast<ssize_t>(ciphertext.size());
}

void Connection::SayGoodbye() {
  if (written_ < out_.size()) return;  // in the middle of a record
  tls_->scratch.clear();
  tls_->session->Close(tls_->scratch);
  SendNow(tls_->scratch);
  tls_->scratch.clear();
}

}  // namespace signet::http
