#define _TURN_OFF_PLATFORM_STRING  // U(x) is a macro otherwise
#include <cpprest/http_client.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <pplx/threadpool.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <mutex>
#include <optional>
#include <sstream>
#include <utility>

#include "base/environment.hpp"
#include "kube/rest_store.hpp"
#include "kube/transport.hpp"
#include "obs/log.hpp"

namespace signet::kube {

void InitializeProcess() {
  static std::once_flag once;
  std::call_once(once, [] {
    base::SetForThisProcess("SSL_CERT_FILE", "/dev/null");
    base::SetForThisProcess("SSL_CERT_DIR", "/nonexistent");
    try {
      crossplat::threadpool::initialize_with_threads(2);  // 40 by default
    } catch (const std::exception&) {
      obs::Warn("the HTTP client's threads were started before InitializeProcess");
    }
  });
}

namespace {

namespace http = web::http;
namespace streams = concurrency::streams;
using base::Code;
using std::chrono::milliseconds;

// ---- TLS ----

base::Error Refuse(std::string message) {
  ERR_clear_error();
  return base::MakeError(Code::kInvalidArgument, "ConfigInvalid", std::move(message));
}

base::Result<std::string> ReadFile(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  if (file) content << file.rdbuf();
  if (!file || content.str().empty()) {
    const int err = errno;
    const Code code = err == EACCES ? Code::kPermissionDenied : err == ENOENT ? Code::kNotFound : Code::kUnavailable;
    return base::ErrnoError(code, "cannot read " + path, err);
  }
  return content.str();
}

struct Freer {
  void operator()(BIO* bio) const { BIO_free_all(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(X509_STORE* store) const { X509_STORE_free(store); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(STACK_OF(X509) * chain) const { sk_X509_pop_free(chain, X509_free); }
};
template <class T>
using Owned = std::unique_ptr<T, Freer>;

/// What every connection's TLS context gets; shared by all of them.
struct Tls {
  Owned<X509_STORE> authorities;
  Owned<X509> certificate;
  Owned<STACK_OF(X509)> chain;
  Owned<EVP_PKEY> key;
};

int NoPassword(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*user*/) { return 0; }

base::Result<Owned<X509_STORE>> ReadAuthorities(const ClusterConfig& config) {
  std::string pem = config.ca_data;
  if (pem.empty()) {
    TRY(pem, ReadFile(config.ca_file));
  }
  const Owned<BIO> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  Owned<X509_STORE> store(X509_STORE_new());
  int count = 0;
  while (const Owned<X509> certificate{PEM_read_bio_X509(bio.get(), nullptr, NoPassword, nullptr)}) {
    X509_STORE_add_cert(store.get(), certificate.get());
    ++count;
  }
  ERR_clear_error();  // the end of the text is an error to OpenSSL
  if (count == 0) return Refuse("the API server's CA is not a PEM certificate");
  // As Go does: a CA that is named is trusted, self-signed or not.
  X509_STORE_set_flags(store.get(), X509_V_FLAG_PARTIAL_CHAIN);
  return store;
}

base::Status ReadClientCertificate(const ClusterConfig& config, Tls& tls) {
  std::string pem = config.client_certificate_data;
  if (pem.empty()) {
    if (config.client_certificate_file.empty()) return {};
    TRY(pem, ReadFile(config.client_certificate_file));
  }
  const Owned<BIO> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  tls.certificate.reset(PEM_read_bio_X509(bio.get(), nullptr, NoPassword, nullptr));
  if (!tls.certificate) return Refuse("the client certificate is not PEM");
  tls.chain.reset(sk_X509_new_null());
  while (X509* next = PEM_read_bio_X509(bio.get(), nullptr, NoPassword, nullptr)) sk_X509_push(tls.chain.get(), next);
  ERR_clear_error();

  base::Secret key_text;
  if (config.client_key_data.empty()) {
    TRY(std::string read, ReadFile(config.client_key_file));
    key_text = base::Secret(base::ToBytes(base::AsBytes(read)));
    base::WipeMemory(read.data(), read.size());
  }
  const base::ByteView key = key_text.empty() ? config.client_key_data.Reveal() : key_text.Reveal();
  const Owned<BIO> key_bio(BIO_new_mem_buf(key.data(), static_cast<int>(key.size())));
  tls.key.reset(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, NoPassword, nullptr));
  if (!tls.key) return Refuse("the client key is not an unencrypted PEM key");
  if (X509_check_private_key(tls.certificate.get(), tls.key.get()) != 1) {
    return Refuse("the client key does not belong to the client certificate");
  }
  return {};
}

base::Result<std::shared_ptr<const Tls>> ReadTls(const ClusterConfig& config) {
  auto tls = std::make_shared<Tls>();
  TRY(tls->authorities, ReadAuthorities(config));
  TRY_VOID(ReadClientCertificate(config, *tls));
  return std::shared_ptr<const Tls>(std::move(tls));
}

void Apply(const Tls& tls, SSL_CTX* context) {
  X509_STORE_up_ref(tls.authorities.get());
  SSL_CTX_set_cert_store(context, tls.authorities.get());  // drops the system's roots that the library has loaded
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  if (tls.certificate) {
    SSL_CTX_use_cert_and_key(context, tls.certificate.get(), tls.key.get(), tls.chain.get(), 1);
  }
}

// ---- responses ----

/// Hands what is written to a function; nothing accumulates and no thread waits.
class PushBuffer final : public streams::details::streambuf_state_manager<std::uint8_t> {
 public:
  using Take = std::function<void(std::string_view)>;
  explicit PushBuffer(Take take) : streambuf_state_manager(std::ios_base::out), take_(std::move(take)) {}

  bool can_seek() const override { return false; }
  bool has_size() const override { return false; }
  std::size_t buffer_size(std::ios_base::openmode /*direction*/) const override { return 0; }
  void set_buffer_size(std::size_t /*size*/, std::ios_base::openmode /*direction*/) override {}
  std::size_t in_avail() const override { return 0; }
  pos_type getpos(std::ios_base::openmode /*direction*/) const override { return traits::eof(); }
  pos_type seekpos(pos_type /*position*/, std::ios_base::openmode /*direction*/) override { return traits::eof(); }
  pos_type seekoff(off_type /*offset*/, std::ios_base::seekdir /*way*/, std::ios_base::openmode /*mode*/) override {
    return traits::eof();
  }
  bool acquire(std::uint8_t*& /*data*/, std::size_t& /*count*/) override { return false; }
  void release(std::uint8_t* /*data*/, std::size_t /*count*/) override {}

 protected:
  pplx::task<int_type> _putc(std::uint8_t octet) override {
    Push(&octet, 1);
    return pplx::task_from_result<int_type>(octet);
  }
  pplx::task<std::size_t> _putn(const std::uint8_t* data, std::size_t count) override {
    Push(data, count);
    return pplx::task_from_result(count);
  }
  pplx::task<int_type> _bumpc() override { return pplx::task_from_result<int_type>(traits::eof()); }
  int_type _sbumpc() override { return traits::eof(); }
  pplx::task<int_type> _getc() override { return pplx::task_from_result<int_type>(traits::eof()); }
  int_type _sgetc() override { return traits::eof(); }
  pplx::task<int_type> _nextc() override { return pplx::task_from_result<int_type>(traits::eof()); }
  pplx::task<int_type> _ungetc() override { return pplx::task_from_result<int_type>(traits::eof()); }
  pplx::task<std::size_t> _getn(std::uint8_t* /*data*/, std::size_t /*count*/) override {
    return pplx::task_from_result<std::size_t>(0);
  }
  std::size_t _scopy(std::uint8_t* /*data*/, std::size_t /*count*/) override { return 0; }
  pplx::task<bool> _sync() override { return pplx::task_from_result(true); }
  std::uint8_t* _alloc(std::size_t /*count*/) override { return nullptr; }
  void _commit(std::size_t /*count*/) override {}

 private:
  void Push(const std::uint8_t* data, std::size_t count) noexcept {
    try {
      take_({reinterpret_cast<const char*>(data), count});
    } catch (const std::exception& error) {  // it would end the process
      obs::Err("response octets dropped", {{"error", error.what()}});
    }
  }

  const Take take_;
};

/// The error of a failed task. The library keeps no categories: cancelled, timed out, or anything else.
base::Error ErrorOf(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const http::http_exception& error) {
    if (error.error_code() == std::errc::timed_out) {
      return base::MakeError(Code::kDeadlineExceeded, "Timeout", "the connection was silent for too long");
    }
    std::string why = error.what();
    if (why.find("SSL") != std::string::npos) {
      why += " (is the CA the one of this server, and the host in its certificate?)";
    }
    return {Code::kUnavailable,
            "NoConnection",
            "no connection to the API server: " + why,
            {"cpprest", error.error_code().value()}};
  } catch (const std::exception& error) {
    return base::MakeError(Code::kUnavailable, "NoConnection",
                           std::string("no connection to the API server: ") + error.what());
  }
}

std::chrono::seconds RetryAfter(const http::http_headers& headers) {
  int seconds = 0;  // the HTTP-date form is not used by API servers, and does not match
  return headers.match("Retry-After", seconds) && seconds > 0 ? std::chrono::seconds(seconds) : std::chrono::seconds(0);
}

/// Chains of the library that have not ended; the transport outlives them.
struct Outstanding {
  std::mutex mutex;
  std::condition_variable changed;
  int count = 0;

