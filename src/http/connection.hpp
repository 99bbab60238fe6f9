// http/connection.hpp - for this module's own .cpp files: one client, and what all clients of a server share.
//
// A connection is a small state machine: (handshake ->) idle -> receiving -> working -> (writing) -> idle ... and at
// its end perhaps lingering: after a refusal the rest of the input is read and thrown away for a
// moment, since closing with unread octets would take the answer from the client.
//
// Ownership:     the Hub owns its connections; handlers of the loop keep both alive while they wait.
// Thread-safety: the loop's thread.
#pragma once

#include <sys/socket.h>

#include <boost/asio/generic/stream_protocol.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/clock.hpp"
#include "crypto/tls_session.hpp"
#include "http/request_parser.hpp"
#include "http/server.hpp"

namespace signet::http {

class Connection;

/// What the clients of one address hold of a server.
struct Share {
  std::size_t connections = 0;  ///< of callers that have proven nothing
  std::size_t proven = 0;       ///< the others
  std::size_t lingering = 0;    ///< of both
  std::size_t buffered = 0;     ///< bytes held for bodies and unread answers
};
using Shares = std::map<std::string, Share>;  ///< by Source

/// Who shares slots and memory: an IPv4 address, an IPv6 /64, a user and process of this machine.
std::string SourceOf(const sockaddr_storage& address);
std::string SourceOf(const std::optional<identity::PeerInfo>& peer);

class Hub;

/// Bytes that one address holds of the server's budget. They are given back with it, on the loop.
class Charge {
 public:
  Charge() = default;
  Charge(std::weak_ptr<Hub> hub, Shares::iterator share) : hub_(std::move(hub)), share_(share) {}
  /// `other` can go on with other bytes.
  Charge(Charge&& other) noexcept : hub_(other.hub_), share_(other.share_), bytes_(std::exchange(other.bytes_, 0)) {}
  Charge& operator=(Charge&&) = delete;
  ~Charge() { Set(0); }
  void Set(std::size_t bytes);
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  std::weak_ptr<Hub> hub_;
  Shares::iterator share_;
  std::size_t bytes_ = 0;
};

/// Descriptors that a server may come to need: the process's limit is raised so that all fit, as far as it may be.
class ReservedDescriptors {
 public:
  explicit ReservedDescriptors(std::size_t count);
  ~ReservedDescriptors();
  ReservedDescriptors(const ReservedDescriptors&) = delete;
  ReservedDescriptors& operator=(const ReservedDescriptors&) = delete;

 private:
  static std::size_t Add(std::size_t count);  ///< @return the sum
  std::size_t count_;
};

/// What the connections of one server have in common.
class Hub : public std::enable_shared_from_this<Hub> {
 public:
  Hub(base::Reactor& reactor, Server::Options options, Handler handler, Refuse refuse);

  void Add(int fd, const std::string& source, std::optional<identity::PeerInfo> peer);
  /// Whether a connection from `source` may be added: a full server takes the place from the address that holds most.
  bool HasRoomFor(const std::string& source);
  /// Closes a connection of the address that holds most, if that is more than `source` holds. False: there is none.
  bool Displace(const std::string& source);
  /// Out of descriptors: closes one connection of an address that holds several.
  bool FreeDescriptor();
  /// Room among the proven for one of `share`: taken, if need be, from the address that holds most of those.
  bool HasProvenRoomFor(const Share& share);
  /// Closes the oldest lingering connection of the address that has most, when there are too many.
  void CapLingering();
  /// `last` holds more now. While its address holds more than is left free, a body is refused: of an address that
  /// holds more if there is one, else `last`.
  void ShedBodies(Connection& last);
  /// Forgets a share of which nothing is left.
  void Release(Shares::iterator share);
  /// Null, with a line in the log, when there is none.
  std::unique_ptr<crypto::TlsSession> AcceptTls();
  void Remove(Connection& connection);
  /// Closes what is idle; `drained` runs when nothing is left.
  void Drain(std::function<void()> drained);
  void CloseAll();
  /// Makes sure that the connection is looked at when `deadline` has come.
  void WakeAt(base::SteadyPoint deadline);
  /// True at most once in 10 s: what any client can cause must not fill the log.
  bool MayWarn();
  /// "Date: ..." line, made once a second.
  const std::string& DateLine();

  base::Reactor& reactor;
  const Server::Options options;
  const Handler handler;
  const Refuse refuse;
  std::unordered_map<Connection*, std::shared_ptr<Connection>> connections;
  const ReservedDescriptors descriptors{2 * options.limits.connections};
  Shares shares;
  std::size_t unproven = 0, proven = 0, lingering = 0, buffered = 0;  ///< sums over the shares
  bool draining = false;
  bool winding_down = false;  ///< each answer is its connection's last

