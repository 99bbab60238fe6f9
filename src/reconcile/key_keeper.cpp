#include "reconcile/key_keeper.hpp"

#include <fmt/format.h>

#include <utility>

#include "obs/log.hpp"
#include "reconcile/on_loop.hpp"

namespace signet::reconcile {
namespace {

KeyAnswer No(std::string reason, std::string message) {
  KeyAnswer answer;
  answer.reason = std::move(reason);
  answer.message = std::move(message);
  return answer;
}

base::Error NoAnswer() {
  return base::MakeError(base::Code::kUnavailable, "HSMUnavailable", "the HSM gave no answer in time");
}

std::string Short(const std::string& key_id) { return key_id.substr(0, 16); }

}  // namespace

base::Result<token::KeyInfo> KeyKeeper::Find(const encoding::Pkcs11Uri& uri) {
  using Found = base::Result<token::KeyInfo>;
  auto found =
      AskLoop<Found>(reactor_, [this, uri](std::function<void(Found)> answer) { hsm_.Find(uri, std::move(answer)); });
  if (!found) return NoAnswer();
  return std::move(*found);
}

std::vector<std::string> KeyKeeper::EverNamed(const std::string& policy) {
  auto named = AskLoop<std::vector<std::string>>(
      reactor_, [this, policy](const std::function<void(std::vector<std::string>)>& answer) {
        answer(journal_.KeysEverNamed(policy));
      });
  // No answer must not read as "never": it would allow a second key.
  return named ? std::move(*named) : std::vector<std::string>{"unknown"};
}

base::Status KeyKeeper::RecordGenerated(const api::SigningPolicy& policy, const token::KeyInfo& key) {
  const std::map<std::string, std::string> fields = {
      {"policy", policy.metadata.name},
      {"policyUID", policy.metadata.uid},
      {"policyGeneration", std::to_string(policy.metadata.generation)},
      {"keyID", key.public_key.keyID()},
      {"keyAlgorithm", std::string(encoding::Name(key.public_key.algorithm()))},
      {"keySize", std::to_string(key.public_key.bits())},
      {"token", key.token_label},
  };
  auto written = AskLoop<base::Status>(reactor_, [this, fields](std::function<void(base::Status)> answer) {
    journal_.Event("keyGenerated", fields, std::move(answer));
  });
  if (!written) return base::MakeError(base::Code::kUnavailable, "AuditUnavailable", "the record gave no answer");
  return *written;
}

KeyAnswer KeyKeeper::Resolve(const api::SigningPolicy& policy, const std::optional<KeyPin>& pin, bool may_generate,
                             const ConfirmUnpinned& confirm_unpinned) {
  auto found = Find(policy.spec.key.uri);
  if (found) return Accept(policy, pin, std::move(*found));
  if (found.error().code == base::Code::kNotFound) {
    return Absent(policy, pin, may_generate, confirm_unpinned, found.error());
  }
  return Refuse(found.error());
}

KeyAnswer KeyKeeper::Follow(const api::SigningPolicy& policy, const std::optional<KeyPin>& pin) {
  if (!pin) return No("KeyNotReady", "the leading replica has not said yet which key this policy has");
  const bool edited = policy.metadata.generation > pin->generation;
  auto found = Find(policy.spec.key.uri);
  if (!found && found.error().code != base::Code::kNotFound) return Refuse(found.error());
  const bool same = found && found->public_key.keyID() == pin->key_id;
  if (!same && edited) {
    return No("KeyNotReady", "the policy was edited, and the leading replica has not looked at its key since");
  }
  if (!found) {
    return No("KeyLost",
              fmt::format("no key fits the URI in the HSM of this replica, where the policy's key ({}...) is "
                          "expected: do all replicas see the same token?",
                          Short(pin->key_id)));
  }
  return Accept(policy, pin, std::move(*found));
}

KeyAnswer KeyKeeper::Accept(const api::SigningPolicy& policy, const std::optional<KeyPin>& pin,
                            token::KeyInfo key) const {
  KeyAnswer answer;
  const std::string& key_id = key.public_key.keyID();
  if (pin && pin->key_id != key_id) {
    if (policy.metadata.generation <= pin->generation) {
      return No("KeyChanged",
                fmt::format("another key ({}...) now answers to the URI than the one this policy is pinned to ({}...); "
                            "nothing is signed until the policy is edited",
                            Short(key_id), Short(pin->key_id)));
    }
    answer.replaced_key_id = pin->key_id;
  }
  if (!key.can_sign) {
    return No("KeyNotUsable", "the key in the HSM may not sign (CKA_SIGN is false): name another key");
  }
  answer.key = std::move(key);
  return answer;
}

KeyAnswer KeyKeeper::Refuse(const base::Error& error) {
  if (error.code == base::Code::kUnavailable || error.code == base::Code::kDeadlineExceeded ||
      error.code == base::Code::kResourceExhausted) {
    return No("HSMUnavailable", error.message);
  }
  obs::Warn("key not usable", {{"reason", error.reason}, {"error", base::Describe(error)}});
  return No(error.reason.empty() ? "KeyNotUsable" : error.reason, error.message);
}

KeyAnswer KeyKeeper::Absent(const api::SigningPolicy& policy, const std::optional<KeyPin>& pin, bool may_generate,
                            const ConfirmUnpinned& confirm_unpinned, const base::Error& not_found) {
  const auto ever_named = EverNamed(policy.metadata.name);
  if (pin || !ever_named.empty()) {
    const std::string known = pin ? pin->key_id : ever_named.back();
    return No("KeyLost", fmt::format("no key fits the URI any more, but this policy has had one ({}...): bring it back "
                                     "from the HSM's backup; Signet never makes a second key for a policy",
                                     Short(known)));
  }
  if (!policy.spec.key.generate) return No("KeyNotFound", not_found.message);
  if (!policy.spec.key.uri.object) {
    return No("KeyNotFound", "no key fits the URI, and a key can be generated only when the URI names an object");
  }
  if (!may_generate) return No("KeyNotFound", "no key fits the URI yet; the leader will generate it");
  auto unpinned = confirm_unpinned();
  if (!unpinned)
    return No("KeyNotFound",
              "no key fits the URI, and the policy could not be read again: " + unpinned.error().message);
  if (!*unpinned) return No("KeyNotFound", "no key fits the URI, and the policy has just changed: looking again");
  return Generate(policy, pin);
}

KeyAnswer KeyKeeper::Generate(const api::SigningPolicy& policy, const std::optional<KeyPin>& pin) {
  const std::lock_guard lock(generating_);
  const auto& uri = policy.spec.key.uri;
  // Another policy may have made it while this one waited for the lock.
  if (auto found = Find(uri)) return Accept(policy, pin, std::move(*found));
  auto can_record =
      AskLoop<bool>(reactor_, [this](const std::function<void(bool)>& answer) { answer(journal_.available()); });
  if (!can_record.value_or(false)) {
    return No("AuditUnavailable", "no key is generated while the audit record cannot be written");
  }
  using Made = base::Result<token::KeyInfo>;
  const token::GenerateSpec spec{policy.spec.key.generate->algorithm, policy.spec.key.generate->size};
  auto made = AskLoop<Made>(
      reactor_, [this, uri, spec](std::function<void(Made)> answer) { hsm_.Generate(uri, spec, std::move(answer)); });
  if (!made) return Refuse(NoAnswer());
  if (!*made && made->error().code != base::Code::kAlreadyExists) return Refuse(made->error());

  // Found again rather than believed: a second key under the URI would show here as KeyAmbiguous.
  auto found = Find(uri);
  if (!found) return Refuse(found.error());
  if (*made && (*made)->public_key.keyID() != found->public_key.keyID()) {
    return No("KeyAmbiguous", "the key that was generated is not the one that the URI finds: make the URI narrower");
  }
  if (*made) {
    if (auto written = RecordGenerated(policy, *found); !written) {
      return No("AuditUnavailable", "the key was generated but not yet recorded: " + written.error().message);
    }
  }
  KeyAnswer answer = Accept(policy, pin, std::move(*found));
  answer.generated = made->has_value();
  return answer;
}

}  // namespace signet::reconcile