  void Begin() {
    const std::lock_guard lock(mutex);
    ++count;
  }
  void End() {
    const std::lock_guard lock(mutex);
    --count;
    changed.notify_all();
  }
};

struct Clients {
  http::client::http_client requests;
  http::client::http_client watches;
};

/// One blocking exchange: what the library's threads have found so far.
struct Call {
  std::mutex mutex;
  std::condition_variable changed;
  bool answered = false;
  bool done = false;
  bool too_large = false;
  HttpResponse response;
  std::optional<base::Error> error;
};

class CancellableStream final : public Stream {
 public:
  ~CancellableStream() override { Cancel(); }
  void Cancel() override { source_.cancel(); }
  [[nodiscard]] pplx::cancellation_token token() const { return source_.get_token(); }

 private:
  pplx::cancellation_token_source source_;
};

class CpprestTransport final : public Transport {
 public:
  CpprestTransport(ClusterConfig config, std::size_t max_body) : config_(std::move(config)), max_body_(max_body) {}
  ~CpprestTransport() override {
    std::unique_lock lock(outstanding_->mutex);
    outstanding_->changed.wait_for(lock, std::chrono::seconds(5), [this] { return outstanding_->count == 0; });
  }

  base::Status Connect() {
    TRY(auto clients, MakeClients());
    const std::lock_guard lock(mutex_);
    clients_ = std::move(clients);
    return {};
  }

