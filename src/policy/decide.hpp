// policy/decide.hpp - may this caller have this signature now? A pure function.
//
// No I/O, no clock, no state: everything arrives in Facts. Quotas, which count, are in quota.hpp.
// Order: subject first (a caller who is no subject learns nothing else), then suspended, algorithm,
// artifact, images of the calling pod, an approver's no, window, approvals that are missing.
//
// Thread-safety: pure; a CompiledPolicy is immutable.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "api/types.hpp"
#include "base/clock.hpp"
#include "base/result.hpp"
#include "identity/pod.hpp"
#include "identity/principal.hpp"
#include "policy/approvals.hpp"

namespace signet::policy {

enum class Reason : std::uint8_t {
  kAllowed,
  kNotAllowed,  ///< no subject matches: indistinguishable from an unknown policy outside
  kSuspended,
  kAlgorithmNotAllowed,
  kArtifactNotAllowed,
  kOutsideWindow,
  kAwaitingApproval,
  kDeniedByApprover,
  kQuotaExceeded,    ///< never from Decide; QuotaLedger's
  kImageNotAllowed,  ///< spec.pod: a container runs another image, or the caller is no pod that can be checked
  kPodPending,       ///< spec.pod: an image is not known yet; ask again
};
/// "NotAllowed", "Suspended", ...
std::string_view Name(Reason reason);

struct Facts {
  const identity::Principal* principal = nullptr;
  std::optional<encoding::SignatureAlgorithm> algorithm;  ///< nothing: the policy's first
  const api::Artifact* artifact = nullptr;                ///< nullptr: none claimed
  base::TimePoint now{};
  /// Labels of a namespace; nullptr where selectors and groups never match (direct mode).
  const std::function<const std::map<std::string, std::string>*(std::string_view ns)>* namespace_labels = nullptr;
  bool match_groups = true;  ///< false in direct mode: Groups never match an asserted subject
  bool from_pod = false;     ///< the API server vouches for the calling pod (gateway): spec.pod can be judged
  const identity::PodImages* images = nullptr;  ///< of that pod; nullptr: not known yet
  /// nullptr: there can be none, and no approval roots are known.
  const ApprovalContext* approvals = nullptr;
};

struct Decision {
  Reason reason = Reason::kNotAllowed;
  encoding::SignatureAlgorithm algorithm = encoding::SignatureAlgorithm::kEcdsaWithSha256;  ///< when allowed
  std::string message;                      ///< what to do next; safe for a caller whose subject matched
  std::optional<base::TimePoint> retry_at;  ///< kOutsideWindow: the next opening
  std::optional<Tally> approvals;           ///< where the policy, the roots or the caller bring any into play
  [[nodiscard]] bool allowed() const { return reason == Reason::kAllowed; }
};

/// A policy with its globs and time zones prepared.
class CompiledPolicy {
 public:
  /// @return kInvalidArgument when a time zone is unknown.
  static base::Result<std::shared_ptr<const CompiledPolicy>> Compile(api::SigningPolicy policy);

  [[nodiscard]] const api::SigningPolicy& policy() const { return policy_; }
  [[nodiscard]] Decision Decide(const Facts& facts) const;
  /// Only the subject test (for /v1/keys).
  [[nodiscard]] bool IsSubject(const Facts& facts) const;

 private:
  [[nodiscard]] std::optional<Tally> Approvals(const Facts& facts, encoding::SignatureAlgorithm algorithm) const;
  explicit CompiledPolicy(api::SigningPolicy policy) : policy_(std::move(policy)) {}
  struct Prepared;  ///< globs and time zones (decide.cpp)
  api::SigningPolicy policy_;
  std::shared_ptr<const Prepared> prepared_;
};

}  // namespace signet::policy
