#include "kube/relay.hpp"

#include <openssl/ssl.h>

#include <array>
#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <mutex>
#include <optional>
#include <sstream>
#include <thread>
#include <utility>
#include <vector>

#include "base/environment.hpp"
#include "crypto/issuers.hpp"
#include "encoding/text.hpp"
#include "kube/proxy.hpp"
#include "kube/read_file.hpp"

namespace signet::kube {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::use_awaitable;
using asio::ip::tcp;
using TlsStream = asio::ssl::stream<tcp::socket>;

constexpr std::chrono::seconds kConnectTime{30};  // until bytes flow
constexpr std::size_t kMaxConnections = 256;
constexpr std::size_t kMaxProxyAnswer = 16U << 10;
constexpr std::size_t kPiece = 16U << 10;

/// What went wrong on the way to the server, for people.
struct Problem {
  std::string text;
};

/// A connection of the library, and the one to the server or the proxy that belongs to it.
struct Pair {
  Pair(tcp::socket accepted, asio::io_context& io) : client(std::move(accepted)), upstream(io) {}

  void Close() {
    boost::system::error_code ignored;
    client.close(ignored);
    (tls ? tls->next_layer() : upstream).close(ignored);
  }

  tcp::socket client;
  tcp::socket upstream;          ///< moved into `tls` for an https proxy
  std::optional<TlsStream> tls;  ///< to the proxy
  bool late = false;
};

std::string JoinHostPort(const std::string& host, const std::string& port) {
  return host.find(':') == std::string::npos ? host + ":" + port : "[" + host + "]:" + port;
}

std::string InitialEnvironment(std::string_view name) {
  for (const auto& entry : base::ChildEnvironment()) {
    if (entry.starts_with(std::string(name) + "=")) return entry.substr(name.size() + 1);
  }
  return "";
}

SystemRoots FindSystemRoots() {
  const std::string file = InitialEnvironment("SSL_CERT_FILE");
  const std::string folders = InitialEnvironment("SSL_CERT_DIR");
  SystemRoots out{file.empty() ? X509_get_default_cert_file() : file, {}};
  std::istringstream list(folders.empty() ? X509_get_default_cert_dir() : folders);
  for (std::string folder; std::getline(list, folder, ':');) out.folders.push_back(folder);
  return out;
}

/// The system's roots, as this process found them, and the cluster's CA.
base::Result<std::unique_ptr<asio::ssl::context>> ProxyTls(const ClusterConfig& config) {
  auto context = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_client);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  X509_STORE* store = SSL_CTX_get_cert_store(context->native_handle());
  const auto roots = FindSystemRoots();
  X509_STORE_load_file(store, roots.file.c_str());
  for (const auto& folder : roots.folders) X509_STORE_load_path(store, folder.c_str());
  std::string pem = config.ca_data;
  if (pem.empty()) {
    TRY(pem, ReadFile(config.ca_file));
  }
  boost::system::error_code ignored;  // the configuration's reader complains of a CA that is none
  context->add_certificate_authority(asio::buffer(pem), ignored);
  crypto::TryEveryIssuer(store);
  context->set_verify_mode(asio::ssl::verify_peer);
  return context;
}

// ---- what proxies want to hear before they pass bytes on ----

/// @return bytes of the server that came with the proxy's answer
template <class Stream>
asio::awaitable<std::string> AskHttpProxy(Stream& stream, const Proxy& proxy, const ServerAddress& server) {
  const std::string target = JoinHostPort(server.host, server.port);
  std::string request = "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n";
  if (!proxy.user.empty() || !proxy.password.empty()) {
    const std::string identity = proxy.user + ":" + proxy.password;
    request += "Proxy-Authorization: Basic " + encoding::ToBase64(base::AsBytes(identity)) + "\r\n";
  }
  request += "\r\n";
  co_await asio::async_write(stream, asio::buffer(request), use_awaitable);
  beast::flat_buffer buffer(kMaxProxyAnswer);
  beast::http::response_parser<beast::http::empty_body> parser;
  parser.skip(true);
  co_await beast::http::async_read_header(stream, buffer, parser, use_awaitable);
  if (parser.get().result() != beast::http::status::ok) {
    throw Problem{"the proxy answers CONNECT with status " + std::to_string(parser.get().result_int())};
  }
  co_return std::string(static_cast<const char*>(buffer.data().data()), buffer.size());
}

template <std::size_t kSize>
asio::awaitable<std::array<std::uint8_t, kSize>> ReadExactly(tcp::socket& socket) {
  std::array<std::uint8_t, kSize> out{};
  co_await asio::async_read(socket, asio::buffer(out), use_awaitable);
  co_return out;
}