  base::Result<HttpResponse> Send(const HttpRequest& request, const Deadlines& deadlines) override {
    TRY(http::http_request message, MakeMessage(request));
    const auto call = std::make_shared<Call>();
    const auto clients = Current();
    pplx::cancellation_token_source cancellation;
    Begin(clients->requests, std::move(message), cancellation.get_token(), Collect(call, request.max_answer));
    const bool in_time = Await(*call, deadlines);
    if (!in_time) cancellation.cancel();

    std::unique_lock lock(call->mutex);
    if (call->too_large) {
      return base::MakeError(Code::kInternal, std::string(kAnswerTooLarge), "the answer is larger than allowed");
    }
    // Whatever the cancelled exchange says of itself by now.
    if (!in_time && (!call->done || call->error)) {
      return base::MakeError(Code::kDeadlineExceeded, "Timeout", "the API server did not answer in time");
    }
    if (!call->error) return std::move(call->response);
    base::Error error = *std::move(call->error);
    lock.unlock();
    if (error.code == Code::kUnavailable) Renew(clients);
    return error;
  }

  std::unique_ptr<Stream> OpenStream(const HttpRequest& request, StreamSink sink) override {
    auto stream = std::make_unique<CancellableStream>();
    auto message = MakeMessage(request);
    if (!message) {
      sink.on_end(base::Error(message.error()));
      return stream;
    }
    const auto clients = Current();
    // The end may come when this transport is gone; its connections are then of no interest either.
    sink.on_end = [forward = std::move(sink.on_end), weak = std::weak_ptr<CpprestTransport*>(self_),
                   clients](base::Status end) {
      if (const auto self = weak.lock(); self != nullptr && !end) (*self)->Renew(clients);
      forward(std::move(end));
    };
    Begin(clients->watches, *std::move(message), stream->token(), std::move(sink));
    return stream;
  }

 private:
  std::shared_ptr<Clients> Current() {
    const std::lock_guard lock(mutex_);
    return clients_;
  }

  base::Result<std::shared_ptr<Clients>> MakeClients() const {
    TRY(auto tls, ReadTls(config_));
    http::client::http_client_config settings;
    settings.set_max_redirects(0);  // they would carry the token elsewhere
    settings.set_ssl_context_callback([tls](auto& context) { Apply(*tls, context.native_handle()); });
    auto patient = settings;
    patient.set_timeout(std::chrono::hours(24 * 365));  // an idle timer; the watchdog is WatchState's
    try {
      const web::uri server(config_.server);
      return std::make_shared<Clients>(Clients{{server, settings}, {server, patient}});
    } catch (const std::exception& error) {
      return Refuse(std::string("the API server's address is not a URI: ") + error.what());
    }
  }

  /// Replaces the clients, unless that has been done since `broken` was current.
  void Renew(const std::shared_ptr<Clients>& broken) {
    const std::lock_guard lock(mutex_);
    if (clients_ != broken) return;
    if (auto made = MakeClients()) {
      clients_ = *std::move(made);
    } else {
      obs::Warn("CA or client certificate not read again", {{"error", base::Describe(made.error())}});
    }
  }

