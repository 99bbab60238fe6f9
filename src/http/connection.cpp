#include "http/connection.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>
#include <exception>
#include <utility>

#include "http/render.hpp"
#include "obs/log.hpp"

namespace signet::http {
namespace {

using boost::system::error_code;

constexpr std::size_t kSmallBuffer = 4 * 1024;   // what an idle connection keeps
constexpr std::size_t kLargeBuffer = 64 * 1024;  // while a long body arrives
constexpr std::size_t kMaxLingered = 16 * 1024 * 1024;
constexpr std::chrono::milliseconds kLingerTime{2000};
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

}  // namespace

/// The right to answer one request once. Lost unused, it answers 500, so that no client waits forever.
class Connection::Ticket {
 public:
  Ticket(const std::shared_ptr<Connection>& connection, std::uint64_t number)
      : connection_(connection),
        hub_(connection->hub_),
        number_(number),
        charge_(std::make_shared<Charge>(std::move(connection->charge_))) {}
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;
  ~Ticket() {
    if (used_) return;
    if (const auto hub = hub_.lock()) {
      hub->reactor.Post([connection = connection_.lock(), number = number_, charge = charge_] {
        obs::Err("a request was dropped without an answer");
        charge->Set(0);
        if (!connection) return;
        connection->Answer(number, connection->hub_->refuse(500, "Internal", "the request was dropped: see the log"));
      });
    }
  }
  void Answer(Response response) {
    if (std::exchange(used_, true)) return;
    charge_->Set(0);
    if (auto connection = connection_.lock()) connection->Answer(number_, std::move(response));
  }