asio::awaitable<void> LogInToSocks(tcp::socket& socket, const Proxy& proxy) {
  constexpr char kNone = 0;
  constexpr char kPassword = 2;
  const bool has_identity = !proxy.user.empty() || !proxy.password.empty();
  const std::string greeting = has_identity ? std::string{5, 2, kNone, kPassword} : std::string{5, 1, kNone};
  co_await asio::async_write(socket, asio::buffer(greeting), use_awaitable);
  const auto chosen = co_await ReadExactly<2>(socket);
  if (chosen[0] != 5) throw Problem{"the proxy does not speak SOCKS5"};
  if (chosen[1] == kNone) co_return;
  if (chosen[1] != kPassword || !has_identity) throw Problem{"the proxy wants a login that its URL does not give"};
  const std::string login = std::string{1, static_cast<char>(proxy.user.size())} + proxy.user +
                            static_cast<char>(proxy.password.size()) + proxy.password;
  co_await asio::async_write(socket, asio::buffer(login), use_awaitable);
  if ((co_await ReadExactly<2>(socket))[1] != 0) throw Problem{"the proxy refuses user and password of its URL"};
}

asio::awaitable<void> AskSocksProxy(tcp::socket& socket, const Proxy& proxy, const ServerAddress& server) {
  co_await LogInToSocks(socket, proxy);
  std::string request{5, 1, 0};
  boost::system::error_code no_address;
  const auto address = asio::ip::make_address(server.host, no_address);
  if (no_address) {
    constexpr std::size_t kMaxName = 255;
    if (server.host.size() > kMaxName) throw Problem{"the server's name is too long for SOCKS5"};
    request += {3, static_cast<char>(server.host.size())};
    request += server.host;
  } else if (address.is_v4()) {
    const auto bytes = address.to_v4().to_bytes();
    request += '\1';
    request.append(bytes.begin(), bytes.end());
  } else {
    const auto bytes = address.to_v6().to_bytes();
    request += '\4';
    request.append(bytes.begin(), bytes.end());
  }
  const int port = std::stoi(server.port);
  request += {static_cast<char>(port / 256), static_cast<char>(port % 256)};
  co_await asio::async_write(socket, asio::buffer(request), use_awaitable);
  const auto answer = co_await ReadExactly<5>(socket);  // the fifth: first of the address, or length of a name
  if (answer[0] != 5) throw Problem{"the proxy does not speak SOCKS5"};
  if (answer[1] != 0) throw Problem{"the proxy refuses with SOCKS5 reply " + std::to_string(answer[1])};
  const std::size_t rest = answer[3] == 1 ? 3 : answer[3] == 4 ? 15 : answer[4];
  std::vector<std::uint8_t> bound(rest + 2);  // which we have no use for
  co_await asio::async_read(socket, asio::buffer(bound), use_awaitable);
}

// ---- bytes, both ways ----

template <class Stream>
asio::awaitable<void> Upwards(std::shared_ptr<Pair> pair, Stream& upstream) {
  std::array<char, kPiece> piece{};
  boost::system::error_code ended;
  while (!ended) {
    const std::size_t size =
        co_await pair->client.async_read_some(asio::buffer(piece), asio::redirect_error(use_awaitable, ended));
    if (ended) break;
    co_await asio::async_write(upstream, asio::buffer(piece, size), asio::redirect_error(use_awaitable, ended));
  }
  pair->Close();  // the library has gone, or the server: neither waits for the other
}

template <class Stream>
asio::awaitable<void> Downwards(std::shared_ptr<Pair> pair, Stream& upstream) {
  std::array<char, kPiece> piece{};
  boost::system::error_code ended;
  while (!ended) {
    const std::size_t size =
        co_await upstream.async_read_some(asio::buffer(piece), asio::redirect_error(use_awaitable, ended));
    if (ended) break;
    co_await asio::async_write(pair->client, asio::buffer(piece, size), asio::redirect_error(use_awaitable, ended));
  }
  boost::system::error_code ignored;  // the library reads what is on its way, sees the end and closes
  pair->client.shutdown(tcp::socket::shutdown_send, ignored);
}

}  // namespace