  base::Result<std::string> Token() const {
    std::string token;
    if (!config_.token_file.empty()) {
      auto read = ReadFile(config_.token_file);
      if (!read) return base::Error{Code::kUnavailable, "NoToken", read.error().message, read.error().native};
      token = *std::move(read);
    } else {
      token = base::AsText(config_.token.Reveal());
    }
    token.erase(token.find_last_not_of(" \t\r\n") + 1);
    for (const char c : token) {
      if (c <= ' ' || c == 0x7f) return base::MakeError(Code::kUnavailable, "NoToken", "the token is not one word");
    }
    return token;
  }

  base::Result<http::http_request> MakeMessage(const HttpRequest& request) const {
    TRY(std::string token, Token());
    try {
      http::http_request message(request.method);
      message.set_request_uri(web::uri(request.target));
      message.headers().add("Accept", "application/json");
      message.headers().add("User-Agent", "signet");
      if (!token.empty()) message.headers().add("Authorization", "Bearer " + token);
      base::WipeMemory(token.data(), token.size());
      if (!request.content_type.empty()) message.set_body(request.body, request.content_type);
      return message;
    } catch (const std::exception& error) {
      return base::MakeError(Code::kInvalidArgument, "BadRequest", error.what());
    }
  }

  StreamSink Collect(const std::shared_ptr<Call>& call, std::size_t max_answer) const;
  static bool Await(Call& call, const Deadlines& deadlines);
  void Begin(http::client::http_client& client, http::http_request message, const pplx::cancellation_token& token,
             StreamSink sink);

  const ClusterConfig config_;
  const std::size_t max_body_;
  std::mutex mutex_;
  std::shared_ptr<Clients> clients_;  ///< guarded by mutex_
  const std::shared_ptr<Outstanding> outstanding_ = std::make_shared<Outstanding>();
  const std::shared_ptr<CpprestTransport*> self_ = std::make_shared<CpprestTransport*>(this);
};

StreamSink CpprestTransport::Collect(const std::shared_ptr<Call>& call, std::size_t max_answer) const {
  return {[call](int status, std::chrono::seconds retry_after) {
            const std::lock_guard lock(call->mutex);
            call->response.status = status;
            call->response.retry_after = retry_after;
            call->answered = true;
            call->changed.notify_all();
          },
          [call, limit = max_answer == 0 ? max_body_ : std::min(max_answer, max_body_)](std::string_view octets) {
            const std::lock_guard lock(call->mutex);
            if (call->response.body.size() + octets.size() > limit) {
              call->too_large = true;
              call->changed.notify_all();
            } else {
              call->response.body += octets;
            }
          },
          [call](base::Status end) {
            const std::lock_guard lock(call->mutex);
            if (!end) call->error = std::move(end).error();
            call->done = true;
            call->changed.notify_all();
          }};
}

bool CpprestTransport::Await(Call& call, const Deadlines& deadlines) {
  std::unique_lock lock(call.mutex);
  const auto over = [&] { return call.done || call.too_large; };
  const auto first = std::min(deadlines.first_byte, deadlines.total);
  if (!call.changed.wait_for(lock, first, [&] { return over() || call.answered; })) return false;
  // A little more than `total` when the first byte was late; the bound is what matters.
  return call.changed.wait_for(lock, deadlines.total, over) && !call.too_large;
}

void CpprestTransport::Begin(http::client::http_client& client, http::http_request message,
                             const pplx::cancellation_token& token, StreamSink sink) {
  const auto shared = std::make_shared<StreamSink>(std::move(sink));
  const auto buffer = std::make_shared<PushBuffer>([shared](std::string_view octets) { shared->on_octets(octets); });
  const auto outstanding = outstanding_;
  outstanding->Begin();
  const auto end = [shared, outstanding](base::Status status) {
    try {
      shared->on_end(std::move(status));
    } catch (const std::exception& error) {
      obs::Err("response handler failed", {{"error", error.what()}});
    }
    outstanding->End();
  };
  try {
    message.set_response_stream(streams::streambuf<std::uint8_t>(buffer).create_ostream());
    client.request(std::move(message), token)
        .then([shared](const http::http_response& response) {
          shared->on_status(response.status_code(), RetryAfter(response.headers()));
          return response.content_ready();
        })
        .then([end](const pplx::task<http::http_response>& finished) {
          try {
            finished.get();
          } catch (...) {  // whatever it was: a task whose failure nobody reads ends the process
            end(ErrorOf(std::current_exception()));
            return;
          }
          end({});
        });
  } catch (...) {
    end(ErrorOf(std::current_exception()));
  }
}

}  // namespace

base::Result<std::unique_ptr<Transport>> OpenCpprestTransport(ClusterConfig config, std::size_t max_body) {
  InitializeProcess();
  TRY_VOID(Validate(config));
  auto transport = std::make_unique<CpprestTransport>(std::move(config), max_body);
  TRY_VOID(transport->Connect());
  return std::unique_ptr<Transport>(std::move(transport));
}

}  // namespace signet::kube
