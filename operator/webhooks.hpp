// operator/webhooks.hpp - the admission webhooks of a running operator: server, certificate, seal, configurations.
//
// One thread (the keeper) loads the seal's key, makes and rotates the certificate, and, while this replica leads,
// writes the webhook configurations and puts them back. Others do what may block: look up
// live what a cache does not have, and ask whether an approval would count. The loop answers all else from memory.
//
// Ownership:     owns server and threads. Borrows the Core and everything in Hooks.
// Thread-safety: Open before the loop runs; Judge, problem and IsReady from any thread; the rest on the main thread.
// Blocking:      Stop waits for the store call in hand.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <variant>
#include <vector>

#include "authn/path_tokens.hpp"
#include "authn/stamp.hpp"
#include "authn/webhook_certificate.hpp"
#include "config/webhook_options.hpp"
#include "controller/work_queue.hpp"
#include "frontend/admission.hpp"
#include "frontend/policy_changes.hpp"
#include "frontend/readiness.hpp"
#include "http/server.hpp"
#include "operator/core.hpp"
#include "operator/exit_code.hpp"
#include "operator/injection_feed.hpp"
#include "reconcile/webhook_configurations.hpp"

namespace signet::app {

class Webhooks {
 public:
  struct Options {
    config::WebhookOptions config;
    config::WebhookPlan plan;
    std::optional<config::InjectionPlan> injection;  ///< nothing: pods get no sidecars
    std::string ns;                                  ///< of the Secrets
    std::string username;                            ///< the operator's own
  };
  /// Any thread.
  struct Hooks {
    std::function<bool()> leads;
    std::function<std::shared_ptr<const nlohmann::json>(const controller::Key&)> request;
    std::function<std::shared_ptr<const nlohmann::json>(std::string_view name)> policy;
    std::function<std::vector<std::shared_ptr<const nlohmann::json>>()> policies;
    /// reconcile::ApprovalGate::Check: blocks.
    std::function<base::Status(const nlohmann::json& approval)> would_count;
    /// reconcile::ApprovalGate::CheckRemoval: blocks.
    std::function<base::Status(const nlohmann::json& approval)> may_be_removed;
  };

  /// Listens: nothing is served before the certificate is there. An Ending for an address that cannot be used.
  static std::variant<std::unique_ptr<Webhooks>, Ending> Open(Options options, Core& core, Hooks hooks);
  ~Webhooks();  ///< after Stop, with the loop ended or on its thread
  Webhooks(const Webhooks&) = delete;
  Webhooks& operator=(const Webhooks&) = delete;

  /// Starts the keeper. The loop runs.
  void Start();
  /// Seal and certificate are there: reviews can be answered.
  [[nodiscard]] bool IsReady() const;
  /// What keeps it from its work now; nothing: all is well.
  [[nodiscard]] std::optional<base::Error> problem() const;
  /// For /readyz.
  [[nodiscard]] frontend::Check ReadyCheck() const;
  /// A watch shows this policy; nullptr: it is gone. Any thread.
  void OnPolicy(const std::string& name, const std::shared_ptr<const nlohmann::json>& before,
                const std::shared_ptr<const nlohmann::json>& after);
  /// Was this SigningRequest or SigningApproval stamped when it was made? (authn::StampJudge)
  base::Status Judge(const nlohmann::json& object);
  /// Ends the threads: nothing is written any more. Reviews are still answered.
  void Stop();
  /// Lets reviews in work finish, accepts no more. The loop runs. False: not within `limit`.
  bool Drain(std::chrono::milliseconds limit);

 private:
  struct Sealing {
    Sealing(authn::Sealer made, const base::Clock& clock, authn::PathTokens::Options options)
        : sealer(std::move(made)), judge(sealer, clock), tokens(sealer, options) {}
    authn::Sealer sealer;
    authn::StampJudge judge;
    authn::PathTokens tokens;
  };
  using RevisionDone = frontend::Admission::Dependencies::RevisionDone;

  Webhooks(Options options, Core& core, Hooks hooks);
  base::Status Listen();
  void Keep();
  base::Status Step();
  base::Status LoadSeal();
  [[nodiscard]] std::shared_ptr<Sealing> Seal() const;
  void Serve();
  base::Status Lead(const authn::WebhookCertificate::State& state, const std::string& live);
  /// Only on a path with the token that API servers were told.
  void Answer(const http::Request& request, http::Responder respond);
  void RefuseStray(const http::Responder& respond);
  void FindRevision(const frontend::Admission::RequestRef& request, bool live, RevisionDone done);
  base::Result<api::PolicyRevision> ReadRevision(const frontend::Admission::RequestRef& request);
  /// Runs `work` on a thread that may block; `done` has its result on the loop.
  template <class T>
  void Ask(std::function<T()> work, std::function<void(T)> done);
  void Work();

  const Options options_;
  Core& core_;
  const Hooks hooks_;
  std::unique_ptr<authn::WebhookCertificate> certificate_;            ///< keeper's
  std::unique_ptr<reconcile::WebhookConfigurations> configurations_;  ///< keeper's
  std::unique_ptr<InjectionFeed> injection_;                          ///< keeper's; nullptr: none
  bool led_ = false;                                                  ///< keeper's: wrote the configurations last time
  std::optional<base::SteadyPoint> looked_at_;                        ///< keeper's: when the last step ended
  frontend::PolicyChanges changes_;                                   ///< loop's
  std::unique_ptr<http::Server> server_;                              ///< loop's
  std::unique_ptr<frontend::Admission> admission_;                    ///< loop's; nullptr until there is a seal
  std::optional<base::SteadyPoint> strayed_at_;                       ///< loop's: the last line about a wrong path

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // All below: guarded by mutex_.
  std::shared_ptr<Sealing> sealing_;  ///< stays once it is there
  std::shared_ptr<const crypto::TlsContext> context_;
  std::optional<base::Error> problem_;
  bool stopping_ = false;
  struct Job {
    std::function<void()> run;
    std::function<void(base::Error)> drop;
  };
  std::deque<Job> jobs_;

  std::thread keeper_;
  std::vector<std::thread> workers_;
};

}  // namespace signet::app
