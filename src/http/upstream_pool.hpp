// http/upstream_pool.hpp - for this module's own .cpp files: the connections to one endpoint, and who waits for one.
//
// Ownership:     owns its connections; attempts are shared with their timers.
// Thread-safety: the loop's thread.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "http/upstream.hpp"
#include "http/upstream_connection.hpp"

namespace signet::http {

class UpstreamPool final : public UpstreamConnection::Owner {
 public:
  /// One attempt at this endpoint.
  struct Call {
    Upstream::Attempt attempt;
    Upstream::Done done;
    base::SteadyPoint since{};
    base::Reactor::Id timer = 0;
    UpstreamConnection* connection = nullptr;  ///< set while it carries this call
  };
  /// What all pools of a client have in common; outlives them.
  struct Shared {
    base::Reactor& reactor;
    const base::Clock& clock;
    const Upstream::Options& options;
    UpstreamConnection::Buffers buffers{};
    std::string plaintext{};      ///< scratch
    std::size_t connections = 0;  ///< of all pools
  };

  UpstreamPool(Shared& shared, Upstream::EndpointId id, std::size_t target, std::string address);
  UpstreamPool(const UpstreamPool&) = delete;
  UpstreamPool& operator=(const UpstreamPool&) = delete;
  ~UpstreamPool() override;

  void Send(Upstream::Attempt attempt, Upstream::Done done);
  /// Closes what has been idle since before `then`.
  void CloseIdle(base::SteadyPoint then);
  /// Its address has left the name: no new attempts come; it is done when outstanding() is 0.
  void Retire();

  [[nodiscard]] Upstream::EndpointId id() const { return id_; }
  [[nodiscard]] std::size_t target() const { return target_; }
  [[nodiscard]] const std::string& address() const { return address_; }
  [[nodiscard]] std::uint64_t hash() const { return hash_; }
  [[nodiscard]] bool retired() const { return retired_; }
  [[nodiscard]] bool failing(base::SteadyPoint now) const { return avoid_until_ > now; }
  [[nodiscard]] std::size_t outstanding() const { return calls_.size() + waiting_.size(); }
  [[nodiscard]] std::string name() const;

  void OnOpen(UpstreamConnection& connection) override;
  void OnAnswer(UpstreamConnection& connection, Response response, bool keep) override;
  void OnFailure(UpstreamConnection& connection, base::Error error) override;

 private:
  using CallPtr = std::shared_ptr<Call>;

  UpstreamConnection* TakeIdle(const Call& call);
  void OpenMore();
  base::Status OpenOne();
  void Dispatch(UpstreamConnection& connection, CallPtr call);
  /// To whoever waits, or among the idle ones.
  void Offer(UpstreamConnection& connection);
  void Expire(const CallPtr& call);
  void Finish(const CallPtr& call, base::Result<Response> response, bool sent, bool reused);
  void FailFirst(base::Error error);
  void Penalise();
  void Drop(UpstreamConnection& connection);

  Shared& shared_;
  const Upstream::EndpointId id_;
  const std::size_t target_;
  const std::string address_;
  const std::uint16_t port_;
  const std::uint64_t hash_;
  std::string host_line_;
  std::unordered_map<UpstreamConnection*, std::shared_ptr<UpstreamConnection>> connections_;
  std::vector<UpstreamConnection*> idle_;                   ///< the one that answered last is at the end
  std::unordered_map<UpstreamConnection*, CallPtr> calls_;  ///< under way
  std::deque<CallPtr> waiting_;                             ///< for a connection
  std::size_t connecting_ = 0;
  unsigned failures_ = 0;  ///< since the last answer
  base::SteadyPoint avoid_until_{};
  std::shared_ptr<const crypto::TlsTrust> trust_;    ///< of ticket_
  std::shared_ptr<const crypto::TlsTicket> ticket_;  ///< to come back with
  bool retired_ = false;
};

}  // namespace signet::http