 private:
  std::weak_ptr<Connection> connection_;
  std::weak_ptr<Hub> hub_;
  std::uint64_t number_;
  /// The handler may hold the body for as long as it holds this, whether or not the client is still there.
  std::shared_ptr<Charge> charge_;
  bool used_ = false;
};

Connection::Connection(std::shared_ptr<Hub> hub, Socket socket, std::optional<identity::PeerInfo> peer,
                       Shares::iterator share)
    : hub_(std::move(hub)),
      socket_(std::move(socket)),
      peer_(peer),
      share_(share),
      parser_({hub_->options.limits.header_bytes, hub_->options.limits.body_bytes}, hub_->options.wanted_headers),
      charge_(hub_, share) {
  ++share_->second.connections;
  ++hub_->unproven;
}

void Connection::Start() {
  const auto& uids = hub_->options.allowed_uids;
  if (!uids.empty() && (!peer_ || std::find(uids.begin(), uids.end(), peer_->uid) == uids.end())) {
    if (hub_->MayWarn()) {
      obs::Warn("refused a connection: its user is not on the list",
                {{"uid", peer_ ? peer_->uid : 0U}, {"pid", peer_ ? peer_->pid : 0}});
    }
    RefuseWith(403, "NotAllowed", "this user may not use the socket: run as one of the users it is configured for");
    return;
  }
  Enter(Phase::kIdle);
  Read();
}

void Connection::Close() {
  if (phase_ == Phase::kClosed) return;
  const Phase was = std::exchange(phase_, Phase::kClosed);
  if (tls_) SayGoodbye();
  deadline_ = base::SteadyPoint::max();
  error_code ignored;
  if (was == Phase::kWriting) {  // else the kernel keeps for minutes what the client does not take
    socket_.set_option(boost::asio::socket_base::linger(true, 0), ignored);
  }
  socket_.close(ignored);
  parser_.DropBody();
  std::string().swap(out_);
  Share& share = share_->second;
  if (was == Phase::kLingering) --share.lingering, --hub_->lingering;
  --(proven_ ? share.proven : share.connections);
  --(proven_ ? hub_->proven : hub_->unproven);
  if (charge_.bytes() > 0) {
    charge_.Set(0);
  } else {
    hub_->Release(share_);
  }
  hub_->Remove(*this);
}

void Connection::CloseIfIdle() {
  if (phase_ == Phase::kLingering) return Close();
  if (resuming_ || (phase_ != Phase::kIdle && (phase_ != Phase::kHandshake || tls_->heard))) return;
  // A request that has reached us in full or in part is served; only silence is cut off.
  char octet = 0;
  if (::recv(socket_.native_handle(), &octet, 1, MSG_PEEK | MSG_DONTWAIT) <= 0) Close();
}

bool Connection::gone() const {
  if (phase_ == Phase::kClosed) return true;
  // While a request is in work nothing is read; the kernel tells all the same when both directions have ended.
  pollfd watched{const_cast<Socket&>(socket_).native_handle(), 0, 0};
  return ::poll(&watched, 1, 0) == 1 && (watched.revents & (POLLHUP | POLLERR)) != 0;
}

void Connection::Enter(Phase phase) {
  phase_ = phase;
  entered_ = base::SystemClock().Steady();
  const Limits& limits = hub_->options.limits;
  std::chrono::milliseconds time{};
  switch (phase) {
    case Phase::kIdle:
      time = limits.idle_time;
      break;
    case Phase::kHandshake:
    case Phase::kReceiving:
      time = limits.header_time;
      break;
    case Phase::kWriting:
      time = limits.write_time;
      break;
    case Phase::kLingering:
      time = kLingerTime;
      break;
    case Phase::kWorking:
    case Phase::kClosed:
      deadline_ = base::SteadyPoint::max();
      return;
  }
  deadline_ = entered_ + time;
  hub_->WakeAt(deadline_);
}

Connection::Rank Connection::rank() const {
  if (phase_ == Phase::kLingering) return Rank::kLingering;
  if (phase_ == Phase::kWorking) return Rank::kWorking;
  return phase_ == Phase::kIdle && request_ > 0 ? Rank::kKept : Rank::kSilent;
}

void Connection::Prove() {
  if (proven_ || phase_ == Phase::kClosed || !hub_->HasProvenRoomFor(share_->second)) return;
  proven_ = true;
  --share_->second.connections, ++share_->second.proven;
  --hub_->unproven, ++hub_->proven;
}

void Connection::OnDeadline() {
  if (phase_ == Phase::kReceiving) {
    RefuseWith(408, "Timeout", "the request took too long to arrive: send it whole");
  } else {
    Close();
  }
}

void Connection::Read() {
  if (reading_ || phase_ == Phase::kClosed) return;
  reading_ = true;
  if (in_.empty()) in_.resize(kSmallBuffer);
  socket_.async_read_some(
      tls_ ? boost::asio::buffer(tls_->received) : boost::asio::buffer(in_.data() + end_, in_.size() - end_),
      [self = shared_from_this()](const error_code& error, std::size_t size) { self->OnRead(error, size); });
}

void Connection::OnRead(const error_code& error, std::size_t size) {
  reading_ = false;
  if (phase_ == Phase::kClosed) return;
  if (tls_ && phase_ <= Phase::kReceiving) return OnCiphertext(error, size);
  if (phase_ == Phase::kIdle || phase_ == Phase::kReceiving) {
    if (error) return Close();
    end_ += size;
    return Process();
  }
  if (phase_ != Phase::kLingering) return;  // a refusal is being written: what came is not of interest
  lingered_ += size;
  if (error || lingered_ > kMaxLingered) return Close();
  Read();
}

void Connection::Process() {
  if (processing_) return;
  processing_ = true;
  const std::uint64_t request = request_;
  bool more = true;
  while (more && (request_ == request || pending().empty())) more = Advance();
  processing_ = false;
  // One request a turn: however many a client has sent at once, others have their turns between.
  if (!more || phase_ != Phase::kIdle || std::exchange(resuming_, true)) return;
  boost::asio::post(socket_.get_executor(), [self = shared_from_this()] {
    self->resuming_ = false;
    self->Process();
  });
}

/// One step of parsing. True: there may be more to do without reading.
bool Connection::Advance() {
  if (phase_ != Phase::kIdle && phase_ != Phase::kReceiving) return false;
  if (!parser_.started()) {
    while (pending().starts_with("\r\n")) begin_ += 2;  // RFC 9112 section 2.2
  }
  const std::size_t consumed = parser_.Feed(pending());
  begin_ += consumed;
  Account(parser_.body_capacity());
  if (phase_ == Phase::kClosed || phase_ == Phase::kLingering || phase_ == Phase::kWriting) return false;
  switch (parser_.state()) {
    case RequestParser::State::kComplete:
      Dispatch();
      return true;
    case RequestParser::State::kRefused: {
      const auto& why = parser_.refusal();
      RefuseWith(why.status, why.code, why.detail);
      return false;
    }
    case RequestParser::State::kBody:
      if (consumed > 0 && begin_ < end_) return true;
      if (parser_.expects_continue() && !std::exchange(continued_, true) && !SendContinue()) return false;
      break;
    case RequestParser::State::kHeader:
      break;
  }
  if (!MakeRoom()) {
    RefuseWith(431, "HeaderTooLarge", "a header or trailer is too large: send fewer or shorter fields");
    return false;
  }
  if (phase_ == Phase::kIdle && (parser_.started() || begin_ < end_)) Enter(Phase::kReceiving);
  if (tls_ && Decrypt()) return true;
  Read();
  return false;
}

/// Space for at least one octet behind end_; false when the unparsed rest has reached its limit.
bool Connection::MakeRoom() {
  if (begin_ == end_) {
    const bool filled = end_ == in_.size() && !in_.empty();
    begin_ = end_ = 0;
    if (parser_.state() == RequestParser::State::kBody && filled && in_.size() < kLargeBuffer) {
      in_.resize(kLargeBuffer);
    } else if (!parser_.started() && in_.size() > kSmallBuffer) {
      in_ = std::vector<char>(kSmallBuffer);
    }
    return true;
  }
  if (end_ < in_.size()) return true;
  if (begin_ > 0) {
    std::memmove(in_.data(), in_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    return true;
  }
  const std::size_t most = hub_->options.limits.header_bytes + kSmallBuffer;
  if (in_.size() >= most) return false;
  in_.resize(std::min(std::max(in_.size() * 2, kSmallBuffer), most));
  return true;
}

/// Keeps the sum of all that is held under its limit, whatever the number of connections.
void Connection::Account(std::size_t bytes) {
  const bool grown = bytes > charge_.bytes();
  charge_.Set(bytes);
  if (grown && refusable() > 0) hub_->ShedBodies(*this);
}

std::size_t Connection::refusable() const {
  const auto state = parser_.state();  // complete: its last part may have made it grow
  const bool receiving =
      phase_ <= Phase::kReceiving && (state == RequestParser::State::kBody || state == RequestParser::State::kComplete);
  return receiving || phase_ == Phase::kWriting ? charge_.bytes() : 0;
}

void Connection::RefuseBody() {
  if (phase_ == Phase::kWriting) return Close();
  RefuseWith(503, "Busy", "too many large requests at once: try again in a second");
}

bool Connection::SendContinue() {
  if (tls_) return SendEncrypted(kContinue);
  const ssize_t sent = ::send(socket_.native_handle(), kContinue.data(), kContinue.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent == static_cast<ssize_t>(kContinue.size())) return true;
  Close();  // nothing of ours is queued: only a broken connection takes less than this
  return false;
}

void Connection::Dispatch() {
  if (hub_->options.require_loopback_host && !NamesLoopback(parser_.host())) {
    return RefuseWith(400, "Malformed", "Host does not name this machine: send the request to 127.0.0.1 or localhost");
  }
  Enter(Phase::kWorking);
  Request request;
  parser_.Fill(request);
  request.peer = peer_;
  request.client = weak_from_this();
  request.source = share_->first;
  const std::uint64_t number = ++request_;
  auto ticket = std::make_shared<Ticket>(shared_from_this(), number);
  try {
    hub_->handler(request, [ticket](Response response) { ticket->Answer(std::move(response)); });
  } catch (const std::exception& error) {
    obs::Err("a request handler threw", {{"error", error.what()}});
    ticket->Answer(hub_->refuse(500, "Internal", "the request could not be handled: see the log"));
  }
  // The views are dead, and so is the body: the handler's copy, if any, is what is charged for now.
  if (phase_ == Phase::kWorking && request_ == number) parser_.DropBody();
}

void Connection::Answer(std::uint64_t number, Response response) {
  if (phase_ != Phase::kWorking || number != request_) return;
  const bool keep = parser_.keep_alive() && !hub_->draining && !hub_->winding_down;
  Send(response, keep, parser_.head());
}

void Connection::RefuseWith(int status, std::string_view code, std::string_view detail) {
  linger_after_ = true;
  parser_.DropBody();
  charge_.Set(0);
  Send(hub_->refuse(status, code, detail), false, false);
}

void Connection::Send(const Response& response, bool keep, bool head) {
  close_after_ = !keep;
  out_.clear();
  RenderResponse(response, {keep, parser_.http10(), head, hub_->DateLine()}, out_);
  written_ = 0;
  if (tls_ && !EncryptOut()) return Close();
  Write();
}

void Connection::Write() {
  if (phase_ == Phase::kClosed) return;
  while (written_ < out_.size()) {
    const ssize_t sent =
        ::send(socket_.native_handle(), out_.data() + written_, out_.size() - written_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      written_ += static_cast<std::size_t>(sent);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return Close();
    if (phase_ != Phase::kWriting) {
      Enter(Phase::kWriting);
      Account(out_.capacity());
      if (phase_ == Phase::kClosed) return;
    }
    socket_.async_wait(Socket::wait_write, [self = shared_from_this()](const error_code& error) {
      if (!error) self->Write();
    });
    return;
  }
  AfterWrite();
}

void Connection::AfterWrite() {
  charge_.Set(0);
  if (out_.capacity() > kSmallBuffer) std::string().swap(out_);
  if (close_after_) return linger_after_ && !hub_->draining ? Linger() : Close();
  parser_.Reset();
  continued_ = false;
  Enter(Phase::kIdle);
  Process();
}

void Connection::Linger() {
  ::shutdown(socket_.native_handle(), SHUT_WR);
  ++share_->second.lingering, ++hub_->lingering;
  Enter(Phase::kLingering);
  begin_ = end_ = 0;
  Read();
  hub_->CapLingering();
}

}  // namespace signet::http
