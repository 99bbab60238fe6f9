#define _TURN_OFF_PLATFORM_STRING  // U(x) is a macro otherwise
#include <cpprest/http_client.h>
#include <pplx/threadpool.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "base/environment.hpp"
#include "kube/config_error.hpp"
#include "kube/impersonation.hpp"
#include "kube/read_file.hpp"
#include "kube/relay.hpp"
#include "kube/rest_store.hpp"
#include "kube/server_address.hpp"
#include "kube/tls_settings.hpp"
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
  std::shared_ptr<const Credential> credential;  ///< whose client certificate they show; may be null
};

/// What one exchange uses.
struct Use {
  std::shared_ptr<Clients> clients;
  std::shared_ptr<const Credential> credential;  ///< null without a credential source
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
  CpprestTransport(ClusterConfig config, ServerAddress server, std::size_t max_body)
      : config_(std::move(config)), server_(std::move(server)), max_body_(max_body) {}
  ~CpprestTransport() override {
    std::unique_lock lock(outstanding_->mutex);
    outstanding_->changed.wait_for(lock, std::chrono::seconds(5), [this] { return outstanding_->count == 0; });
  }

  base::Status Connect() {
    if (Relay::IsNeeded(server_, config_)) {
      TRY(relay_, Relay::Start(server_, config_));
    }
    TRY(auto clients, MakeClients(nullptr));
    const std::lock_guard lock(mutex_);
    clients_ = std::move(clients);
    return {};
  }

  base::Result<HttpResponse> Send(const HttpRequest& request, const Deadlines& deadlines) override {
    TRY(const Use use, Prepare());
    auto answer = SendOnce(use, request, deadlines);
    constexpr int kUnauthorized = 401;
    if (!answer || answer->status != kUnauthorized || !use.credential) return answer;
    config_.credentials->Refuse(use.credential);  // expired early, or revoked; nothing was carried out
    TRY(const Use renewed, Prepare());
    return SendOnce(renewed, request, deadlines);
  }

  std::unique_ptr<Stream> OpenStream(const HttpRequest& request, StreamSink sink) override {
    auto stream = std::make_unique<CancellableStream>();
    auto use = Prepare();
    auto message = use ? MakeMessage(request, use->credential.get()) : tl::make_unexpected(use.error());
    if (!message) {
      sink.on_end(base::Error(message.error()));
      return stream;
    }
    // The end may come when this transport is gone; its connections are then of no interest either.
    sink.on_end = [forward = std::move(sink.on_end), weak = std::weak_ptr<CpprestTransport*>(self_),
                   clients = use->clients](base::Status end) {
      if (const auto self = weak.lock(); self != nullptr && !end) (*self)->Renew(clients);
      forward(std::move(end));
    };
    Begin(use->clients->watches, *std::move(message), stream->token(), std::move(sink));
    return stream;
  }

 private:
  base::Result<HttpResponse> SendOnce(const Use& use, const HttpRequest& request, const Deadlines& deadlines);

  /// Credentials as they are now, and clients that show the client certificate among them.
  base::Result<Use> Prepare() {
    Use use;
    if (config_.credentials != nullptr) {
      TRY(use.credential, config_.credentials->Get());
    }
    const std::lock_guard lock(mutex_);
    if (use.credential != nullptr && clients_->credential != use.credential) {
      TRY(clients_, MakeClients(use.credential));
    }
    use.clients = clients_;
    return use;
  }

  base::Result<std::shared_ptr<Clients>> MakeClients(std::shared_ptr<const Credential> credential) const {
    const std::string name = config_.tls_server_name.empty() ? server_.CertificateName() : config_.tls_server_name;
    TRY(auto tls, TlsSettings::Read(config_, name, credential.get()));
    http::client::http_client_config settings;
    settings.set_max_redirects(0);           // they would carry the token elsewhere
    settings.set_tlsext_sni_enabled(false);  // it would send the Host header's text: TlsSettings does better
    settings.set_ssl_context_callback([tls](auto& context) { tls->Apply(context.native_handle()); });
    auto patient = settings;
    patient.set_timeout(std::chrono::hours(24 * 365));  // an idle timer; the watchdog is WatchState's
    const std::string connect_to = relay_ != nullptr ? relay_->authority() : server_.host + ":" + server_.port;
    try {
      const web::uri server("https://" + connect_to + server_.path);
      return std::make_shared<Clients>(Clients{{server, settings}, {server, patient}, std::move(credential)});
    } catch (const std::exception& error) {
      return ConfigInvalid(std::string("the API server's address is not a URI: ") + error.what());
    }
  }

