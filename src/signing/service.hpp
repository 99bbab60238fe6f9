// signing/service.hpp - the one pipeline that every signature passes.
//
// cap size -> (authenticated by the door) -> decide -> record intent -> sign -> verify ->
// record outcome -> check that the policy has not turned against us -> release.
//
// Thread-safety: reactor thread only; callbacks run there, exactly once, never before the call returns.
// Errors:        reason is the problem code / condition reason: NotAllowed, Suspended,
//                AlgorithmNotAllowed, ArtifactNotAllowed, ImageNotAllowed, PodPending, OutsideWindow,
//                ApprovalRequired, QuotaExceeded, QuotaUnavailable, DigestMismatch, HSMUnavailable, AuditUnavailable,
//                PolicyStale, Busy, KeyNotReady, VerificationFailed, MechanismMissing, Malformed, DeniedByApprover.
//                Code kDeadlineExceeded: unknown whether a signature was made; none is released, and the
//                record says unknown. Everything else without retry_after is final.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/types.hpp"
#include "audit/journal.hpp"
#include "base/clock.hpp"
#include "base/reactor.hpp"
#include "base/result.hpp"
#include "identity/pod.hpp"
#include "identity/principal.hpp"
#include "policy/decide.hpp"
#include "policy/quota.hpp"
#include "token/hsm.hpp"

namespace signet::signing {

/// One policy as it is in force now, with its key. Immutable; replaced as a whole.
struct ActivePolicy {
  std::shared_ptr<const policy::CompiledPolicy> compiled;
  std::string hash;                   ///< hex SHA-256 of the canonical spec
  std::optional<token::KeyInfo> key;  ///< nothing: not ready, and why:
  std::string not_ready_reason;       ///< KeyNotFound, KeyLost, KeyChanged, HSMUnavailable, ...
  std::string not_ready_message;
  base::SteadyPoint confirmed_at{};  ///< when the source last knew this to be the truth
};

/// Where policies come from (a folder; the API server). Reactor thread.
class PolicySource {
 public:
  virtual ~PolicySource() = default;
  /// nullptr: no such policy.
  [[nodiscard]] virtual std::shared_ptr<const ActivePolicy> Find(std::string_view name) const = 0;
  [[nodiscard]] virtual std::vector<std::shared_ptr<const ActivePolicy>> All() const = 0;
};

/// 0 is no door: a caller whose door is not set gets no signature.
enum class Door : std::uint8_t { kSocket = 1, kController, kGateway };
/// "socket", "controller", "gateway"; "none" for any other value.
std::string_view Name(Door door);

/// Who asks, as the door has authenticated them.
struct Caller {
  Door door{};
  identity::Principal principal;
  std::optional<identity::PeerInfo> peer;
  std::optional<identity::PodIdentity> pod;  ///< gateway door
  std::shared_ptr<const identity::PodImages>
      images;  ///< gateway door, where the policy asks for them; nullptr: unknown
};

/// Returns true if door, proof and pod belong together: a socket asserts, the controller has a stamp or asserts, the
/// gateway has a reviewed token of a pod. A caller of any other combination was damaged on its way: nothing is signed.
bool IsConsistent(const Caller& caller);

struct SignCall {
  std::string policy;
  std::optional<api::Digest> digest;  ///< exactly one of digest and message
  std::optional<base::Bytes> message;
  std::optional<api::SignatureAlgorithm> algorithm;  ///< nothing: the policy's first
  std::optional<api::Artifact> artifact;
  std::vector<policy::Approval> approvals;  ///< controller door: all that were given
  /// When the live read of `approvals` began; not set: they are a watch's copy, enough to wait or to be refused by, and
  /// nothing is signed with them.
  std::optional<base::SteadyPoint> approvals_read;
  std::string request_namespace, request_name, request_uid;  ///< controller door
  std::string idempotency_key;  ///< the caller's, for the record; at most 255 bytes; may be empty
};

struct Signed {
  base::Bytes signature;  ///< DER for ECDSA
  api::SignatureAlgorithm algorithm{};
  crypto::PublicKey public_key;
  std::string record;  ///< operation id
  std::string policy_name, policy_uid;
  std::int64_t policy_generation = 0;
  base::TimePoint signed_at{};
  std::vector<api::ApprovalStatus> approvals;
};

/// A signature that was released before and is asked for again: the same call by the same caller.
struct Replayed {
  SignCall call;
  std::string record;  ///< operation id of the signature
  std::string key_id;
  api::SignatureAlgorithm algorithm{};
};

/// An error with the time after which asking again makes sense (429 and 503).
struct Refused {
  base::Error error;
  std::optional<base::Duration> retry_after;
  std::vector<api::ApprovalStatus> approvals = {};  ///< how those that were given stand
  bool wants_approvals = false;  ///< it would be allowed: ask again with approvals that were read live
};

class SigningService {
 public:
  struct Options {
    bool direct_mode = false;  ///< socket in direct mode: allowDirect required; groups and selectors never match
    /// What a decision rests on - policy, labels of namespaces, approvals - is not older: 503 PolicyStale otherwise.
    std::chrono::seconds policy_max_age{120};
    std::size_t max_in_flight = 4096;                             ///< beyond: 503 Busy
    std::shared_ptr<const policy::ApprovalRoots> approval_roots;  ///< nullptr: none
  };
  using Answer = tl::expected<Signed, Refused>;
  using Done = std::function<void(Answer)>;
  using BatchDone = std::function<void(std::vector<Answer>)>;
  using NamespaceLabels = std::function<const std::map<std::string, std::string>*(std::string_view ns)>;
  using NamespaceConfirmed = std::function<std::optional<base::SteadyPoint>(std::string_view ns)>;

