#include "reconcile/policy_reconciler.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "api/json.hpp"
#include "crypto/digest.hpp"
#include "obs/log.hpp"
#include "policy/decide.hpp"
#include "reconcile/policy_status.hpp"
#include "reconcile/resources.hpp"

namespace signet::reconcile {
namespace {

using EventType = EventRecorder::Type;

struct Revision {
  std::shared_ptr<const policy::CompiledPolicy> compiled;
  std::string hash;
};

base::Result<Revision> Compile(const nlohmann::json& object) {
  TRY(auto parsed, api::PolicyFromJson(object));
  TRY(auto compiled, policy::CompiledPolicy::Compile(std::move(parsed)));
  return Revision{std::move(compiled), crypto::Sha256Hex(base::AsBytes(api::CanonicalSpec(object)))};
}

bool IsSameRevision(const signing::ActivePolicy& known, const api::ObjectMeta& meta, std::string_view hash) {
  const auto& mine = known.compiled->policy().metadata;
  return mine.uid == meta.uid && mine.generation == meta.generation && known.hash == hash;
}

}  // namespace

PolicyReconciler::PolicyReconciler(Options options, Dependencies dependencies)
    : options_(options), deps_(std::move(dependencies)), keeper_(*deps_.reactor, *deps_.hsm, *deps_.journal) {}

void PolicyReconciler::Observe(const nlohmann::json& object, ClusterPolicies::Origin origin) {
  auto revision = Compile(object);
  std::string changed;
  {
    const std::lock_guard lock(observing_);
    changed = revision ? ObserveValid(revision->compiled, revision->hash, origin) : ObserveInvalid(object, origin);
  }
  if (changed.empty()) return;
  if (origin == ClusterPolicies::Origin::kLive) deps_.enqueue(changed);
  deps_.published(changed);
}

std::string PolicyReconciler::ObserveInvalid(const nlohmann::json& object, ClusterPolicies::Origin origin) {
  auto meta = api::MetadataFromJson(object);
  const auto known = meta ? deps_.policies->Peek(meta->name) : nullptr;
  if (known == nullptr || known->not_ready_reason == "Invalid") return {};
  // The rules that stood before still decide who learns what, but under the new revision nothing is signed.
  api::SigningPolicy stopped = known->compiled->policy();
  stopped.metadata = *meta;
  auto compiled = policy::CompiledPolicy::Compile(std::move(stopped));
  if (!compiled) return {};
  signing::ActivePolicy next;
  next.compiled = std::move(*compiled);
  next.hash = crypto::Sha256Hex(base::AsBytes(api::CanonicalSpec(object)));
  next.not_ready_reason = "Invalid";
  next.not_ready_message = "the policy is not valid: see its Ready condition";
  if (!deps_.policies->Publish(next, origin)) return {};
  Journal(next);
  return meta->name;
}

std::string PolicyReconciler::ObserveValid(std::shared_ptr<const policy::CompiledPolicy> compiled, std::string hash,
                                           ClusterPolicies::Origin origin) {
  const auto& meta = compiled->policy().metadata;
  const auto known = deps_.policies->Peek(meta.name);
  if (known != nullptr && IsSameRevision(*known, meta, hash)) {
    if (origin == ClusterPolicies::Origin::kLive) deps_.policies->Confirm(meta.name);
    return {};
  }
  signing::ActivePolicy next;
  next.compiled = compiled;
  next.hash = std::move(hash);
  next.not_ready_reason = "KeyNotReady";
  next.not_ready_message = "the key has not been looked up yet";
  const bool same_key = known != nullptr && known->compiled->policy().metadata.uid == meta.uid &&
                        known->compiled->policy().spec.key.uri.text == compiled->policy().spec.key.uri.text;
  if (same_key && known->not_ready_reason != "Invalid") {
    next.key = known->key;
    next.not_ready_reason = known->not_ready_reason;
    next.not_ready_message = known->not_ready_message;
  }
  if (!deps_.policies->Publish(next, origin)) return {};
  Journal(next);
  return meta.name;
}

base::Status PolicyReconciler::Refresh(const std::string& name) {
  auto live = deps_.store->Get(SigningPolicies(), "", name);
  if (live) {
    Observe(*live, ClusterPolicies::Origin::kLive);
    return {};
  }
  if (live.error().code != base::Code::kNotFound) return live.error();
  deps_.policies->Remove(name, "");
  return {};
}

Outcome PolicyReconciler::Reconcile(const std::string& name) {
  const auto object = deps_.cached(name);
  if (object == nullptr) return Gone(name);
  Observe(*object, ClusterPolicies::Origin::kCache);
  auto revision = Compile(*object);
  if (!revision) return Invalid(*object, revision.error());
  const auto active = deps_.policies->Peek(name);
  // A live GET has shown a newer revision, or none: the informer will bring the same news.
  if (active == nullptr || !IsSameRevision(*active, revision->compiled->policy().metadata, revision->hash))
    return Outcome::After(std::chrono::seconds(1));
  return deps_.leads() ? ResolveKey(*object, *active) : Follow(*object, *active);
}

Outcome PolicyReconciler::Gone(const std::string& name) {
  auto live = deps_.store->Get(SigningPolicies(), "", name);
  if (live) {
    Observe(*live, ClusterPolicies::Origin::kLive);
    return Outcome::After(std::chrono::seconds(1));
  }
  deps_.policies->Remove(name, "");
  Share(name, "");
  {
    const std::lock_guard lock(mutex_);
    memory_.erase(name);
  }
  return live.error().code == base::Code::kNotFound ? Outcome::Done() : Outcome::Retry(live.error());
}

Outcome PolicyReconciler::Invalid(const nlohmann::json& object, const base::Error& error) {
  const auto meta = api::MetadataFromJson(object);
  if (!meta) {
    obs::Warn("policy without usable metadata", {{"error", base::Describe(meta.error())}});
    return Outcome::Done();
  }
  if (!deps_.leads()) return Outcome::Done();
  PolicyFacts facts;
  facts.generation = meta->generation;
  facts.key.reason = "Invalid";
  facts.key.message = error.message;
  const auto before = ReadPolicyStatus(object);
  const auto next = NextPolicyStatus(before, facts, deps_.clock->Now());
  if (auto written = Write(object, before, next); !written) return Outcome::Retry(written.error());
  Tell(object, before, next, facts.key);
  return Outcome::Done();
}

base::Result<bool> PolicyReconciler::IsUnpinned(const api::SigningPolicy& policy) {
  TRY(auto live, deps_.store->Get(SigningPolicies(), "", policy.metadata.name));
  TRY(auto meta, api::MetadataFromJson(live));
  return meta.uid == policy.metadata.uid && meta.generation == policy.metadata.generation &&
         !PinOf(ReadPolicyStatus(live));
}

Outcome PolicyReconciler::ResolveKey(const nlohmann::json& object, const signing::ActivePolicy& active) {
  const auto& parsed = active.compiled->policy();
  const std::string name = parsed.metadata.name;
  const auto before = ReadPolicyStatus(object);
  const auto pin = PinOf(before);

  PolicyFacts facts;
  facts.generation = parsed.metadata.generation;
  facts.spec = &parsed.spec;
  facts.shared_budgets = options_.shared_budgets;
  const bool reuse = IsFresh(active);
  if (reuse) {
    facts.key.key = active.key;
  } else {
    facts.key = keeper_.Resolve(parsed, pin, deps_.leads(), [&] { return IsUnpinned(parsed); });
  }
  const bool hsm_away = facts.key.reason == "HSMUnavailable";
  const std::string key_id = facts.key.key            ? facts.key.key->public_key.keyID()
                             : hsm_away && active.key ? active.key->public_key.keyID()
                                                      : std::string();
  facts.shared_with = Share(name, key_id);

  const auto next = NextPolicyStatus(before, facts, deps_.clock->Now());
  auto written = Write(object, before, next);
  // A key counts once its pin stands in the status: otherwise a swap in the HSM could pass unseen.
  const bool pinned = written || (pin && pin->key_id == key_id);

  // While the HSM is away a known key stays: signing says HSMUnavailable by itself, and goes on by itself.
  const bool keep = hsm_away && active.key.has_value();
  const auto usable = keep ? active.key : pinned ? facts.key.key : std::nullopt;
  Remember(active, facts.key.key && usable, !reuse);
  if (!PublishKey(active, usable, facts.key)) return Outcome::After(std::chrono::seconds(1));
  if (!written) {
    return written.error().code == base::Code::kAborted ? Outcome::After(std::chrono::milliseconds(200))
                                                        : Outcome::Retry(written.error());
  }
  Tell(object, before, next, facts.key);
  return Outcome::After(facts.key.key ? options_.key_recheck : options_.key_retry);
}

Outcome PolicyReconciler::Follow(const nlohmann::json& object, const signing::ActivePolicy& active) {
  const auto& parsed = active.compiled->policy();
  const std::string& name = parsed.metadata.name;
  const auto pin = PinOf(ReadPolicyStatus(object));
  const bool pinned = pin && active.key && active.key->public_key.keyID() == pin->key_id;
  const bool reuse = pinned && IsFresh(active);
  KeyAnswer answer;
  if (reuse) {
    answer.key = active.key;
  } else {
    answer = keeper_.Follow(parsed, pin);
  }
  const auto usable = answer.reason == "HSMUnavailable" && pinned ? active.key : answer.key;
  Remember(active, answer.key.has_value(), !reuse);
  Share(name, usable ? usable->public_key.keyID() : std::string());
  if (!PublishKey(active, usable, answer)) return Outcome::After(std::chrono::seconds(1));
  if (usable.has_value() != active.key.has_value() || answer.reason != active.not_ready_reason) {
    obs::Info("policy followed", {{"policy", name},
                                  {"generation", parsed.metadata.generation},
                                  {"key", usable ? usable->public_key.keyID() : std::string()},
                                  {"reason", answer.reason},
                                  {"message", answer.message}});
  }
  return Outcome::After(answer.key ? options_.key_recheck : options_.key_retry);
}

bool PolicyReconciler::IsFresh(const signing::ActivePolicy& active) {
  const auto& meta = active.compiled->policy().metadata;
  const std::lock_guard lock(mutex_);
  const auto& known = memory_[meta.name];
  return known.key_fresh && known.uid == meta.uid && known.key_hash == active.hash && active.key &&
         deps_.clock->Steady() - known.key_checked_at < options_.key_recheck;
}

void PolicyReconciler::Remember(const signing::ActivePolicy& active, bool fresh, bool looked) {
  const auto& meta = active.compiled->policy().metadata;
  const std::lock_guard lock(mutex_);
  auto& known = memory_[meta.name];
  known.uid = meta.uid;
  known.key_fresh = fresh;
  known.key_hash = active.hash;
  if (looked) known.key_checked_at = deps_.clock->Steady();
}

bool PolicyReconciler::PublishKey(const signing::ActivePolicy& active, const std::optional<token::KeyInfo>& key,
                                  const KeyAnswer& answer) {
  const auto& meta = active.compiled->policy().metadata;
  bool news = false;
  {
    const std::lock_guard lock(observing_);
    const auto current = deps_.policies->Peek(meta.name);
    if (current == nullptr || !IsSameRevision(*current, meta, active.hash)) return false;
    signing::ActivePolicy next = *current;
    news = key.has_value() && !next.key.has_value();
    next.key = key;
    next.not_ready_reason = key ? "" : answer.reason.empty() ? "KeyNotReady" : answer.reason;
    next.not_ready_message = key ? "" : answer.message;
    deps_.policies->Publish(std::move(next), ClusterPolicies::Origin::kCache);
  }
  if (news) deps_.published(meta.name);
  return true;
}

base::Status PolicyReconciler::Write(const nlohmann::json& object, const api::SigningPolicyStatus& before,
                                     const api::SigningPolicyStatus& next) {
  if (SamePolicyStatus(before, next)) return {};
  TRY(const auto meta, api::MetadataFromJson(object));
  TRY_VOID(deps_.store->PatchStatus(SigningPolicies(), "", meta.name, meta.uid, meta.resource_version,
                                    api::StatusToJson(next)));
  return {};
}

void PolicyReconciler::Tell(const nlohmann::json& object, const api::SigningPolicyStatus& before,
                            const api::SigningPolicyStatus& next, const KeyAnswer& key) {
  const auto meta = api::MetadataFromJson(object);
  const auto* was = api::FindCondition(before.conditions, "Ready");
  const auto* is = api::FindCondition(next.conditions, "Ready");
  if (!meta || is == nullptr) return;
  const auto tell = [&](EventType type, std::string reason, std::string message) {
    deps_.events->Record(SigningPolicies(), *meta, type, std::move(reason), std::move(message));
  };
  if (key.generated) {
    tell(EventType::kNormal, "KeyGenerated", "generated " + is->message);
  } else if (key.key && !before.key) {
    tell(EventType::kNormal, "KeyFound", "found " + is->message);
  }
  if (!key.replaced_key_id.empty()) {
    tell(EventType::kWarning, "KeyReplaced",
         "the edited policy now uses key " + next.key->key_id + " in place of " + key.replaced_key_id);
    obs::Warn("policy uses another key after an edit",
              {{"policy", meta->name}, {"key", next.key->key_id}, {"before", key.replaced_key_id}});
  }
  for (const auto* type : {"KeyProtected", "KeyShared"}) {
    const auto* old = api::FindCondition(before.conditions, type);
    const auto* now = api::FindCondition(next.conditions, type);
    const bool warns = now != nullptr && now->status == (std::string_view(type) == "KeyShared");
    if (warns && (old == nullptr || old->status != now->status)) {
      tell(EventType::kWarning, std::string_view(type) == "KeyShared" ? "KeyShared" : "KeyExtractable", now->message);
    }
  }
  if (!is->status && (was == nullptr || was->status || was->reason != is->reason)) {
    tell(EventType::kWarning, is->reason, is->message);
  }
  if (was == nullptr || was->status != is->status || was->reason != is->reason) {
    obs::Info("policy status", {{"policy", meta->name},
                                {"generation", meta->generation},
                                {"ready", is->status ? "True" : "False"},
                                {"reason", is->reason},
                                {"message", is->message}});
  }
}

void PolicyReconciler::Journal(const signing::ActivePolicy& active) {
  const auto& meta = active.compiled->policy().metadata;
  std::string before;
  {
    const std::lock_guard lock(mutex_);
    auto& known = memory_[meta.name];
    if (known.hash == active.hash) return;
    before = std::exchange(known.hash, active.hash);
  }
  const std::map<std::string, std::string> fields = {
      {"policy", meta.name},
      {"policyUID", meta.uid},
      {"policyGeneration", std::to_string(meta.generation)},
      {"oldHash", before},
      {"newHash", active.hash},
      {"suspend", active.compiled->policy().spec.suspend ? "true" : "false"},
  };
  deps_.reactor->Post([journal = deps_.journal, fields] { journal->Event("policyChanged", fields, [](auto) {}); });
}

std::vector<std::string> PolicyReconciler::Share(const std::string& name, const std::string& key_id) {
  std::set<std::string> wake;
  std::vector<std::string> others;
  {
    const std::lock_guard lock(mutex_);
    auto& known = memory_[name];
    if (known.key_id != key_id) {
      if (const auto old = keys_.find(known.key_id); old != keys_.end()) {
        old->second.erase(name);
        wake.insert(old->second.begin(), old->second.end());
        if (old->second.empty()) keys_.erase(old);
      }
      if (!key_id.empty()) {
        auto& group = keys_[key_id];
        wake.insert(group.begin(), group.end());
        group.insert(name);
      }
      known.key_id = key_id;
    }
    if (const auto group = keys_.find(key_id); group != keys_.end()) {
      std::copy_if(group->second.begin(), group->second.end(), std::back_inserter(others),
                   [&](const std::string& other) { return other != name; });
    }
  }
  for (const auto& other : wake) deps_.enqueue(other);
  return others;
}

}  // namespace signet::reconcile
