#include "frontend/policy_changes.hpp"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "api/json.hpp"
#include "crypto/digest.hpp"

namespace signet::frontend {
namespace {

using nlohmann::json;

std::map<std::string, std::string> Fields(const PolicyChange& change) {
  std::map<std::string, std::string> fields = {{"policy", change.policy},    {"uid", change.uid},
                                               {"verb", change.verb},        {"user", change.user},
                                               {"oldHash", change.old_hash}, {"newHash", change.new_hash}};
  std::erase_if(fields, [](const auto& field) { return field.second.empty(); });
  return fields;
}

std::string UidOf(const json& object) {
  const auto metadata = object.find("metadata");
  if (metadata == object.end() || !metadata->is_object()) return {};
  const auto uid = metadata->find("uid");
  return uid != metadata->end() && uid->is_string() ? uid->get<std::string>() : std::string();
}

}  // namespace

std::string SpecHash(const json& object) {
  return object.is_null() ? std::string() : crypto::Sha256Hex(base::AsBytes(api::CanonicalSpec(object)));
}

void PolicyChanges::Record(const PolicyChange& change, std::function<void(const base::Status&)> done) {
  if (change.old_hash != change.new_hash) {  // before it is written: the watch may be fast
    if (waiting_.size() >= kMax) waiting_.pop_front();
    waiting_.push_back({change, clock_.Steady() + kPatience});
  }
  auto fields = Fields(change);
  fields["state"] = "unconfirmed";
  journal_.Event("policyChange", fields, std::move(done));
}

std::vector<PolicyChange> PolicyChanges::Path(const PolicyChange& shown) const {
  std::vector<PolicyChange> path;
  std::string hash = shown.old_hash;
  // A claim is used once, so that edits there and back end.
  while (path.size() < waiting_.size()) {
    const PolicyChange* next = nullptr;
    for (const Waiting& waiting : waiting_) {
      const PolicyChange& change = waiting.change;
      const bool fits = change.policy == shown.policy && change.old_hash == hash &&
                        (change.uid.empty() || shown.uid.empty() || change.uid == shown.uid);
      if (!fits) continue;
      if (next != nullptr && (next->new_hash != change.new_hash || next->user != change.user)) return {};
      next = &change;
    }
    if (next == nullptr) return {};
    path.push_back(*next);
    hash = next->new_hash;
    if (hash == shown.new_hash) return path;
  }
  return {};
}

void PolicyChanges::Observe(const std::string& policy, const json* before, const json* after) {
  while (!waiting_.empty() && waiting_.front().until <= clock_.Steady()) waiting_.pop_front();
  const auto named = [&](const Waiting& waiting) { return waiting.change.policy == policy; };
  if (std::none_of(waiting_.begin(), waiting_.end(), named)) return;
  PolicyChange shown;
  shown.policy = policy;
  shown.uid = after != nullptr ? UidOf(*after) : before != nullptr ? UidOf(*before) : "";
  shown.old_hash = before == nullptr ? std::string() : SpecHash(*before);
  shown.new_hash = after == nullptr ? std::string() : SpecHash(*after);
  if (shown.old_hash == shown.new_hash) return;
  const auto path = Path(shown);
  // What this change could have been is no longer open, whoever claimed it.
  std::erase_if(waiting_, [&](const Waiting& waiting) {
    const auto& change = waiting.change;
    return named(waiting) && (change.old_hash == shown.old_hash ||
                              std::any_of(path.begin(), path.end(),
                                          [&](const PolicyChange& one) { return one.old_hash == change.old_hash; }));
  });
  for (const PolicyChange& change : path) {
    auto fields = Fields(change);
    if (!shown.uid.empty()) fields["uid"] = shown.uid;
    journal_.Event("policyChangeConfirmed", fields, [](const base::Status&) {});
  }
}

}  // namespace signet::frontend
