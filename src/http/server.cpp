#include "http/server.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "base/check.hpp"
#include "http/connection.hpp"
#include "http/io_context.hpp"
#include "http/listener.hpp"
#include "http/render.hpp"
#include "obs/log.hpp"

namespace signet::http {
namespace {

using base::Code;
using base::MakeError;

constexpr int kAcceptsPerTurn = 256;  // then other handlers have their turn
constexpr std::chrono::milliseconds kAcceptPause{100};
constexpr std::chrono::seconds kWarnEvery{10};

}  // namespace

Hub::Hub(base::Reactor& loop, Server::Options given, Handler on_request, Refuse on_refusal)
    : reactor(loop), options(std::move(given)), handler(std::move(on_request)), refuse(std::move(on_refusal)) {}

void Hub::Add(int fd, const std::string& source, std::optional<identity::PeerInfo> peer) {
  Connection::Socket socket(IoContextOf(reactor));
  boost::system::error_code error;
  const int family = options.unix_path.empty() ? AF_INET : AF_UNIX;
  socket.assign(boost::asio::generic::stream_protocol(family, 0), fd, error);
  if (error) {
    obs::Err("cannot watch a connection", {{"error", error.message()}});
    ::close(fd);
    return;
  }
  std::unique_ptr<crypto::TlsSession> tls;
  if (options.tls && !(tls = AcceptTls())) return;  // the socket closes itself
  const auto share = shares.try_emplace(source).first;
  auto connection = std::make_shared<Connection>(shared_from_this(), std::move(socket), peer, share);
  connections.emplace(connection.get(), connection);
  if (tls) return connection->StartTls(std::move(tls));
  connection->Start();
}

std::unique_ptr<crypto::TlsSession> Hub::AcceptTls() {
  auto context = options.tls();
  auto session = context ? crypto::TlsSession::Accept(std::move(context))
                         : MakeError(Code::kUnavailable, "there is no certificate yet");
  if (session) return std::move(*session);
  if (MayWarn()) obs::Warn("refused a TLS connection", {{"error", base::Describe(session.error())}});
  return nullptr;
}

void Hub::Remove(Connection& connection) {
  connections.erase(&connection);
  if (draining && connections.empty() && drained_) reactor.Post(std::exchange(drained_, nullptr));
}

void Hub::Drain(std::function<void()> drained) {
  draining = true;
  drained_ = std::move(drained);
  const auto all = connections;  // closing removes
  for (const auto& entry : all) entry.second->CloseIfIdle();
  if (connections.empty() && drained_) reactor.Post(std::exchange(drained_, nullptr));
}

void Hub::CloseAll() {
  drained_ = nullptr;
  const auto all = connections;
  for (const auto& entry : all) entry.second->Close();
  reactor.Cancel(timer_);
}

void Hub::WakeAt(base::SteadyPoint deadline) {
  if (deadline >= wake_at_) return;
  wake_at_ = deadline;
  reactor.Cancel(timer_);
  const auto delay = std::chrono::duration_cast<std::chrono::microseconds>(deadline - base::SystemClock().Steady()) +
                     std::chrono::milliseconds(1);
  timer_ = reactor.After(std::max(delay, std::chrono::microseconds(0)), [weak = weak_from_this()] {
    if (const auto hub = weak.lock()) hub->Sweep();
  });
}

/// One timer for all connections: deadlines mostly move away, so it seldom fires.
void Hub::Sweep() {
  wake_at_ = base::SteadyPoint::max();
  const base::SteadyPoint now = base::SystemClock().Steady();
  std::vector<std::shared_ptr<Connection>> late;
  base::SteadyPoint next = base::SteadyPoint::max();
  for (const auto& entry : connections) {
    if (entry.second->deadline() <= now) {
      late.push_back(entry.second);
    } else {
      next = std::min(next, entry.second->deadline());
    }
  }
  for (const auto& connection : late) connection->OnDeadline();
  WakeAt(next);
}

bool Hub::MayWarn() {
  const base::SteadyPoint now = base::SystemClock().Steady();
  if (warned_at_ && now - *warned_at_ < kWarnEvery) return false;
  warned_at_ = now;
  return true;
}

const std::string& Hub::DateLine() {
  const auto second = std::chrono::floor<std::chrono::seconds>(base::SystemClock().Now()).time_since_epoch().count();
  if (second != date_second_) {
    date_second_ = second;
    const std::time_t time = second;
    std::tm utc{};
    ::gmtime_r(&time, &utc);
    char text[64];
    const std::size_t size = std::strftime(text, sizeof(text), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &utc);
    date_line_.assign(text, size);
  }
  return date_line_;
}

namespace {

class ServerImpl final : public Server {
 public:
  ServerImpl(Listener listener, std::shared_ptr<Hub> hub) : listener_(std::move(listener)), hub_(std::move(hub)) {
    Watch();
  }
  ServerImpl(const ServerImpl&) = delete;
  ServerImpl& operator=(const ServerImpl&) = delete;
  ~ServerImpl() override {
    StopListening();
    hub_->CloseAll();
  }