  virtual ~SigningService() = default;
  virtual void Sign(const Caller& caller, SignCall call, Done done) = 0;
  /// At most 256 calls; one answer per call, in order; all intents in one append.
  virtual void SignBatch(const Caller& caller, std::vector<SignCall> calls, BatchDone done) = 0;
  using ReplayDone = std::function<void(std::optional<Refused>)>;
  /// Whether signatures that were released before may be given out once more. Each is decided as a new call would be,
  /// with the policy as it is now, and put on record (a line `replayed`); quotas count it no second time. One that is
  /// refused refuses all. IdempotencyConflict: the policy has another key since. No HSM is needed.
  virtual void Replay(const Caller& caller, std::vector<Replayed> items, ReplayDone done) = 0;
  /// Controller door: how the delivery of a signed operation ended (the status carries it, or never will). Also for
  /// Journal::unsettled(), found at start. Kept and repeated until the record has it; then `done` (may be empty) runs.
  virtual void Settle(const audit::Release& release, std::function<void()> done) = 0;
  /// What Sign would decide, without counting, recording or signing.
  [[nodiscard]] virtual policy::Decision Explain(const Caller& caller, const SignCall& call) const = 0;
  /// Policies of which the caller is a subject, for /v1/keys.
  [[nodiscard]] virtual std::vector<std::shared_ptr<const ActivePolicy>> Visible(const Caller& caller) const = 0;
  /// nullptr both for unknown policies and for callers who are no subject (invariant 7).
  [[nodiscard]] virtual std::shared_ptr<const ActivePolicy> Visible(const Caller& caller,
                                                                    std::string_view policy) const = 0;
  [[nodiscard]] virtual std::size_t in_flight() const = 0;

  struct Dependencies {
    base::Reactor* reactor = nullptr;
    const base::Clock* clock = nullptr;
    token::Hsm* hsm = nullptr;
    audit::Journal* journal = nullptr;
    PolicySource* policies = nullptr;
    policy::QuotaLedger* quotas = nullptr;
    NamespaceLabels namespace_labels;         ///< empty in direct mode
    std::function<std::string()> cluster_id;  ///< in approval statements; may say "" until it is known
    NamespaceConfirmed namespace_confirmed;   ///< when those labels were last read live; empty: they are always current
  };
  /// Also gives the journal's today() to the quota ledger: call it once per ledger.
  static std::unique_ptr<SigningService> Create(Options options, Dependencies dependencies);
};

}  // namespace signet::signing