 private:
  void Sweep();
  std::function<void()> drained_;
  base::Reactor::Id timer_ = 0;
  base::SteadyPoint wake_at_ = base::SteadyPoint::max();
  std::optional<base::SteadyPoint> warned_at_;
  std::string date_line_;
  std::int64_t date_second_ = -1;
};

class Connection final : public std::enable_shared_from_this<Connection>, public ClientLink {
 public:
  using Socket = boost::asio::generic::stream_protocol::socket;
  /// @param share an entry of hub->shares; the connection counts itself in and, when it closes, out
  Connection(std::shared_ptr<Hub> hub, Socket socket, std::optional<identity::PeerInfo> peer, Shares::iterator share);

  void Start();
  void StartTls(std::unique_ptr<crypto::TlsSession> session);
  void Close();
  /// The deadline of the present phase.
  [[nodiscard]] base::SteadyPoint deadline() const { return deadline_; }
  void OnDeadline();
  /// Closes now unless a request is on its way or in work.
  void CloseIfIdle();
  [[nodiscard]] bool gone() const override;
  void Prove() override;
  [[nodiscard]] const Share& share() const { return share_->second; }
  [[nodiscard]] bool proven() const { return proven_; }
  /// Which of an address's connections give way first. Up to kSilent the client owes us something.
  enum class Rank : std::uint8_t { kLingering, kSilent, kKept, kWorking };
  [[nodiscard]] Rank rank() const;
  [[nodiscard]] base::SteadyPoint since() const { return entered_; }  ///< start of the present phase
  [[nodiscard]] std::size_t refusable() const;                        ///< bytes that RefuseBody would give back
  void RefuseBody();

 private:
  /// In this order: up to kReceiving a connection waits for octets.
  enum class Phase : std::uint8_t { kHandshake, kIdle, kReceiving, kWorking, kWriting, kLingering, kClosed };
  class Ticket;
  /// What TLS adds; absent on plain connections. Its members are in connection_tls.cpp.
  struct Tls {
    std::unique_ptr<crypto::TlsSession> session;
    std::vector<char> received;  ///< where the socket's octets go
    std::string scratch;         ///< plaintext of a response, or what is to be sent at once
    bool heard = false;          ///< an octet has come
  };

  [[nodiscard]] std::string_view pending() const { return {in_.data() + begin_, end_ - begin_}; }
  void Enter(Phase phase);
  void Read();
  void OnRead(const boost::system::error_code& error, std::size_t size);
  void Process();
  bool Advance();
  bool MakeRoom();
  void Account(std::size_t bytes);
  bool SendContinue();
  void Dispatch();
  void Answer(std::uint64_t number, Response response);
  void RefuseWith(int status, std::string_view code, std::string_view detail);
  void Send(const Response& response, bool keep, bool head);
  void Write();
  void AfterWrite();
  void Linger();

  void OnCiphertext(const boost::system::error_code& error, std::size_t size);
  void OnTlsFailure();
  bool Decrypt();
  bool EncryptOut();
  bool SendEncrypted(std::string_view plaintext);
  bool SendNow(const std::string& ciphertext);
  bool Flush();
  void SayGoodbye();

  std::shared_ptr<Hub> hub_;
  Socket socket_;
  std::optional<identity::PeerInfo> peer_;
  Shares::iterator share_;
  std::unique_ptr<Tls> tls_;
  RequestParser parser_;
  Phase phase_ = Phase::kIdle;
  base::SteadyPoint deadline_ = base::SteadyPoint::max();
  base::SteadyPoint entered_{};  ///< the present phase
  std::vector<char> in_;
  std::size_t begin_ = 0, end_ = 0;  ///< received and not yet parsed
  std::string out_;
  std::size_t written_ = 0;
  Charge charge_;              ///< the body being received, or the answer being written
  std::size_t lingered_ = 0;   ///< octets thrown away
  std::uint64_t request_ = 0;  ///< number of the request in work
  bool reading_ = false;       ///< a read is under way
  bool processing_ = false;    ///< Process is on the stack
  bool close_after_ = false;   ///< no keep-alive after this response
  bool linger_after_ = false;  ///< input may be left after this response
  bool continued_ = false;     ///< "100 Continue" has been sent
  bool resuming_ = false;      ///< Process will run on the next turn of the loop
  bool proven_ = false;
};

}  // namespace signet::http
