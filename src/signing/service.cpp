#include "signing/service.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "api/json.hpp"
#include "audit/record.hpp"
#include "base/kill_point.hpp"
#include "base/secret.hpp"
#include "crypto/digest.hpp"
#include "encoding/text.hpp"
#include "obs/log.hpp"
#include "signing/pipeline.hpp"

namespace signet::signing {
namespace {

using namespace std::chrono_literals;
using base::Code;
using base::MakeError;

constexpr std::size_t kMaxBatch = 256;
constexpr std::size_t kMaxRecordedApprovals = 64;  // more may count than the policy requires
constexpr std::size_t kMaxMeteredPolicies = 1000;  // beyond: one series for the rest
constexpr base::Duration kSoon = 1s;
constexpr base::Duration kVerySoon = 100ms;
constexpr base::Duration kLater = 5s;

Refused No(Code code, std::string reason, std::string message, std::optional<base::Duration> retry_after = {}) {
  return {MakeError(code, std::move(reason), std::move(message)), retry_after};
}

constexpr std::string_view kNotDirect =
    "the policy does not let sidecars in direct mode sign (allowDirect: false): use the gateway";

/// One text for unknown policies and for callers who are no subject: invariant 7.
Refused NotAllowed() {
  return No(
      Code::kPermissionDenied, "NotAllowed",
      "this caller may not sign under a policy of that name: check the name, or ask the platform team to list the "
      "caller in its subjects");
}

Refused AuditUnavailable(const base::Error& error) {
  return {MakeError(Code::kUnavailable, "AuditUnavailable", error.message), kSoon};
}

Refused FromDecision(policy::Decision decision, Door door, base::TimePoint now) {
  if (decision.reason == policy::Reason::kNotAllowed) return NotAllowed();
  std::string reason(policy::Name(decision.reason));
  if (decision.reason == policy::Reason::kAwaitingApproval && door != Door::kController) reason = "ApprovalRequired";
  std::optional<base::Duration> retry_after;
  if (decision.reason == policy::Reason::kPodPending) {
    return No(Code::kUnavailable, std::move(reason), std::move(decision.message), kSoon);
  }
  if (decision.retry_at) retry_after = std::max<base::Duration>(*decision.retry_at - now, kVerySoon);
  auto refused = No(Code::kPermissionDenied, std::move(reason), std::move(decision.message), retry_after);
  if (decision.approvals) refused.approvals = std::move(decision.approvals->approvals);
  return refused;
}

/// What approvers sign for: the digest as it was asked for, or the SHA-256 of the message.
std::string ApprovedDigest(const SignCall& call) {
  if (call.approvals.empty()) return {};
  if (call.digest) return api::FormatDigest(*call.digest);
  return "sha256:" + (call.message ? crypto::Sha256Hex(*call.message) : std::string());
}

/// Why the HSM's error ends the operation, and whether a signature may exist all the same.
struct HsmVerdict {
  audit::Result result;
  std::string reason;
  Refused refused;
};

/// As a policy without a key is refused, so that one reason is seen everywhere.
Refused KeyNotReady(const std::string& reason, const std::string& message) {
  return No(Code::kUnavailable, "KeyNotReady", fmt::format("{}: {}", reason, message), kLater);
}

HsmVerdict Judge(const base::Error& error) {
  if (token::IsKeyTrouble(error)) {
    return {audit::Result::kFailed, "KeyNotReady", KeyNotReady(error.reason, error.message)};
  }
  switch (error.code) {
    case Code::kUnavailable:
    case Code::kNotFound:  // a key that is not there now (its token was taken away) has signed nothing
      return {audit::Result::kFailed, "HSMUnavailable",
              No(Code::kUnavailable, "HSMUnavailable", "the HSM did not sign: " + error.message, kSoon)};
    case Code::kResourceExhausted:
      return {audit::Result::kFailed, "Busy",
              No(Code::kUnavailable, "Busy", "the HSM has more to do than it can take: ask again", kVerySoon)};
    case Code::kFailedPrecondition:
    case Code::kInvalidArgument:
    case Code::kUnimplemented:
      return {audit::Result::kFailed, "MechanismMissing",
              No(Code::kFailedPrecondition, "MechanismMissing",
                 "the HSM cannot sign this with this key: " + error.message)};
    case Code::kDeadlineExceeded:
      return {audit::Result::kUnknown, "HSMOutcomeUnknown",
              No(Code::kDeadlineExceeded, "HSMUnavailable",
                 "the HSM left open whether it signed; nothing was released, and the record says unknown", kSoon)};
    default:
      return {audit::Result::kUnknown, "HSMOutcomeUnknown",
              No(Code::kInternal, "SigningFailed",
                 "the HSM answered with an error that Signet does not know; nothing was released and nothing is tried "
                 "again")};
  }
}

}  // namespace

std::unique_ptr<SigningService> SigningService::Create(Options options, Dependencies dependencies) {
  return std::make_unique<Pipeline>(options, std::move(dependencies));
}

Pipeline::Pipeline(Options options, Dependencies dependencies)
    : options_(options),
      deps_(std::move(dependencies)),
      ids_(*deps_.clock),
      owed_(*deps_.reactor, *deps_.journal),
      duration_(obs::GetHistogram("signet_sign_duration_seconds", "From the request to the released signature")),
      verify_failures_(
          obs::GetCounter("signet_verification_failures_total", "Signatures of the HSM that did not verify")) {
  lookup_ = [this](std::string_view ns) {
    const auto* labels = deps_.namespace_labels(ns);
    if (labels != nullptr && deps_.namespace_confirmed && !IsYoung(deps_.namespace_confirmed(ns)))
      stale_namespace_ = ns;
    return labels;
  };
  for (const auto& used : deps_.journal->today()) deps_.quotas->Restore(used.policy, used.principal, used.count);
}

Pipeline::~Pipeline() { *alive_ = false; }

// ---- who may, and what ------------------------------------------------------------------

bool Pipeline::IsDirect(const Caller& caller) const { return options_.direct_mode && caller.door == Door::kSocket; }

policy::Facts Pipeline::FactsOf(const Caller& caller) const {
  policy::Facts facts;
  facts.principal = &caller.principal;
  facts.now = deps_.clock->Now();
  facts.from_pod = caller.door == Door::kGateway && caller.pod.has_value();
  facts.images = caller.images.get();
  if (IsDirect(caller)) {
    facts.match_groups = false;
  } else if (deps_.namespace_labels) {
    facts.namespace_labels = &lookup_;
  }
  return facts;
}

policy::Decision Pipeline::Ask(const ActivePolicy& active, const Caller& caller, const SignCall& call,
                               const std::string& approved_digest,
                               std::optional<encoding::SignatureAlgorithm> algorithm) const {
  policy::Facts facts = FactsOf(caller);
  facts.algorithm = algorithm;
  facts.artifact = call.artifact ? &*call.artifact : nullptr;
  stale_namespace_.clear();
  policy::ApprovalContext approvals;
  if (caller.door == Door::kController || options_.approval_roots) {
    if (deps_.cluster_id) approvals.cluster_id = deps_.cluster_id();
    approvals.request_namespace = call.request_namespace;
    approvals.request_name = call.request_name;
    approvals.request_uid = call.request_uid;
    approvals.digest = approved_digest;
    if (caller.door == Door::kController) approvals.given = &call.approvals;
    if (active.key) approvals.key_id = active.key->public_key.keyID();
    approvals.roots = options_.approval_roots;
    facts.approvals = &approvals;
  }
  return active.compiled->Decide(facts);
}

std::optional<Refused> Pipeline::Decide(Operation& operation) const {
  if (!IsConsistent(operation.caller)) {
    obs::Err("a caller's entry point, proof and pod do not agree: nothing is signed",
             {{"door", std::string(Name(operation.caller.door))},
              {"identity", std::string(identity::Name(operation.caller.principal.proof))},
              {"pod", operation.caller.pod ? operation.caller.pod->name : ""}});
    return No(
        Code::kInternal, "Internal",
        "the caller's entry point, proof of identity and pod do not agree: nothing was signed; this is an error of "
        "Signet, please report it with the operator's log");
  }
  operation.active = deps_.policies->Find(operation.call.policy);
  if (!operation.active) return NotAllowed();
  auto decision =
      Ask(*operation.active, operation.caller, operation.call, operation.approved_digest, operation.call.algorithm);
  if (decision.reason == policy::Reason::kNotAllowed) return NotAllowed();
  if (IsDirect(operation.caller) && !operation.active->compiled->policy().spec.allow_direct) {
    // The same code as for strangers; the text goes to subjects only.
    return No(Code::kPermissionDenied, "NotAllowed", std::string(kNotDirect));
  }
  if (auto stale = CheckFresh(*operation.active)) return stale;
  if (!decision.allowed()) return FromDecision(std::move(decision), operation.caller.door, deps_.clock->Now());
  if (auto stale = CheckNamespaces()) return stale;
  if (auto stale = CheckApprovals(operation.call, decision)) return stale;
  if (decision.approvals) operation.approvals = std::move(decision.approvals->approvals);
  operation.algorithm = decision.algorithm;
  return std::nullopt;
}

std::optional<Refused> Pipeline::PrepareInput(Operation& operation) const {
  const auto& info = encoding::Info(operation.algorithm);
  const auto mismatch = [](std::string message) {
    return No(Code::kInvalidArgument, "DigestMismatch", std::move(message));
  };
  auto& call = operation.call;
  if (!info.hash) {
    if (!call.message) return mismatch(fmt::format("{} signs messages: send `message`, not `digest`", info.name));
    operation.input = *std::move(call.message);
    return std::nullopt;
  }
  if (call.message) {
    operation.input = crypto::Hash(*info.hash, *call.message);
    return std::nullopt;
  }
  if (call.digest->hash != *info.hash || call.digest->value.size() != encoding::DigestSize(*info.hash)) {
    return mismatch(fmt::format("{} signs a {} digest, the request has a {} digest of {} bytes", info.name,
                                encoding::Name(*info.hash), encoding::Name(call.digest->hash),
                                call.digest->value.size()));
  }
  operation.input = std::move(call.digest->value);
  return std::nullopt;
}

std::optional<Refused> Pipeline::CheckHasKey(const ActivePolicy& active) {
  if (active.key) return std::nullopt;
  if (active.not_ready_reason == "MechanismMissing") {
    return No(Code::kFailedPrecondition, "MechanismMissing", active.not_ready_message);
  }
  if (active.not_ready_reason != "HSMUnavailable") {
    return KeyNotReady(active.not_ready_reason, active.not_ready_message);
  }
  return No(Code::kUnavailable, "HSMUnavailable",
            fmt::format("{}: {}", active.not_ready_reason, active.not_ready_message), kSoon);
}

std::optional<Refused> Pipeline::CheckKey(const Operation& operation) const {
  const auto& active = *operation.active;
  if (auto refused = CheckHasKey(active)) return refused;
  const auto& info = encoding::Info(operation.algorithm);
  const auto& mechanisms = active.key->mechanisms;
  if (info.key != active.key->public_key.algorithm() ||
      std::find(mechanisms.begin(), mechanisms.end(), operation.algorithm) == mechanisms.end()) {
    return No(Code::kFailedPrecondition, "MechanismMissing",
              fmt::format("the key ({}) or its token cannot make {} signatures: ask the platform team to correct the "
                          "policy's algorithms",
                          encoding::Name(active.key->public_key.algorithm()), info.name));
  }
  // Of this key's token alone: the others' keys sign on while one token is away.
  if (const auto state = deps_.hsm->StateOf(active.key->ref); !state.ready) {
    return No(Code::kUnavailable, "HSMUnavailable", fmt::format("the HSM is not ready ({})", state.reason), kSoon);
  }
  return std::nullopt;
}

std::optional<Refused> Pipeline::Prepare(Operation& operation) {
  const auto& call = operation.call;
  if (in_flight_ > options_.max_in_flight) {
    return No(Code::kUnavailable, "Busy", "too many signatures are being made: ask again", kVerySoon);
  }
  if (call.digest.has_value() == call.message.has_value()) {
    return No(Code::kInvalidArgument, "Malformed", "exactly one of digest and message must be given");
  }
  if (call.message && call.message->size() > api::kMaxMessageBytes) {
    return No(Code::kInvalidArgument, "Malformed",
              fmt::format("the message has more than {} bytes: send its digest", api::kMaxMessageBytes));
  }
  operation.approved_digest = ApprovedDigest(call);
  if (auto refused = Decide(operation)) return refused;
  if (auto refused = PrepareInput(operation)) return refused;
  if (auto refused = CheckKey(operation)) return refused;
  if (!deps_.journal->available()) {
    return No(Code::kUnavailable, "AuditUnavailable", "the audit record cannot be written, so nothing is signed",
              kSoon);
  }
  return std::nullopt;
}

std::optional<Refused> Pipeline::Recheck(const Operation& operation) const {
  const auto current = deps_.policies->Find(operation.call.policy);
  if (!current) return NotAllowed();
  if (auto stale = CheckFresh(*current)) return stale;
  const auto& then = *operation.active;
  const bool same_key =
      current == operation.active || (current->key && current->key->public_key.keyID() == then.key->public_key.keyID());
  if (!same_key) {
    return No(Code::kUnavailable, "KeyNotReady", "the policy's key changed while it signed: ask again", kSoon);
  }
  if (current == operation.active || (current->compiled == then.compiled && current->hash == then.hash)) {
    return std::nullopt;
  }
  auto decision = Ask(*current, operation.caller, operation.call, operation.approved_digest, operation.algorithm);
  if (!decision.allowed()) return FromDecision(std::move(decision), operation.caller.door, deps_.clock->Now());
  if (IsDirect(operation.caller) && !current->compiled->policy().spec.allow_direct) return NotAllowed();
  return CheckNamespaces();
}

// ---- the steps --------------------------------------------------------------------------

void Pipeline::Sign(const Caller& caller, SignCall call, Done done) {
  auto operation = std::make_shared<Operation>();
  operation->caller = caller;
  operation->call = std::move(call);
  operation->done = std::move(done);
  Start(std::move(operation));
}

void Pipeline::SignBatch(const Caller& caller, std::vector<SignCall> calls, BatchDone done) {
  struct Batch {
    std::vector<std::optional<Answer>> answers;
    std::size_t left = 0;
    BatchDone done;
  };
  if (calls.empty() || calls.size() > kMaxBatch) {
    const auto refused = No(Code::kInvalidArgument, "Malformed", fmt::format("a batch has 1 to {} items", kMaxBatch));
    deps_.reactor->Post([done = std::move(done),
                         answers = std::vector<Answer>(calls.size(), tl::make_unexpected(refused))] { done(answers); });
    return;
  }
  auto batch = std::make_shared<Batch>();
  batch->answers.resize(calls.size());
  batch->left = calls.size();
  batch->done = std::move(done);
  for (std::size_t i = 0; i < calls.size(); ++i) {
    // Their intents are appended in this turn of the loop: one write.
    Sign(caller, std::move(calls[i]), [batch, i](Answer answer) {
      batch->answers[i] = std::move(answer);
      if (--batch->left > 0) return;
      std::vector<Answer> answers;
      answers.reserve(batch->answers.size());
      for (auto& item : batch->answers) answers.push_back(*std::move(item));
      batch->done(std::move(answers));
    });
  }
}

void Pipeline::Start(OperationPtr operation) {
  ++in_flight_;
  operation->started = deps_.clock->Steady();
  if (auto refused = Prepare(*operation)) return Refuse(operation, *std::move(refused));
  TakeQuota(operation);
}

void Pipeline::Refuse(const OperationPtr& operation, Refused refused) {
  // Not yet an answer: the caller reads the approvals and comes back.
  if (!refused.wants_approvals) Note(*operation, refused.error.reason);
  operation->refused = std::move(refused);
  deps_.reactor->Post([this, alive = alive_, operation] {
    if (*alive) Finish(operation, tl::make_unexpected(*std::move(operation->refused)));
  });
}

void Pipeline::AppendIntent(const OperationPtr& operation) {
  operation->id = ids_.Next();
  operation->metrics = &MetricsOf(operation->call.policy);
  const auto& active = *operation->active;
  const auto& meta = active.compiled->policy().metadata;
  const auto& info = encoding::Info(operation->algorithm);
  const auto& call = operation->call;
  intent_.operation = operation->id;
  intent_.door = Name(operation->caller.door);
  intent_.principal = operation->caller.principal.username;
  intent_.identity = identity::Name(operation->caller.principal.proof);
  intent_.peer_uid.reset();
  intent_.peer_gid.reset();
  intent_.peer_pid.reset();
  if (const auto& peer = operation->caller.peer) {
    intent_.peer_uid = peer->uid;
    intent_.peer_gid = peer->gid;
    intent_.peer_pid = peer->pid;
  }
  intent_.policy = meta.name;
  intent_.policy_uid = meta.uid;
  intent_.policy_generation = meta.generation;
  intent_.policy_hash = active.hash;
  intent_.key_id = active.key->public_key.keyID();
  intent_.algorithm = info.name;
  intent_.message = !info.hash;
  intent_.digest = encoding::Name(info.hash.value_or(encoding::HashAlgorithm::kSha256));
  intent_.digest += ':';
  intent_.digest += info.hash ? encoding::ToHex(operation->input) : crypto::Sha256Hex(operation->input);
  intent_.artifact_name = call.artifact ? call.artifact->name : std::string();
  intent_.artifact_media_type = call.artifact ? call.artifact->media_type : std::string();
  intent_.artifact_annotations = call.artifact ? call.artifact->annotations : decltype(intent_.artifact_annotations)();
  intent_.approvals.clear();
  for (const auto& approval : operation->approvals) {
    if (approval.counts && intent_.approvals.size() < kMaxRecordedApprovals)
      intent_.approvals.push_back({approval.name, approval.approver, approval.signed_by});
  }
  intent_.request_namespace = call.request_namespace;
  intent_.request_name = call.request_name;
  intent_.request_uid = call.request_uid;
  intent_.pod = operation->caller.pod.value_or(identity::PodIdentity());
  intent_.idempotency_key = call.idempotency_key;
  deps_.journal->Append(intent_, [this, alive = alive_, operation](const base::Status& status) {
    if (*alive) OnIntent(operation, status);
  });
}

void Pipeline::OnIntent(const OperationPtr& operation, const base::Status& status) {
  if (!status) {
    Note(*operation, "AuditUnavailable");
    Finish(operation, tl::make_unexpected(AuditUnavailable(status.error())));
    return;
  }
  base::KillPoint(base::kKillAfterIntent);
  deps_.hsm->Sign(operation->active->key->ref, operation->algorithm, operation->input,
                  [this, alive = alive_, operation](base::Result<base::Bytes> result) {
                    if (*alive) OnSigned(operation, std::move(result));
                  });
}

void Pipeline::OnHsmError(const OperationPtr& operation, const base::Error& error) {
  auto verdict = Judge(error);
  const auto level = verdict.result == audit::Result::kUnknown ? obs::Level::kError : obs::Level::kWarn;
  obs::Log(level, "the HSM did not sign",
           {{"operation", operation->id}, {"policy", operation->call.policy}, {"error", base::Describe(error)}});
  operation->refused = std::move(verdict.refused);
  AppendOutcome(operation, verdict.result, std::move(verdict.reason));
}

bool Pipeline::MustVerify(const Operation& operation) const {
  if (operation.caller.door == Door::kController) return true;
  // The roots speak of keys: a signature that another key made must not pass as theirs.
  if (options_.approval_roots) return true;
  if (encoding::Info(operation.algorithm).key == encoding::KeyAlgorithm::kRsa) return true;
  return operation.active->compiled->policy().spec.verify_signatures;
}

bool Pipeline::Verifies(const Operation& operation) {
  const auto verified =
      operation.active->key->public_key.Verify(operation.algorithm, operation.input, operation.signature);
  if (verified) return true;
  verify_failures_.Add();
  obs::Err("the HSM's signature does not verify: it is not released",
           {{"operation", operation.id},
            {"policy", operation.call.policy},
            {"keyID", operation.active->key->public_key.keyID()},
            {"error", base::Describe(verified.error())}});
  return false;
}

void Pipeline::OnSigned(const OperationPtr& operation, base::Result<base::Bytes> result) {
  if (!result) {
    OnHsmError(operation, result.error());
    return;
  }
  base::KillPoint(base::kKillAfterSign);
  operation->signature = *std::move(result);
  if (MustVerify(*operation) && !Verifies(*operation)) {
    base::WipeMemory(operation->signature.data(), operation->signature.size());
    operation->signature.clear();
    operation->refused =
        No(Code::kInternal, "VerificationFailed", "the HSM's signature does not verify with the policy's public key");
    AppendOutcome(operation, audit::Result::kFailed, "VerificationFailed");
    return;
  }
  operation->signed_at = deps_.clock->Now();
  operation->signature_sha256 = crypto::Sha256Hex(operation->signature);
  if (auto refused = Recheck(*operation)) {
    operation->refused = *std::move(refused);
    AppendOutcome(operation, audit::Result::kDiscarded, "PolicyChanged");
    return;
  }
  AppendOutcome(operation, audit::Result::kSigned, {});
}

void Pipeline::AppendOutcome(const OperationPtr& operation, audit::Result result, std::string reason) {
  operation->outcome = {operation->id, result, operation->signature_sha256, std::move(reason),
                        operation->call.idempotency_key};
  deps_.journal->Append(operation->outcome, [this, alive = alive_, operation](const base::Status& status) {
    if (*alive) OnOutcome(operation, status);
  });
}

void Pipeline::OnOutcome(const OperationPtr& operation, const base::Status& status) {
  auto& outcome = operation->outcome;
  if (!status) {
    // The line is not in the record: what it says from now on is that nothing was released.
    if (outcome.result == audit::Result::kSigned) {
      outcome.result = audit::Result::kDiscarded;
      outcome.reason = "AuditUnavailable";
      operation->refused = AuditUnavailable(status.error());
    }
    owed_.Add(outcome);
  }
  base::KillPoint(base::kKillAfterOutcome);
  if (!operation->refused) {
    operation->refused = Recheck(*operation);
    if (operation->refused) {
      outcome.result = audit::Result::kDiscarded;
      owed_.Add(audit::Release{operation->id, audit::Released::kNo, "PolicyChanged"});
    }
  }
  operation->metrics->Of(outcome.result).Add();
  if (operation->refused) {
    base::WipeMemory(operation->signature.data(), operation->signature.size());
    Note(*operation, operation->refused->error.reason);
    Finish(operation, tl::make_unexpected(*std::move(operation->refused)));
    return;
  }
  Release(operation);
}

void Pipeline::Release(const OperationPtr& operation) {
  const auto& active = *operation->active;
  const auto& meta = active.compiled->policy().metadata;
  Signed made;
  made.signature = std::move(operation->signature);
  made.algorithm = operation->algorithm;
  made.public_key = active.key->public_key;
  made.record = operation->id;
  made.policy_name = meta.name;
  made.policy_uid = meta.uid;
  made.policy_generation = meta.generation;
  made.signed_at = operation->signed_at;
  made.approvals = std::move(operation->approvals);
  duration_.Observe(std::chrono::duration<double>(deps_.clock->Steady() - operation->started).count());
  Finish(operation, std::move(made));
}

void Pipeline::Finish(const OperationPtr& operation, Answer answer) {
  --in_flight_;
  const auto done = std::exchange(operation->done, {});
  if (done) done(std::move(answer));
}

void Pipeline::Note(const Operation& operation, const std::string& reason) {
  // A metric's labels are no place for names that callers invent.
  const std::string_view policy = operation.active ? std::string_view(operation.call.policy) : "";
  const bool metered = metrics_.size() < kMaxMeteredPolicies || metrics_.contains(operation.call.policy);
  obs::GetCounter("signet_refusals_total", "Requests refused, by policy (empty: unknown) and reason",
                  {{"policy", metered ? policy : "other"}, {"reason", reason}})
      .Add();
  deps_.journal->Note({std::string(Name(operation.caller.door)), operation.caller.principal.username,
                       operation.call.policy, reason, 1});
}

obs::Counter& Pipeline::PolicyMetrics::Of(audit::Result result) const {
  return *by_result.at(static_cast<std::size_t>(result));
}

Pipeline::PolicyMetrics& Pipeline::MetricsOf(const std::string& policy) {
  if (const auto it = metrics_.find(policy); it != metrics_.end()) return it->second;
  const std::string name = metrics_.size() < kMaxMeteredPolicies ? policy : "other";
  const auto [it, added] = metrics_.try_emplace(name);
  if (!added) return it->second;
  for (const auto result :
       {audit::Result::kSigned, audit::Result::kFailed, audit::Result::kDiscarded, audit::Result::kUnknown}) {
    it->second.by_result.at(static_cast<std::size_t>(result)) =
        &obs::GetCounter("signet_signatures_total", "Operations that reached the HSM, by policy and outcome",
                         {{"policy", name}, {"result", audit::Name(result)}});
  }
  return it->second;
}

// ---- beside the pipeline ----------------------------------------------------------------

void Pipeline::Settle(const audit::Release& release, std::function<void()> done) {
  owed_.Add(release, std::move(done));
}

policy::Decision Pipeline::Explain(const Caller& caller, const SignCall& call) const {
  const auto active = deps_.policies->Find(call.policy);
  if (!active) return {policy::Reason::kNotAllowed, {}, NotAllowed().error.message, std::nullopt, std::nullopt};
  auto decision = Ask(*active, caller, call, ApprovedDigest(call), call.algorithm);
  if (decision.reason == policy::Reason::kNotAllowed) decision.message = NotAllowed().error.message;
  if (decision.reason != policy::Reason::kNotAllowed && IsDirect(caller) &&
      !active->compiled->policy().spec.allow_direct) {
    return {policy::Reason::kNotAllowed, {}, std::string(kNotDirect), std::nullopt, std::nullopt};
  }
  return decision;
}

std::vector<std::shared_ptr<const ActivePolicy>> Pipeline::Visible(const Caller& caller) const {
  auto policies = deps_.policies->All();
  const auto facts = FactsOf(caller);
  std::erase_if(policies, [&](const auto& active) { return !active->compiled->IsSubject(facts); });
  return policies;
}

std::shared_ptr<const ActivePolicy> Pipeline::Visible(const Caller& caller, std::string_view policy) const {
  auto active = deps_.policies->Find(policy);
  if (active && !active->compiled->IsSubject(FactsOf(caller))) active = nullptr;
  return active;
}

}  // namespace signet::signing
