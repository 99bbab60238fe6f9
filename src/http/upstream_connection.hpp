// http/upstream_connection.hpp - for this module's own .cpp files: one TLS connection to an endpoint, as its client.
//
// connecting -> handshake -> open; once open it carries one exchange at a time. While it is open it is always read, so
// that a server which closes an idle connection is noticed at once.
//
// Ownership:     shared with handlers of the loop; the owner (a pool) outlives it or calls Close first.
// Thread-safety: the loop's thread.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/reactor.hpp"
#include "base/result.hpp"
#include "crypto/tls_session.hpp"
#include "http/response_parser.hpp"

namespace signet::http {

class UpstreamConnection : public std::enable_shared_from_this<UpstreamConnection> {
 public:
  /// Hears of each connection: first OnOpen or OnFailure, then OnAnswer after each Send, at last OnFailure, once.
  /// After OnFailure, and after an OnAnswer with `keep` false, the connection is closed.
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void OnOpen(UpstreamConnection& connection) = 0;
    virtual void OnAnswer(UpstreamConnection& connection, Response response, bool keep) = 0;
    virtual void OnFailure(UpstreamConnection& connection, base::Error error) = 0;
  };
  struct Buffers {  ///< shared by all connections of a client: nothing stays in them between two handlers
    std::vector<std::uint8_t> plaintext = std::vector<std::uint8_t>(16 * 1024);
  };

  UpstreamConnection(Owner& owner, base::Reactor& reactor, Buffers& buffers, ResponseParser parser);

  /// @param tls a client's session that has not spoken yet
  void Open(const std::string& address, std::uint16_t port, std::unique_ptr<crypto::TlsSession> tls);
  /// A whole request, in one write. Only while open and without an exchange.
  void Send(std::string_view plaintext);
  /// The owner hears nothing more.
  void Close();

  [[nodiscard]] bool open() const { return state_ == State::kIdle || state_ == State::kBusy; }
  [[nodiscard]] bool busy() const { return state_ == State::kBusy; }
  [[nodiscard]] const crypto::TlsSession& tls() const { return *tls_; }

  base::SteadyPoint proven_at{};   ///< the pool's: opened, or answered last
  std::uint64_t answers = 0;       ///< the pool's: exchanges done
  base::Reactor::Id deadline = 0;  ///< the pool's: of connecting

 private:
  enum class State : std::uint8_t { kConnecting, kHandshake, kIdle, kBusy, kClosed };

  void OnConnected(const boost::system::error_code& error);
  void Read();
  void OnRead(const boost::system::error_code& error, std::size_t size);
  bool Decrypt();
  bool Parse();
  void Flush();
  void Write();
  void Fail(base::Error error);

  Owner* owner_;
  Buffers& buffers_;
  boost::asio::ip::tcp::socket socket_;
  std::unique_ptr<crypto::TlsSession> tls_;
  ResponseParser parser_;
  State state_ = State::kConnecting;
  std::vector<char> received_;  ///< ciphertext of one read: a whole record
  std::string in_;              ///< plaintext, not yet parsed
  std::string out_;             ///< ciphertext, not yet written
  std::size_t written_ = 0;
  bool writing_ = false;
};

}  // namespace signet::http