  /// Replaces the clients, unless that has been done since `broken` was current.
  void Renew(const std::shared_ptr<Clients>& broken) {
    const std::lock_guard lock(mutex_);
    if (clients_ != broken) return;
    if (auto made = MakeClients(broken->credential)) {
      clients_ = *std::move(made);
    } else {
      obs::Warn("CA or client certificate not read again", {{"error", base::Describe(made.error())}});
    }
  }

  base::Result<std::string> Token(const Credential* credential) const {
    std::string token;
    if (!config_.token_file.empty()) {
      auto read = ReadFile(config_.token_file);
      if (!read) return base::Error{Code::kUnavailable, "NoToken", read.error().message, read.error().native};
      token = *std::move(read);
    } else {
      token = base::AsText(credential != nullptr ? credential->token.Reveal() : config_.token.Reveal());
    }
    token.erase(token.find_last_not_of(" \t\r\n") + 1);
    for (const char c : token) {
      if (c <= ' ' || c == 0x7f) return base::MakeError(Code::kUnavailable, "NoToken", "the token is not one word");
    }
    return token;
  }

  base::Result<http::http_request> MakeMessage(const HttpRequest& request, const Credential* credential) const {
    TRY(std::string token, Token(credential));
    try {
      http::http_request message(request.method);
      message.set_request_uri(web::uri(request.target));
      message.headers().add("Host", server_.authority);
      message.headers().add("Accept", "application/json");
      message.headers().add("User-Agent", "signet");
      if (!token.empty()) message.headers().add("Authorization", "Bearer " + token);
      base::WipeMemory(token.data(), token.size());
      for (const auto& [name, value] : ImpersonationHeaders(config_.impersonation)) message.headers()[name] = value;
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

  base::Error Explain(base::Error error) const;

  const ClusterConfig config_;
  const ServerAddress server_;
  const std::size_t max_body_;
  std::unique_ptr<Relay> relay_;  ///< null where the library can connect by itself
  std::mutex mutex_;
  std::shared_ptr<Clients> clients_;  ///< guarded by mutex_
  const std::shared_ptr<Outstanding> outstanding_ = std::make_shared<Outstanding>();
  const std::shared_ptr<CpprestTransport*> self_ = std::make_shared<CpprestTransport*>(this);
};

base::Result<HttpResponse> CpprestTransport::SendOnce(const Use& use, const HttpRequest& request,
                                                      const Deadlines& deadlines) {
  TRY(http::http_request message, MakeMessage(request, use.credential.get()));
  const auto call = std::make_shared<Call>();
  pplx::cancellation_token_source cancellation;
  Begin(use.clients->requests, std::move(message), cancellation.get_token(), Collect(call, request.max_answer));
  const bool in_time = Await(*call, deadlines);
  if (!in_time) cancellation.cancel();

  std::unique_lock lock(call->mutex);
  if (call->too_large) {
    return base::MakeError(Code::kInternal, std::string(kAnswerTooLarge), "the answer is larger than allowed");
  }
  // Whatever the cancelled exchange says of itself by now.
  if (!in_time && (!call->done || call->error)) {
    return Explain(base::MakeError(Code::kDeadlineExceeded, "Timeout", "the API server did not answer in time"));
  }
  if (!call->error) return std::move(call->response);
  base::Error error = *std::move(call->error);
  lock.unlock();
  if (error.code == Code::kUnavailable) Renew(use.clients);
  return Explain(std::move(error));
}

/// The library sees a connection to the relay that ends; the relay knows why.
base::Error CpprestTransport::Explain(base::Error error) const {
  const std::string problem = relay_ != nullptr ? relay_->LastProblem() : "";
  if (!problem.empty()) error.message = "no connection to the API server " + problem;
  return error;
}

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
  if (config.exec && config.credentials == nullptr) {
    return ConfigInvalid(
        config.exec->where +
        " runs a credential plugin (exec), which only the command signet does: use a client certificate or "
        "a tokenFile instead (kubectl create token NAME makes a token)");
  }
  TRY(auto server, ParseServer(config.server));
  auto transport = std::make_unique<CpprestTransport>(std::move(config), std::move(server), max_body);
  TRY_VOID(transport->Connect());
  return std::unique_ptr<Transport>(std::move(transport));
}

}  // namespace signet::kube
