#include "http/client.hpp"

#include <fmt/format.h>

#include <utility>
// Boost 1.74 needs <utility> first.
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <charconv>

namespace signet::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using base::Code;
using Protocol = asio::local::stream_protocol;
using Tcp = asio::ip::tcp;

base::Error ConnectError(const std::string& path, const boost::system::error_code& error) {
  const int number = error.value();
  if (number == ENOENT) return base::ErrnoError(Code::kNotFound, fmt::format("no socket {}", path), number);
  if (number == EACCES || number == EPERM) {
    return base::ErrnoError(Code::kPermissionDenied, fmt::format("not allowed to use the socket {}", path), number);
  }
  return base::ErrnoError(Code::kUnavailable, fmt::format("nobody serves the socket {}", path), number);
}

base::Error ExchangeError(const std::string& path, const boost::system::error_code& error) {
  if (error == beast::error::timeout) {
    return base::MakeError(Code::kDeadlineExceeded, fmt::format("no answer from {} in time", path));
  }
  const bool broken = error.category() == boost::system::system_category() || error == asio::error::eof ||
                      error == beast::http::error::end_of_stream || error == beast::http::error::partial_message;
  return base::MakeError(broken ? Code::kUnavailable : Code::kInternal,
                         fmt::format("the connection to {} broke: {}", path, error.message()));
}

/// Runs one asynchronous step to its end; the stream's own timer bounds it.
template <class Start>
boost::system::error_code Step(asio::io_context& loop, Start start) {
  boost::system::error_code result;
  start([&result](const boost::system::error_code& error, auto&&...) { result = error; });
  loop.restart();
  loop.run();
  return result;
}

/// One exchange over a connected stream. @param peer  for messages
template <class Stream>
base::Result<ClientResponse> Exchange(asio::io_context& loop, Stream& stream, const std::string& peer,
                                      const ClientRequest& request) {
  beast::http::request<beast::http::string_body> sent;
  sent.version(11);
  sent.method_string(request.method);
  sent.target(request.target);
  sent.set(beast::http::field::host, "localhost");
  sent.set(beast::http::field::connection, "close");
  for (const auto& [name, value] : request.fields) sent.set(name, value);
  sent.body() = request.body;
  sent.prepare_payload();
  auto error = Step(loop, [&](auto done) { beast::http::async_write(stream, sent, std::move(done)); });
  // A server may answer and close before it has read everything (413); the answer tells more than the broken pipe.
  if (error == beast::error::timeout) return ExchangeError(peer, error);

  beast::flat_buffer buffer;
  beast::http::response_parser<beast::http::string_body> parser;
  parser.body_limit(UnixClient::kMaxBody);
  error = Step(loop, [&](auto done) { beast::http::async_read(stream, buffer, parser, std::move(done)); });
  if (error) return ExchangeError(peer, error);
  auto& received = parser.get();
  ClientResponse out;
  out.status = static_cast<int>(received.result_int());
  out.content_type = std::string(received[beast::http::field::content_type]);
  const auto after = received[beast::http::field::retry_after];
  std::int64_t seconds = 0;
  std::from_chars(after.data(), after.data() + after.size(), seconds);
  out.retry_after = std::chrono::seconds(seconds);
  out.body = std::move(received.body());
  return out;
}

/// Nothing: not a numeric address with a port.
std::optional<Tcp::endpoint> EndpointOf(const std::string& address) {
  const auto colon = address.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  std::string host = address.substr(0, colon);
  if (host.size() > 1 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  if (host.empty() || host == "localhost" || host == "0.0.0.0") host = "127.0.0.1";
  if (host == "::") host = "::1";
  std::uint16_t port = 0;
  const char* end = address.data() + address.size();
  const auto [stopped, failed] = std::from_chars(address.data() + colon + 1, end, port);
  boost::system::error_code error;
  const auto parsed = asio::ip::make_address(host, error);
  if (failed != std::errc() || stopped != end || error) return std::nullopt;
  return Tcp::endpoint(parsed, port);
}

}  // namespace

base::Result<ClientResponse> UnixClient::Send(const ClientRequest& request, std::chrono::milliseconds deadline) const {
  if (path_.empty() || path_.size() > 107) {
    return base::MakeError(Code::kInvalidArgument, fmt::format("\"{}\" is no path of a socket", path_));
  }
  asio::io_context loop;
  beast::basic_stream<Protocol> stream(loop);
  stream.expires_after(deadline);
  auto error = Step(loop, [&](auto done) { stream.async_connect(Protocol::endpoint(path_), std::move(done)); });
  if (error == beast::error::timeout) return ExchangeError(path_, error);
  if (error) return ConnectError(path_, error);
  return Exchange(loop, stream, path_, request);
}

base::Result<ClientResponse> TcpClient::Send(const ClientRequest& request, std::chrono::milliseconds deadline) const {
  const auto endpoint = EndpointOf(address_);
  if (!endpoint) {
    return base::MakeError(Code::kInvalidArgument,
                           fmt::format("\"{}\" is not HOST:PORT with a numeric host", address_));
  }
  asio::io_context loop;
  beast::basic_stream<Tcp> stream(loop);
  stream.expires_after(deadline);
  auto error = Step(loop, [&](auto done) { stream.async_connect(*endpoint, std::move(done)); });
  if (error == beast::error::timeout) return ExchangeError(address_, error);
  if (error) return base::ErrnoError(Code::kUnavailable, fmt::format("nobody listens on {}", address_), error.value());
  return Exchange(loop, stream, address_, request);
}

}  // namespace signet::http
