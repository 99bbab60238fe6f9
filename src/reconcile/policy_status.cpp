#include "reconcile/policy_status.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "reconcile/conditions.hpp"

namespace signet::reconcile {
namespace {

constexpr std::string_view kReady = "Ready";
constexpr std::string_view kKeyProtected = "KeyProtected";
constexpr std::string_view kKeyShared = "KeyShared";

template <class T>
T Member(const nlohmann::json& object, const char* key, T fallback) {
  const auto it = object.find(key);
  if (it == object.end()) return fallback;
  if constexpr (std::is_same_v<T, bool>) {
    return it->is_boolean() ? it->get<bool>() : fallback;
  } else if constexpr (std::is_integral_v<T>) {
    return it->is_number_integer() ? it->get<T>() : fallback;
  } else {
    return it->is_string() ? it->get<T>() : fallback;
  }
}

std::optional<api::KeyStatus> ReadKey(const nlohmann::json& status) {
  const auto it = status.find("key");
  if (it == status.end() || !it->is_object()) return std::nullopt;
  api::KeyStatus key;
  key.key_id = Member(*it, "keyID", std::string());
  if (key.key_id.empty()) return std::nullopt;
  key.algorithm = encoding::ParseKeyAlgorithm(Member(*it, "algorithm", std::string())).value_or(key.algorithm);
  key.size = Member(*it, "size", 0);
  key.public_key = Member(*it, "publicKey", std::string());
  key.sensitive = Member(*it, "sensitive", false);
  key.extractable = Member(*it, "extractable", false);
  key.never_extractable = Member(*it, "neverExtractable", false);
  key.local = Member(*it, "local", false);
  return key;
}

bool SameKey(const std::optional<api::KeyStatus>& left, const std::optional<api::KeyStatus>& right) {
  if (!left || !right) return left.has_value() == right.has_value();
  return left->key_id == right->key_id && left->algorithm == right->algorithm && left->size == right->size &&
         left->public_key == right->public_key && left->sensitive == right->sensitive &&
         left->extractable == right->extractable && left->never_extractable == right->never_extractable &&
         left->local == right->local;
}

api::KeyStatus Describe(const token::KeyInfo& key) {
  api::KeyStatus out;
  out.key_id = key.public_key.keyID();
  out.algorithm = key.public_key.algorithm();
  out.size = key.public_key.bits();
  out.public_key = key.public_key.pem();
  out.sensitive = key.sensitive;
  out.extractable = key.extractable;
  out.never_extractable = key.never_extractable;
  out.local = key.local;
  return out;
}

std::string KeyName(const token::KeyInfo& key) {
  const auto& public_key = key.public_key;
  switch (public_key.algorithm()) {
    case api::KeyAlgorithm::kEcdsa:
      return fmt::format("ECDSA P-{} key in token {}", public_key.bits(), key.token_label);
    case api::KeyAlgorithm::kRsa:
      return fmt::format("RSA {} key in token {}", public_key.bits(), key.token_label);
    case api::KeyAlgorithm::kEd25519:
      return fmt::format("Ed25519 key in token {}", key.token_label);
  }
  return "key in token " + key.token_label;
}

/// Why the key is not as well kept as it should be; empty when it is.
std::string Exposure(const token::KeyInfo& key) {
  std::vector<std::string> faults;
  if (!key.sensitive) faults.emplace_back("is not sensitive");
  if (key.extractable) faults.emplace_back("is extractable");
  if (!key.extractable && !key.never_extractable) faults.emplace_back("has been extractable once");
  return fmt::format("{}", fmt::join(faults, " and "));
}

std::string NamesOf(const std::vector<api::SignatureAlgorithm>& algorithms) {
  std::vector<std::string_view> names;
  for (const auto algorithm : algorithms) names.push_back(encoding::Info(algorithm).name);
  return fmt::format("{}", fmt::join(names, ", "));
}

api::Condition ReadyOf(const PolicyFacts& facts) {
  api::Condition ready{std::string(kReady), false, facts.key.reason, facts.key.message, facts.generation, {}};
  if (facts.spec == nullptr || !facts.key.key) return ready;
  const auto& key = *facts.key.key;
  const auto missing = Unavailable(*facts.spec, key);
  if (missing.size() == facts.spec->algorithms.size()) {
    ready.reason = "MechanismMissing";
    ready.message =
        fmt::format("{}, which cannot do {}: change algorithms or name another key", KeyName(key), NamesOf(missing));
    return ready;
  }
  ready.message = KeyName(key);
  if (!missing.empty()) ready.message += fmt::format("; cannot do {}", NamesOf(missing));
  if (const auto exposure = Exposure(key); !exposure.empty()) {
    ready.message += "; warning: the key " + exposure;
  }
  if (!facts.shared_with.empty()) {
    ready.message += fmt::format("; warning: shared with {}", fmt::join(facts.shared_with, ", "));
  }
  if (facts.spec->quota) {
    ready.message += facts.shared_budgets ? "; perDay is counted over all replicas, perSecond by each"
                                          : "; quotas are counted by this operator process alone";
  }
  if (facts.spec->suspend) {
    ready.reason = "Suspended";
    ready.message = "suspended by spec.suspend, nothing is signed; " + ready.message;
    return ready;
  }
  ready.status = true;
  ready.reason = "KeyAvailable";
  return ready;
}

}  // namespace

api::SigningPolicyStatus ReadPolicyStatus(const nlohmann::json& object) {
  api::SigningPolicyStatus out;
  const auto status = object.find("status");
  if (status == object.end() || !status->is_object()) return out;
  out.observed_generation = Member(*status, "observedGeneration", std::int64_t{0});
  out.conditions = ReadConditions(object);
  out.key = ReadKey(*status);
  return out;
}

std::optional<KeyPin> PinOf(const api::SigningPolicyStatus& status) {
  if (!status.key) return std::nullopt;
  const auto* pinned = api::FindCondition(status.conditions, kKeyProtected);
  return KeyPin{status.key->key_id, pinned != nullptr ? pinned->observed_generation : status.observed_generation};
}

api::SigningPolicyStatus NextPolicyStatus(const api::SigningPolicyStatus& before, const PolicyFacts& facts,
                                          base::TimePoint now) {
  api::SigningPolicyStatus next = before;
  next.observed_generation = facts.generation;
  SetCondition(next.conditions, ReadyOf(facts), now);
  // Without a key in hand the old pin stays as it is: KeyChanged and KeyLost need it.
  if (!facts.key.key) return next;
  next.key = Describe(*facts.key.key);
  const auto exposure = Exposure(*facts.key.key);
  SetCondition(next.conditions,
               {std::string(kKeyProtected),
                exposure.empty(),
                exposure.empty() ? "NeverExtractable" : "KeyExtractable",
                exposure.empty() ? "the key is sensitive and never was extractable" : "the key " + exposure,
                facts.generation,
                {}},
               now);
  const bool known_shared = api::FindCondition(next.conditions, kKeyShared) != nullptr;
  if (!facts.shared_with.empty() || known_shared) {
    SetCondition(next.conditions,
                 {std::string(kKeyShared),
                  !facts.shared_with.empty(),
                  facts.shared_with.empty() ? "OnePolicy" : "SeveralPolicies",
                  facts.shared_with.empty() ? "no other policy names this key"
                                            : fmt::format("also named by {}: one policy can undo the limits of another",
                                                          fmt::join(facts.shared_with, ", ")),
                  facts.generation,
                  {}},
                 now);
  }
  return next;
}

bool SamePolicyStatus(const api::SigningPolicyStatus& left, const api::SigningPolicyStatus& right) {
  return left.observed_generation == right.observed_generation && SameKey(left.key, right.key) &&
         SameConditions(left.conditions, right.conditions);
}

std::vector<api::SignatureAlgorithm> Unavailable(const api::SigningPolicySpec& spec, const token::KeyInfo& key) {
  std::vector<api::SignatureAlgorithm> missing;
  for (const auto algorithm : spec.algorithms) {
    if (std::find(key.mechanisms.begin(), key.mechanisms.end(), algorithm) == key.mechanisms.end()) {
      missing.push_back(algorithm);
    }
  }
  return missing;
}

}  // namespace signet::reconcile
