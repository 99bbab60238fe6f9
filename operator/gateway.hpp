// operator/gateway.hpp - the signing API for pods: TLS, callers by their service-account tokens, the one
// SigningService.
//
// Every replica serves. The keeper thread looks after authority and certificate; a few threads ask the API server about
// tokens and pods, two more read policies live that were idle; the loop does all else from memory.
//
// Ownership:     owns server, threads and the store that identities are asked of. Borrows the Core and what Hooks need.
// Thread-safety: Open before the loop runs; ReadyCheck and IsReady from any thread; the rest on the main thread.
// Blocking:      Drain for the drain delay and the requests in work; Stop for the store calls in hand.
// Sizes:         kMostConnections, bodies of 1 MiB, 64 MiB of them together; the caches' own bounds.
// Errors:        an address that cannot be used is an Ending; everything later is told by ReadyCheck.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "authn/errands.hpp"
#include "authn/gateway_certificate.hpp"
#include "authn/joint_cache.hpp"
#include "authn/pod_lookup.hpp"
#include "authn/token_reviewer.hpp"
#include "config/gateway_options.hpp"
#include "frontend/rate_limiter.hpp"
#include "frontend/readiness.hpp"
#include "frontend/routes.hpp"
#include "http/server.hpp"
#include "operator/core.hpp"
#include "operator/exit_code.hpp"

namespace signet::app {

class Gateway {
 public:
  static constexpr std::size_t kMostConnections = 1024;
  struct Options {
    config::GatewayOptions config;
    config::GatewayPlan plan;
    std::string ns;  ///< of Secret and ConfigMap
  };
  /// Loop thread.
  struct Hooks {
    frontend::Readiness readiness;       ///< of the whole process
    std::function<bool()> has_policies;  ///< they have been listed: an unknown name is one that does not exist
  };

  /// Listens; nothing is served before the certificate is there.
  /// @param identities the API server with short deadlines: who waits for it are callers
  static std::variant<std::unique_ptr<Gateway>, Ending> Open(Options options, Core& core,
                                                             std::unique_ptr<kube::ObjectStore> identities,
                                                             Hooks hooks);
  ~Gateway();  ///< after Stop, with the loop ended or on its thread
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  /// Starts the keeper. The loop runs.
  void Start();
  [[nodiscard]] bool IsReady() const;
  /// For /readyz.
  [[nodiscard]] frontend::Check ReadyCheck() const;
  /// https://HOST:PORT, as sidecars reach it.
  [[nodiscard]] const std::string& url() const { return url_; }

  /// Not ready from now on; every answer is its connection's last.
  void WindDown();
  /// Accepts connections until the drain delay has passed since WindDown, at most half of `limit`, then lets requests
  /// in work finish. False: not within `limit`.
  bool Drain(std::chrono::milliseconds limit);
  /// Closes what is open and ends the threads. The loop runs.
  void Stop();

 private:
  using CallerResult = base::Result<signing::Caller>;

  Gateway(Options options, Core& core, std::unique_ptr<kube::ObjectStore> identities, Hooks hooks);
  base::Status Listen();
  void OpenApi();
  void Keep();
  void Look();

  std::optional<CallerResult> Authenticate(const http::Request& request, frontend::CallerDone later);
  CallerResult ToCaller(const authn::TokenReviewer::Answer& answer) const;
  void Prepare(signing::Caller caller, const std::string& policy, frontend::CallerDone done);
  void Refresh(reconcile::LiveReads& reads, const std::string& kind, const std::string& name,
               std::function<void()> then);
  void FindImages(signing::Caller caller, const std::string& policy, const frontend::CallerDone& done);
  void DescribePod(const signing::Caller& caller, const std::string& own, const http::Responder& respond);

  const Options options_;
  Core& core_;
  const Hooks hooks_;
  std::unique_ptr<kube::ObjectStore> identities_;
  std::string url_;
  std::unique_ptr<authn::GatewayCertificate> certificate_;  ///< keeper's
  // The loop's:
  frontend::RateLimiter limiter_;
  authn::JointCache<bool> refreshes_;  ///< reads of policies and namespaces under way; nothing is kept
  std::unique_ptr<authn::TokenReviewer> reviewer_;
  std::unique_ptr<authn::PodLookup> pods_;
  std::unique_ptr<frontend::SigningApi> api_;
  std::unique_ptr<http::Server> server_;

  std::atomic<bool> draining_ = false;
  base::SteadyPoint wound_down_{};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // All below: guarded by mutex_.
  std::shared_ptr<const crypto::TlsContext> context_;
  std::string authorities_;  ///< PEM
  std::optional<base::Error> problem_;
  bool stopping_ = false;

  std::thread keeper_;
  authn::Errands identity_errands_;  ///< last: their threads end before what they use
  authn::Errands policy_errands_;
};

}  // namespace signet::app
