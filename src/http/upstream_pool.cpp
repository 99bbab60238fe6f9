#include "http/upstream_pool.hpp"

#include <algorithm>
#include <functional>
#include <utility>

#include "base/check.hpp"

namespace signet::http {
namespace {

using base::Code;
using base::MakeError;

constexpr std::chrono::seconds kFirstPenalty{1};
constexpr unsigned kMostDoublings = 4;
constexpr std::size_t kKeptUpstreamScratch = 64 * 1024;
constexpr std::uint16_t kHttps = 443;

/// The address as a URI writes it.
std::string Bracketed(const std::string& host) { return host.find(':') == std::string::npos ? host : "[" + host + "]"; }

void Compose(const UpstreamRequest& request, std::string_view host_line, const std::string* credentials,
             std::string& out) {
  out.clear();
  if (out.capacity() > kKeptUpstreamScratch) std::string().swap(out);
  out.reserve(512 + request.fields.size() + request.body.size() + (credentials != nullptr ? credentials->size() : 0));
  out.append(request.method).append(" ").append(request.target).append(" HTTP/1.1\r\n").append(host_line);
  if (credentials != nullptr) out += *credentials;
  out += request.fields;
  if (request.method != "GET")
    out.append("Content-Length: ").append(std::to_string(request.body.size())).append("\r\n");
  out.append("\r\n").append(request.body);
}

}  // namespace

UpstreamPool::UpstreamPool(Shared& shared, Upstream::EndpointId id, std::size_t target, std::string address)
    : shared_(shared),
      id_(id),
      target_(target),
      address_(std::move(address)),
      port_(shared.options.targets.at(target).port),
      hash_(std::hash<std::string>{}(address_ + " " + std::to_string(port_))) {
  host_line_ = "Host: " + Bracketed(shared_.options.targets.at(target).host);
  if (port_ != kHttps) host_line_ += ":" + std::to_string(port_);
  host_line_ += "\r\n";
}

UpstreamPool::~UpstreamPool() {
  for (const auto& call : waiting_) shared_.reactor.Cancel(call->timer);
  for (const auto& [connection, call] : calls_) shared_.reactor.Cancel(call->timer);
  for (const auto& [connection, owner] : connections_) {
    shared_.reactor.Cancel(connection->deadline);
    connection->Close();
  }
  shared_.connections -= connections_.size();
}

std::string UpstreamPool::name() const { return Bracketed(address_) + ":" + std::to_string(port_); }

void UpstreamPool::Send(Upstream::Attempt attempt, Upstream::Done done) {
  auto call = std::make_shared<Call>();
  call->attempt = std::move(attempt);
  call->done = std::move(done);
  call->since = shared_.clock.Steady();
  call->timer = shared_.reactor.After(call->attempt.timeout, [this, weak = std::weak_ptr<Call>(call)] {
    if (const auto late = weak.lock()) Expire(late);
  });
  if (UpstreamConnection* const idle = TakeIdle(*call)) return Dispatch(*idle, std::move(call));
  waiting_.push_back(std::move(call));
  OpenMore();
}

UpstreamConnection* UpstreamPool::TakeIdle(const Call& call) {
  if (idle_.empty() || idle_.back()->proven_at < call.attempt.proven_since) return nullptr;
  UpstreamConnection* const connection = idle_.back();
  idle_.pop_back();
  return connection;
}

/// As many on their way as attempts wait, within the limit.
void UpstreamPool::OpenMore() {
  while (connecting_ < waiting_.size()) {
    if (connections_.size() >= shared_.options.connections) {
      if (idle_.empty()) return;  // one of those in use will be offered
      UpstreamConnection& oldest = *idle_.front();
      oldest.Close();
      Drop(oldest);
    }
    if (auto opened = OpenOne(); !opened) {
      shared_.reactor.Post([this, alive = std::weak_ptr<Call>(waiting_.front()), error = std::move(opened).error()] {
        if (!alive.expired()) FailFirst(error);
      });
      return;
    }
  }
}

base::Status UpstreamPool::OpenOne() {
  TRY(auto trust, shared_.options.trust());
  if (trust != trust_) {
    ticket_.reset();  // it would skip the check of a certificate against what is trusted now
    trust_ = trust;
  }
  const auto& name = shared_.options.server_name;
  TRY(auto tls, crypto::TlsSession::Connect(
                    std::move(trust), name.empty() ? shared_.options.targets.at(target_).host : name, ticket_.get()));
  auto connection = std::make_shared<UpstreamConnection>(
      *this, shared_.reactor, shared_.buffers, ResponseParser(shared_.options.limits, shared_.options.wanted_headers));
  connections_.emplace(connection.get(), connection);
  ++shared_.connections;
  ++connecting_;
  connection->deadline =
      shared_.reactor.After(shared_.options.connect_time, [this, weak = std::weak_ptr<UpstreamConnection>(connection)] {
        const auto slow = weak.lock();
        if (!slow) return;
        slow->Close();
        OnFailure(*slow, MakeError(Code::kUnavailable, "ConnectionFailed", "no connection in time"));
      });
  connection->Open(address_, port_, std::move(tls));
  return {};
}

void UpstreamPool::Dispatch(UpstreamConnection& connection, CallPtr call) {
  call->connection = &connection;
  Compose(*call->attempt.request, host_line_, call->attempt.credentials.get(), shared_.plaintext);
  calls_.emplace(&connection, std::move(call));
  connection.Send(shared_.plaintext);
}

void UpstreamPool::Offer(UpstreamConnection& connection) {
  if (waiting_.empty()) {
    idle_.push_back(&connection);
    return;
  }
  CallPtr next = std::move(waiting_.front());
  waiting_.pop_front();
  Dispatch(connection, std::move(next));
}

void UpstreamPool::OnOpen(UpstreamConnection& connection) {
  shared_.reactor.Cancel(std::exchange(connection.deadline, 0));
  --connecting_;
  connection.proven_at = shared_.clock.Steady();
  Offer(connection);
}

void UpstreamPool::OnAnswer(UpstreamConnection& connection, Response response, bool keep) {
  const auto found = calls_.extract(&connection);
  CHECK(!found.empty(), "an answer belongs to an attempt");
  failures_ = 0;
  avoid_until_ = {};
  connection.proven_at = shared_.clock.Steady();
  const bool reused = connection.answers++ > 0;
  if (!reused) {
    if (auto ticket = connection.tls().ticket()) ticket_ = std::move(ticket);
  }
  // Behind one address there may be several replicas: one that cannot serve now is not asked over and over.
  const bool unwell = response.status >= 502 && response.status <= 504;
  if (!keep || unwell || (retired_ && waiting_.empty())) {
    connection.Close();
    Drop(connection);
    OpenMore();
  } else {
    Offer(connection);
  }
  Finish(found.mapped(), std::move(response), true, reused);
}

void UpstreamPool::OnFailure(UpstreamConnection& connection, base::Error error) {
  const bool connecting = connection.deadline != 0;
  const auto call = calls_.extract(&connection);
  const bool reused = connection.answers > 0;
  if (connecting) {
    shared_.reactor.Cancel(connection.deadline);
    --connecting_;
  }
  const auto idle = std::find(idle_.begin(), idle_.end(), &connection);
  if (idle != idle_.end()) idle_.erase(idle);
  Drop(connection);
  if (!call.empty()) {
    if (!reused) Penalise();  // a server may end a connection that it has kept long enough
    OpenMore();
    return Finish(call.mapped(), std::move(error), true, reused);
  }
  if (!connecting) return;
  Penalise();
  // Others may still be on their way to another replica behind the same address: only who is one too many hears of it.
  if (connecting_ < waiting_.size()) FailFirst(std::move(error));
}

void UpstreamPool::FailFirst(base::Error error) {
  if (waiting_.empty()) return;
  const CallPtr call = std::move(waiting_.front());
  waiting_.pop_front();
  Finish(call, std::move(error), false, false);
}

void UpstreamPool::Expire(const CallPtr& call) {
  const auto late = MakeError(Code::kDeadlineExceeded, "AttemptTimeout", "no answer in time");
  call->timer = 0;
  if (!call->attempt.cut_short) Penalise();
  UpstreamConnection* const connection = call->connection;
  if (connection == nullptr) {
    const auto waiting = std::find(waiting_.begin(), waiting_.end(), call);
    if (waiting == waiting_.end()) return;
    waiting_.erase(waiting);
    return Finish(call, late, false, false);
  }
  const bool reused = connection->answers > 0;
  calls_.erase(connection);
  connection->Close();
  Drop(*connection);
  OpenMore();
  Finish(call, late, true, reused);
}

/// Last of what its caller does: `done` may do anything, but never ends this pool.
void UpstreamPool::Finish(const CallPtr& call, base::Result<Response> response, bool sent, bool reused) {
  shared_.reactor.Cancel(call->timer);
  call->connection = nullptr;
  call->done({std::move(response), id_, sent, reused});
}

void UpstreamPool::Penalise() {
  const auto penalty = kFirstPenalty * (1U << std::min(failures_, kMostDoublings));
  if (failures_ < kMostDoublings) ++failures_;
  avoid_until_ = shared_.clock.Steady() + penalty;
}

void UpstreamPool::Drop(UpstreamConnection& connection) {
  const auto idle = std::find(idle_.begin(), idle_.end(), &connection);
  if (idle != idle_.end()) idle_.erase(idle);
  shared_.connections -= connections_.erase(&connection);
}

void UpstreamPool::CloseIdle(base::SteadyPoint then) {
  while (!idle_.empty() && idle_.front()->proven_at < then) {
    UpstreamConnection& oldest = *idle_.front();
    oldest.Close();
    Drop(oldest);
  }
}

void UpstreamPool::Retire() {
  retired_ = true;
  CloseIdle(base::SteadyPoint::max());
}

}  // namespace signet::http