  void Drain(std::function<void()> drained) override {
    if (listener_.fd() >= 0) AcceptAll(kAcceptsPerTurn);  // who has connected already is served
    StopListening();
    hub_->Drain(std::move(drained));
  }
  void WindDown() override { hub_->winding_down = true; }
  [[nodiscard]] std::uint16_t port() const override { return listener_.port(); }
  [[nodiscard]] std::size_t connections() const override { return hub_->connections.size(); }

 private:
  void Watch() {
    watch_ = hub_->reactor.WatchReadable(listener_.fd(), [this] { AcceptAll(kAcceptsPerTurn); });
  }
  void StopListening() {
    hub_->reactor.Cancel(pause_);
    if (watch_ != 0) hub_->reactor.Unwatch(std::exchange(watch_, 0));
    listener_.Close();
  }

  void AcceptAll(int most) {
    for (int i = 0; i < most; ++i) {
      sockaddr_storage address{};
      const int fd = listener_.Accept(address);
      if (fd >= 0) {
        Admit(fd, address);
        continue;
      }
      const int error = errno;
      if (error == EINTR || error == ECONNABORTED) continue;
      if ((error == EMFILE || error == ENFILE) && hub_->FreeDescriptor()) continue;
      if (error != EAGAIN && error != EWOULDBLOCK) Pause(error);
      return;
    }
  }

  void Admit(int fd, const sockaddr_storage& address) {
    const auto peer = listener_.is_unix() ? PeerOf(fd) : std::nullopt;
    const std::string source = listener_.is_unix() ? SourceOf(peer) : SourceOf(address);
    if (hub_->HasRoomFor(source)) return hub_->Add(fd, source, peer);
    TurnAway(fd);
  }

  /// Out of descriptors or memory: the connection stays in the queue, and asking at once again would spin.
  void Pause(int error) {
    if (hub_->MayWarn()) obs::Warn("cannot accept connections for now", {{"error", std::strerror(error)}});
    if (watch_ != 0) hub_->reactor.Unwatch(std::exchange(watch_, 0));
    hub_->reactor.Cancel(pause_);
    pause_ = hub_->reactor.After(kAcceptPause, [this] { Watch(); });
  }

  void TurnAway(int fd) {
    if (hub_->options.tls) {  // a handshake costs what is short now
      ::close(fd);
      return;
    }
    const Response response = hub_->refuse(503, "Busy", "too many connections: close some, or try again in a second");
    std::string text;
    RenderResponse(response, {false, false, false, hub_->DateLine()}, text);
    [[maybe_unused]] const ssize_t sent = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    ::close(fd);
  }

  Listener listener_;
  std::shared_ptr<Hub> hub_;
  base::Reactor::Id watch_ = 0;
  base::Reactor::Id pause_ = 0;
};

}  // namespace

std::optional<std::string_view> FindHeader(const Request& request, std::string_view lower_case_name) {
  for (const auto& [name, value] : request.headers) {
    if (name == lower_case_name) return value;
  }
  return {};
}

base::Result<std::unique_ptr<Server>> Server::Listen(base::Reactor& reactor, Options options, Handler handler,
                                                     Refuse refuse) {
  CHECK(handler && refuse, "a server needs a handler and a maker of refusals");
  if (options.unix_path.empty() == options.tcp.empty()) {
    return MakeError(Code::kInvalidArgument, "a server listens either on a Unix socket or on an address");
  }
  if (options.unix_path.empty() && !options.allowed_uids.empty()) {
    return MakeError(Code::kInvalidArgument, "a port knows no users: the list of allowed uids needs a Unix socket");
  }
  if (options.tls && options.tcp.empty()) {
    return MakeError(Code::kInvalidArgument, "TLS is for ports: a Unix socket needs none");
  }
  auto listener = options.unix_path.empty() ? Listener::Tcp(options.tcp, options.allow_remote)
                                            : Listener::Unix(options.unix_path, options.unix_mode);
  if (!listener) return base::Error(std::move(listener).error());
  auto hub = std::make_shared<Hub>(reactor, std::move(options), std::move(handler), std::move(refuse));
  return std::unique_ptr<Server>(std::make_unique<ServerImpl>(std::move(*listener), std::move(hub)));
}

}  // namespace signet::http
