// signing/pipeline.hpp - SigningService's implementation: one Operation through every step.
//
// Thread-safety: loop thread. Callbacks of journal and HSM that come after the pipeline's end are
//                dropped; the journal's next Open records those operations as unknown.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "audit/operation_id.hpp"
#include "obs/metrics.hpp"
#include "signing/owed_records.hpp"
#include "signing/service.hpp"

namespace signet::signing {

class Pipeline final : public SigningService {
 public:
  Pipeline(Options options, Dependencies dependencies);
  ~Pipeline() override;

  void Sign(const Caller& caller, SignCall call, Done done) override;
  void SignBatch(const Caller& caller, std::vector<SignCall> calls, BatchDone done) override;
  void Replay(const Caller& caller, std::vector<Replayed> items, ReplayDone done) override;
  void Settle(const audit::Release& release, std::function<void()> done) override;
  [[nodiscard]] policy::Decision Explain(const Caller& caller, const SignCall& call) const override;
  [[nodiscard]] std::vector<std::shared_ptr<const ActivePolicy>> Visible(const Caller& caller) const override;
  [[nodiscard]] std::shared_ptr<const ActivePolicy> Visible(const Caller& caller,
                                                            std::string_view policy) const override;
  [[nodiscard]] std::size_t in_flight() const override { return in_flight_; }

 private:
  struct PolicyMetrics {
    std::array<obs::Counter*, 4> by_result{};
    [[nodiscard]] obs::Counter& Of(audit::Result result) const;
  };
  struct Operation {
    std::string id;
    Caller caller;
    SignCall call;
    std::shared_ptr<const ActivePolicy> active;
    encoding::SignatureAlgorithm algorithm{};
    base::Bytes input;  ///< what the HSM signs: the digest, or the message
    base::Bytes signature;
    std::string signature_sha256;
    std::string approved_digest;  ///< in approval statements; empty where no approvals were given
    std::vector<api::ApprovalStatus> approvals;
    base::TimePoint signed_at{};
    base::SteadyPoint started{};
    std::optional<base::SteadyPoint> quota_deadline;  ///< of waiting for a part of the day's budget
    audit::Outcome outcome;
    PolicyMetrics* metrics = nullptr;
    std::function<void(Answer)> done;
    /// Decided before the outcome is written, sent after.
    std::optional<Refused> refused;
  };
  using OperationPtr = std::shared_ptr<Operation>;

  void Start(OperationPtr operation);
  std::optional<Refused> Prepare(Operation& operation);
  std::optional<Refused> Decide(Operation& operation) const;
  std::optional<Refused> PrepareInput(Operation& operation) const;
  static std::optional<Refused> CheckHasKey(const ActivePolicy& active);
  std::optional<Refused> CheckKey(const Operation& operation) const;
  std::optional<Refused> CheckReplay(Operation& operation, const Replayed& item) const;
  std::optional<Refused> CheckFresh(const ActivePolicy& active) const;
  /// Of the namespaces whose labels the last decision looked at.
  std::optional<Refused> CheckNamespaces() const;
  std::optional<Refused> CheckApprovals(const SignCall& call, policy::Decision& decision) const;
  [[nodiscard]] bool IsYoung(std::optional<base::SteadyPoint> confirmed) const;
  std::optional<Refused> Recheck(const Operation& operation) const;
  [[nodiscard]] policy::Decision Ask(const ActivePolicy& active, const Caller& caller, const SignCall& call,
                                     const std::string& approved_digest,
                                     std::optional<encoding::SignatureAlgorithm> algorithm) const;
  [[nodiscard]] policy::Facts FactsOf(const Caller& caller) const;
  [[nodiscard]] bool IsDirect(const Caller& caller) const;

  void Refuse(const OperationPtr& operation, Refused refused);
  void TakeQuota(const OperationPtr& operation);
  void AwaitQuota(const OperationPtr& operation, const api::Quota& quota);
  void Resume(const OperationPtr& operation);
  void AppendIntent(const OperationPtr& operation);
  void OnIntent(const OperationPtr& operation, const base::Status& status);
  void OnSigned(const OperationPtr& operation, base::Result<base::Bytes> result);
  void OnHsmError(const OperationPtr& operation, const base::Error& error);
  [[nodiscard]] bool MustVerify(const Operation& operation) const;
  bool Verifies(const Operation& operation);
  void AppendOutcome(const OperationPtr& operation, audit::Result result, std::string reason);
  void OnOutcome(const OperationPtr& operation, const base::Status& status);
  void Release(const OperationPtr& operation);
  void Finish(const OperationPtr& operation, Answer answer);
  void Note(const Operation& operation, const std::string& reason);
  PolicyMetrics& MetricsOf(const std::string& policy);

  Options options_;
  Dependencies deps_;
  NamespaceLabels lookup_;               ///< deps_.namespace_labels, and notes what is too old
  mutable std::string stale_namespace_;  ///< that the last decision looked at; empty: none
  audit::OperationIds ids_;
  OwedRecords owed_;
  std::size_t in_flight_ = 0;
  audit::Intent intent_;  ///< reused, so that its strings keep their memory
  std::unordered_map<std::string, PolicyMetrics> metrics_;
  obs::Histogram& duration_;
  obs::Counter& verify_failures_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace signet::signing
