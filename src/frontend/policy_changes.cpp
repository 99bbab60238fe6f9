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

void PolicyChanges::Observe(const std::string& policy, const json* object) {
  while (!waiting_.empty() && waiting_.front().until <= clock_.Steady()) waiting_.pop_front();
  const auto named = [&](const Waiting& waiting) { return waiting.change.policy == policy; };
  if (std::none_of(waiting_.begin(), waiting_.end(), named)) return;
  const std::string hash = object == nullptr ? std::string() : SpecHash(*object);
  const std::string uid = object == nullptr ? std::string() : UidOf(*object);
  std::erase_if(waiting_, [&](const Waiting& waiting) {
    const PolicyChange& change = waiting.change;
    if (!named(waiting) || change.new_hash != hash) return false;
    if (object != nullptr && !change.uid.empty() && change.uid != uid) return false;
    auto fields = Fields(change);
    if (!uid.empty()) fields["uid"] = uid;
    journal_.Event("policyChangeConfirmed", fields, [](const base::Status&) {});
    return true;
  });
}

}  // namespace signet::frontend
