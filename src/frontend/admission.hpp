// frontend/admission.hpp - the admission webhooks: who asked and who approved is stamped, what must not be is refused.
//
// POST /mutate stamps spec.requester and spec.approver of new objects with the caller's identity and a seal. POST
// /validate checks every kind with the code that acts on it later, keeps specs immutable, statuses the operator's own
// and an approver's no until it was heard, tells what an edit of a policy newly permits, records the change, and
// answers server-side dry runs with what the policy would decide. docs/admission.md is the reference.
//
// Nothing here makes an object good: a stamp counts only where authn::StampJudge finds it so when a signature is made.
//
// Ownership:     borrows everything in Dependencies; it must outlive this object and every review given to it.
// Thread-safety: reactor thread; the hooks call back there.
// Blocking:      never.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "api/approval.hpp"
#include "authn/stamp.hpp"
#include "base/clock.hpp"
#include "base/result.hpp"
#include "frontend/admission_review.hpp"
#include "frontend/policy_changes.hpp"
#include "http/server.hpp"
#include "signing/service.hpp"

namespace signet::frontend {

class Admission {
 public:
  struct Options {
    std::string operator_username;  ///< the only one that may write statuses
  };
  /// What an approval is about.
  struct RequestRef {
    std::string ns, name, uid;
  };
  struct Dependencies {
    const base::Clock* clock = nullptr;
    const authn::Sealer* sealer = nullptr;
    const signing::SigningService* service = nullptr;
    PolicyChanges* changes = nullptr;
    using RevisionDone = std::function<void(base::Result<api::PolicyRevision>)>;
    /// The revision of the policy that a request names. `live`: do not answer from a cache. kNotFound: no such request
    /// with that uid, or no such policy. Must answer within a few seconds.
    std::function<void(RequestRef request, bool live, RevisionDone done)> revision;
    /// Would this approval (with approver and stamp) count? Empty: every approval is let in, and judged at signing. The
    /// error's message goes to the approver, who hears the reason that status.approvals would show
    /// (reconcile::ApprovalGate).
    std::function<void(nlohmann::json approval, std::function<void(base::Status)> done)> would_count;
    /// May this SigningApproval, a Deny, be deleted? Empty: always. The error's message goes to whoever tries
    /// (reconcile::ApprovalGate).
    std::function<void(nlohmann::json approval, std::function<void(base::Status)> done)> may_be_removed;
    /// Every policy as a cache has it; may be empty.
    std::function<std::vector<std::shared_ptr<const nlohmann::json>>()> policies;
  };
  static constexpr std::string_view kNothingToApprove =
      "there is nothing to approve: no SigningRequest of this name and uid waits in this namespace under a policy that "
      "names you as an approver";
  /// On a policy: names the keyID that an edit may leave behind.
  static constexpr std::string_view kConfirmAnnotation = "signet.dev/confirm-key-change";
  static constexpr std::size_t kMostBody = 4U << 20;  ///< octets of a review: object and oldObject

  Admission(Options options, Dependencies dependencies);

  /// For http::Server: /mutate and /validate, problem+json for what is no review.
  void Handle(const http::Request& request, http::Responder respond);

  using Answer = std::function<void(AdmissionVerdict)>;
  void Mutate(const AdmissionReview& review, Answer answer) const;
  void Validate(const AdmissionReview& review, Answer answer) const;

 private:
  void MutateApproval(const AdmissionReview& review, Answer answer) const;
  [[nodiscard]] AdmissionVerdict ValidateRequest(const AdmissionReview& review) const;
  void ValidateApproval(const AdmissionReview& review, Answer answer) const;
  void ValidateRemoval(const AdmissionReview& review, Answer answer) const;
  void CheckRevision(const RequestRef& request, const api::PolicyRevision& seen, bool live, Answer answer) const;
  void ValidatePolicy(const AdmissionReview& review, Answer answer) const;
  [[nodiscard]] AdmissionVerdict JudgePolicy(const AdmissionReview& review) const;
  void RecordChange(const AdmissionReview& review, AdmissionVerdict verdict, Answer answer) const;
  [[nodiscard]] base::Status CheckStamp(const AdmissionReview& review, const char* who,
                                        const std::optional<api::Stamp>& stamp) const;
  [[nodiscard]] std::vector<std::string> Explain(const AdmissionReview& review,
                                                 const api::SigningRequestSpec& spec) const;

  const Options options_;
  const Dependencies deps_;
};

}  // namespace signet::frontend