class Relay::Impl {
 public:
  Impl(ServerAddress server, std::optional<Proxy> proxy, std::unique_ptr<asio::ssl::context> proxy_tls)
      : server_(std::move(server)),
        proxy_(std::move(proxy)),
        proxy_tls_(std::move(proxy_tls)),
        acceptor_(io_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)),
        port_(acceptor_.local_endpoint().port()) {
    asio::co_spawn(io_, Accept(), asio::detached);
    thread_ = std::thread([this] { io_.run(); });
  }
  ~Impl() {
    io_.stop();
    thread_.join();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  [[nodiscard]] std::string authority() const { return "127.0.0.1:" + std::to_string(port_); }
  std::string LastProblem() {
    const std::lock_guard lock(mutex_);
    return problem_;
  }

 private:
  asio::awaitable<void> Accept() {
    for (;;) {
      boost::system::error_code failed;
      auto socket = co_await acceptor_.async_accept(asio::redirect_error(use_awaitable, failed));
      if (failed == asio::error::operation_aborted) co_return;
      if (failed) {  // no descriptors left: they come back
        asio::steady_timer pause(io_, std::chrono::milliseconds(100));
        co_await pause.async_wait(use_awaitable);
      } else if (connections_ < kMaxConnections) {
        asio::co_spawn(io_, Serve(std::move(socket)), asio::detached);
      }
    }
  }

  asio::awaitable<void> Serve(tcp::socket accepted) {
    const auto pair = std::shared_ptr<Pair>(new Pair(std::move(accepted), io_), [this](Pair* over) {
      delete over;
      --connections_;
    });
    ++connections_;
    Note("no answer yet");
    std::string problem;
    std::string early;
    try {
      early = co_await Reach(pair);
    } catch (const Problem& found) {
      problem = found.text;
    } catch (const boost::system::system_error& error) {
      problem = error.code().message();
    }
    if (pair->late) problem = "no connection within 30 seconds";
    Note(problem);
    if (!problem.empty()) {
      pair->Close();
      co_return;
    }
    if (pair->tls) {
      co_await Pass(pair, *pair->tls, std::move(early));
    } else {
      co_await Pass(pair, pair->upstream, std::move(early));
    }
  }

  template <class Stream>
  asio::awaitable<void> Pass(std::shared_ptr<Pair> pair, Stream& upstream, std::string early) {
    boost::system::error_code failed;
    co_await asio::async_write(pair->client, asio::buffer(early), asio::redirect_error(use_awaitable, failed));
    pair->client.set_option(tcp::no_delay(true), failed);
    asio::co_spawn(io_, Upwards(pair, upstream), asio::detached);
    co_await Downwards(pair, upstream);
  }

  /// Connects to the server, through the proxy.
  asio::awaitable<std::string> Reach(std::shared_ptr<Pair> pair) {
    asio::steady_timer deadline(io_, kConnectTime);
    deadline.async_wait([weak = std::weak_ptr<Pair>(pair)](const boost::system::error_code& cancelled) {
      const auto late = weak.lock();
      if (cancelled || late == nullptr) return;
      late->late = true;
      late->Close();
    });
    tcp::resolver resolver(io_);
    const std::string& host = proxy_ ? proxy_->host : server_.host;
    const auto found = co_await resolver.async_resolve(host, proxy_ ? proxy_->port : server_.port, use_awaitable);
    co_await asio::async_connect(pair->upstream, found, use_awaitable);
    pair->upstream.set_option(tcp::no_delay(true));
    if (!proxy_) co_return std::string();
    if (proxy_->kind == Proxy::Kind::kSocks5) {
      co_await AskSocksProxy(pair->upstream, *proxy_, server_);
      co_return std::string();
    }
    if (proxy_->kind == Proxy::Kind::kHttp) co_return co_await AskHttpProxy(pair->upstream, *proxy_, server_);
    pair->tls.emplace(std::move(pair->upstream), *proxy_tls_);
    pair->tls->set_verify_callback(asio::ssl::host_name_verification(host));
    SSL_set_tlsext_host_name(pair->tls->native_handle(), host.c_str());
    co_await pair->tls->async_handshake(asio::ssl::stream_base::client, use_awaitable);
    co_return co_await AskHttpProxy(*pair->tls, *proxy_, server_);
  }

  void Note(const std::string& problem) {
    const std::string way = proxy_ ? "through the proxy " + JoinHostPort(proxy_->host, proxy_->port)
                                   : "to " + JoinHostPort(server_.host, server_.port);
    const std::lock_guard lock(mutex_);
    problem_ = problem.empty() ? "" : way + ": " + problem;
  }

  const ServerAddress server_;
  const std::optional<Proxy> proxy_;
  const std::unique_ptr<asio::ssl::context> proxy_tls_;
  std::mutex mutex_;
  std::string problem_;  ///< guarded by mutex_
  std::size_t connections_ = 0;
  asio::io_context io_{1};  // before all that its handlers refer to goes, they do
  tcp::acceptor acceptor_;
  const std::uint16_t port_;
  std::thread thread_;
};

Relay::Relay(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Relay::~Relay() = default;

std::optional<SystemRoots> Relay::RootsOf(const ClusterConfig& config) {
  const auto proxy = ParseProxy(config.proxy_url);
  if (!proxy || proxy->kind != Proxy::Kind::kHttps) return std::nullopt;
  return FindSystemRoots();
}

bool Relay::IsNeeded(const ServerAddress& server, const ClusterConfig& config) {
  return server.IsIpv6() || !config.proxy_url.empty();
}

base::Result<std::unique_ptr<Relay>> Relay::Start(const ServerAddress& server, const ClusterConfig& config) {
  std::optional<Proxy> proxy;
  std::unique_ptr<asio::ssl::context> proxy_tls;
  if (!config.proxy_url.empty()) {
    TRY(proxy, ParseProxy(config.proxy_url));
    if (proxy->kind == Proxy::Kind::kHttps) {
      TRY(proxy_tls, ProxyTls(config));
    }
  }
  try {
    return std::unique_ptr<Relay>(new Relay(std::make_unique<Impl>(server, std::move(proxy), std::move(proxy_tls))));
  } catch (const boost::system::system_error& error) {
    return base::MakeError(base::Code::kUnavailable, "NoConnection",
                           std::string("cannot listen on a port of 127.0.0.1: ") + error.what());
  }
}

std::string Relay::authority() const { return impl_->authority(); }
std::string Relay::LastProblem() const { return impl_->LastProblem(); }

}  // namespace signet::kube
