// http/server.hpp - HTTP/1.1 on Unix sockets, loopback TCP and TLS, with limits before parsing.
//
// Thread-safety: create, Listen and Stop on the reactor's thread. Handlers run on
//                that thread; a Responder may be called there, once, now or later.
// Blocking:      never.
// Limits:        Options; header and body are capped before anything is parsed; one request of a
//                connection is in work at a time (pipelined bytes wait in a bounded buffer). TLS adds at most
//                100 KiB a connection; a handshake must be done within header_time.
// Fairness:      slots and body memory are shared by the clients' addresses: what one address takes is taken from that
//                address when another needs it. docs/adr/0014-slots-and-who-gives-way.md
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/reactor.hpp"
#include "base/result.hpp"
#include "crypto/tls_session.hpp"
#include "identity/principal.hpp"

namespace signet::http {

/// Who waits for the answer of a request.
class ClientLink {
 public:
  virtual ~ClientLink() = default;
  /// The client has closed its connection, or has broken it: nobody will read an answer. A half-closed one still waits.
  [[nodiscard]] virtual bool gone() const = 0;
  /// The caller has proven who it is. Its connection is counted apart from then on: connections whose callers have
  /// proven nothing cannot displace it. Loop thread.
  virtual void Prove() {}
};

struct Request {
  std::string_view method;        ///< "GET", "POST", ...
  std::string_view target;        ///< path without query, as sent
  std::string_view query;         ///< after '?', may be empty
  std::string_view content_type;  ///< lower case, without parameters
  std::string_view body;
  std::optional<identity::PeerInfo> peer;  ///< Unix sockets
  std::vector<std::pair<std::string_view, std::string_view>>
      headers;                       ///< those of Options::wanted_headers that came, names in lower case
  std::weak_ptr<ClientLink> client;  ///< may be kept; expired: gone
  std::string_view source;           ///< which address it comes from, as slots are shared; not for reading
};
struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  ///< Retry-After, Allow
};
using Responder = std::function<void(Response)>;
/// All views of the request die when the handler returns.
using Handler = std::function<void(const Request&, Responder)>;
/// The value of a wanted header, or nothing. A header that came twice has its first value here.
std::optional<std::string_view> FindHeader(const Request& request, std::string_view lower_case_name);
/// Makes the response for what the server itself refuses (400, 403, 408, 413, 417, 431, 500, 503): problem+json.
using Refuse = std::function<Response(int status, std::string_view code, std::string_view detail)>;

struct Limits {
  std::size_t header_bytes = 16 * 1024;
  std::size_t body_bytes = 1024 * 1024;
  std::chrono::milliseconds header_time{10000};  ///< to receive a request once its first byte came
  std::chrono::milliseconds idle_time{300000};   ///< keep-alive without a request
  std::chrono::milliseconds write_time{10000};
  // Where these run out, the address that holds most gives way to others; it alone gets 503 (over TLS: is closed).
  std::size_t connections = 512;  ///< of callers that have proven nothing; as many again of those that have
  /// All bodies from their first byte to their answer, and answers that clients do not read. One address never holds
  /// more than it leaves free.
  std::size_t buffered_bytes = 16 * 1024 * 1024;
};

class Server {
 public:
  struct Options {
    std::string unix_path;  ///< one of unix_path and tcp; mode `unix_mode`
    std::uint32_t unix_mode = 0660;
    std::vector<std::uint32_t> allowed_uids;  ///< Unix sockets; empty: all; others are told 403 unheard, and closed
    std::string tcp;                          ///< "127.0.0.1:PORT" or "[::1]:PORT"; PORT 0 picks one (see port())
    bool allow_remote = false;                ///< tcp may name any address (probes and metrics of the operator)
    bool require_loopback_host = false;       ///< loopback port: Host must name loopback
    std::vector<std::string> wanted_headers = {"accept", "idempotency-key"};  ///< lower case
    Limits limits;
    /// Empty: plain HTTP. Else (tcp only) asked for each new connection, on the loop: a rotated certificate serves new
    /// connections while old ones go on with theirs. A null answer closes the connection: never plain in its place.
    std::function<std::shared_ptr<const crypto::TlsContext>()> tls;
  };
  virtual ~Server() = default;  ///< closes; removes its Unix socket if that is still its own
  /// A stale Unix socket (nobody answers) is replaced, a live one refused.
  /// @return kFailedPrecondition the address is in use; kInvalidArgument not loopback, path over 107
  ///         bytes, TLS on a Unix socket
  static base::Result<std::unique_ptr<Server>> Listen(base::Reactor& reactor, Options options, Handler handler,
                                                      Refuse refuse);
  /// From now on every answer is its connection's last ("Connection: close"), so that clients come back elsewhere by
  /// themselves; new connections are still accepted. What goes before Drain where others can take over.
  virtual void WindDown() = 0;
  /// Stops accepting, lets requests in work finish, then calls `drained` (at once when idle).
  virtual void Drain(std::function<void()> drained) = 0;
  [[nodiscard]] virtual std::uint16_t port() const = 0;
  [[nodiscard]] virtual std::size_t connections() const = 0;
};

}  // namespace signet::http
