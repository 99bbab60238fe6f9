#include "http/upstream_connection.hpp"

#include <sys/socket.h>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <utility>

#include "base/check.hpp"
#include "http/io_context.hpp"

namespace signet::http {
namespace {

using base::Code;
using base::MakeError;
using boost::asio::ip::tcp;
using TlsState = crypto::TlsSession::State;

constexpr std::size_t kMostUnparsed = 64 * 1024;
constexpr std::size_t kKeptBuffer = 64 * 1024;
constexpr std::size_t kUpstreamReceiveBuffer = 17 * 1024;  // a whole record

base::Error Lost(std::string_view why) {
  return MakeError(Code::kUnavailable, "ConnectionLost", "the connection ended before the answer: " + std::string(why));
}

}  // namespace

UpstreamConnection::UpstreamConnection(Owner& owner, base::Reactor& reactor, Buffers& buffers, ResponseParser parser)
    : owner_(&owner),
      buffers_(buffers),
      socket_(IoContextOf(reactor)),
      parser_(std::move(parser)),
      received_(kUpstreamReceiveBuffer) {}

void UpstreamConnection::Open(const std::string& address, std::uint16_t port, std::unique_ptr<crypto::TlsSession> tls) {
  tls_ = std::move(tls);
  boost::system::error_code error;
  const tcp::endpoint endpoint(boost::asio::ip::make_address(address, error), port);
  if (!error) socket_.open(endpoint.protocol(), error);
  if (!error) socket_.set_option(tcp::no_delay(true), error);
  if (!error) socket_.non_blocking(true, error);
  auto connected = [self = shared_from_this()](const boost::system::error_code& result) {
    if (self->state_ == State::kConnecting) self->OnConnected(result);
  };
  if (!error) return socket_.async_connect(endpoint, std::move(connected));
  boost::asio::post(socket_.get_executor(), [error, connected] { connected(error); });
}

void UpstreamConnection::OnConnected(const boost::system::error_code& error) {
  if (error) {
    return Fail(MakeError(Code::kUnavailable, "ConnectionFailed", "cannot connect: " + error.message()));
  }
  state_ = State::kHandshake;
  Flush();
  Read();
}

void UpstreamConnection::Close() {
  if (state_ == State::kClosed) return;
  const bool whole = state_ == State::kIdle && written_ == out_.size();
  state_ = State::kClosed;
  owner_ = nullptr;
  if (whole) {  // a goodbye costs nothing; in the middle of a record it would be noise
    out_.clear();
    tls_->Close(out_);
    [[maybe_unused]] const ssize_t sent =
        ::send(socket_.native_handle(), out_.data(), out_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  boost::system::error_code ignored;
  socket_.close(ignored);
}

void UpstreamConnection::Fail(base::Error error) {
  if (state_ == State::kClosed) return;
  Owner* const owner = owner_;
  const auto self = shared_from_this();
  if (state_ == State::kIdle) state_ = State::kBusy;  // the peer has gone: no goodbye
  Close();
  owner->OnFailure(*this, std::move(error));
}

void UpstreamConnection::Read() {
  socket_.async_read_some(boost::asio::buffer(received_),
                          [self = shared_from_this()](const boost::system::error_code& error, std::size_t size) {
                            self->OnRead(error, size);
                          });
}

void UpstreamConnection::OnRead(const boost::system::error_code& error, std::size_t size) {
  if (state_ == State::kClosed) return;
  if (error == boost::asio::error::eof) return Fail(Lost("the server closed it"));
  if (error) return Fail(Lost(error.message()));
  tls_->Receive(base::AsBytes({received_.data(), size}));
  if (state_ == State::kHandshake) {
    if (tls_->state() == TlsState::kFailed) {
      const base::Error failure = tls_->failure();
      Flush();  // the alert tells the server why
      return Fail(failure);
    }
    if (tls_->state() == TlsState::kHandshaking) {
      Flush();
      return Read();
    }
    state_ = State::kIdle;
    owner_->OnOpen(*this);  // may Send: our last word of the handshake and the request then are one write
    if (state_ == State::kClosed) return;
    Flush();
  }
  if (Decrypt() && state_ != State::kClosed) Read();
}

/// False: the connection is closed.
bool UpstreamConnection::Decrypt() {
  auto& plain = buffers_.plaintext;
  while (const std::size_t size = tls_->Read(plain)) {
    in_.append(reinterpret_cast<const char*>(plain.data()), size);
    if (!Parse()) return false;
  }
  if (tls_->state() == TlsState::kFailed) {
    Fail(tls_->failure());
    return false;
  }
  if (tls_->state() == TlsState::kClosed) {
    Fail(Lost("the server closed it"));
    return false;
  }
  Flush();
  return state_ != State::kClosed;
}

bool UpstreamConnection::Parse() {
  using Parsing = ResponseParser::State;
  if (state_ != State::kBusy) {
    Fail(MakeError(Code::kInternal, "BadAnswer", "the server spoke without having been asked"));
    return false;
  }
  while (!in_.empty()) {
    const Parsing before = parser_.state();
    const std::size_t consumed = parser_.Feed(in_);
    in_.erase(0, consumed);
    if (parser_.state() == Parsing::kRefused) {
      Fail(MakeError(Code::kInternal, "BadAnswer", std::string(parser_.refusal())));
      return false;
    }
    if (parser_.state() == Parsing::kComplete) {
      const bool keep = parser_.keep_alive() && in_.empty() && written_ == out_.size();
      Response response = parser_.Take();
      parser_.Reset();
      if (in_.capacity() > kKeptBuffer) std::string().swap(in_);
      state_ = State::kIdle;
      Owner* const owner = owner_;
      if (!keep) Close();
      owner->OnAnswer(*this, std::move(response), keep);
      return state_ != State::kClosed;
    }
    if (consumed == 0 && parser_.state() == before) break;
  }
  if (in_.size() <= kMostUnparsed) return true;
  Fail(MakeError(Code::kInternal, "BadAnswer", "the answer's framing has no end"));
  return false;
}

void UpstreamConnection::Send(std::string_view plaintext) {
  CHECK(state_ == State::kIdle, "one exchange at a time, on an open connection");
  state_ = State::kBusy;
  if (!tls_->Encrypt(base::AsBytes(plaintext), out_)) {
    // The reader sees the same failure; from here the owner must not be called.
    boost::system::error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_both, ignored);
    return;
  }
  Write();
}

/// What the protocol itself has to say.
void UpstreamConnection::Flush() {
  if (state_ == State::kClosed) return;
  tls_->TakePending(out_);
  Write();
}

void UpstreamConnection::Write() {
  if (writing_) return;
  while (written_ < out_.size()) {
    const ssize_t sent =
        ::send(socket_.native_handle(), out_.data() + written_, out_.size() - written_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      written_ += static_cast<std::size_t>(sent);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) {
      written_ = out_.size();  // a server may answer before it has read all; the reader finds out
      break;
    }
    writing_ = true;
    socket_.async_wait(tcp::socket::wait_write, [self = shared_from_this()](const boost::system::error_code& error) {
      self->writing_ = false;
      if (!error && self->state_ != State::kClosed) self->Write();
    });
    return;
  }
  out_.clear();
  written_ = 0;
  if (out_.capacity() > kKeptBuffer) std::string().swap(out_);
}

}  // namespace signet::http
