#include "reconcile/cluster_policies.hpp"

#include <charconv>
#include <optional>
#include <utility>

namespace signet::reconcile {
namespace {

const api::ObjectMeta& Meta(const signing::ActivePolicy& policy) { return policy.compiled->policy().metadata; }

std::optional<std::uint64_t> Number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::shared_ptr<const signing::ActivePolicy> ClusterPolicies::Find(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(name);
  if (it == entries_.end()) return nullptr;
  it->second.used_at = clock_.Steady();
  it->second.used = true;
  return it->second.policy;
}

std::vector<std::shared_ptr<const signing::ActivePolicy>> ClusterPolicies::All() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<const signing::ActivePolicy>> out;
  out.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) out.push_back(entry.policy);
  return out;
}

std::shared_ptr<const signing::ActivePolicy> ClusterPolicies::Peek(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(name);
  return it == entries_.end() ? nullptr : it->second.policy;
}

bool ClusterPolicies::IsOlder(const signing::ActivePolicy& candidate, const Entry& known) const {
  const auto& mine = Meta(candidate);
  const auto& theirs = Meta(*known.policy);
  if (mine.uid == theirs.uid) return mine.generation < theirs.generation;
  // Another life of the same name. Resource versions are the only order there is between two uids;
  // where they are not numbers the newcomer wins, and the next live GET puts right what was wrong.
  const auto left = Number(mine.resource_version);
  const auto right = Number(theirs.resource_version);
  return left && right && *left < *right;
}

bool ClusterPolicies::Publish(signing::ActivePolicy policy, Origin origin) {
  const std::string name = Meta(policy).name;
  const std::lock_guard lock(mutex_);
  const auto removed = removed_.find(name);
  if (removed != removed_.end()) {
    if (origin == Origin::kCache && removed->second.uid == Meta(policy).uid) return false;
    removed_.erase(removed);
  }
  auto& entry = entries_[name];
  if (entry.policy != nullptr && IsOlder(policy, entry)) return false;
  // A cached copy of what is already in force proves nothing about the store as it is now.
  const bool known = entry.policy != nullptr && Meta(*entry.policy).uid == Meta(policy).uid &&
                     entry.policy->hash == policy.hash && Meta(*entry.policy).generation == Meta(policy).generation;
  policy.confirmed_at = known && origin == Origin::kCache ? entry.policy->confirmed_at : clock_.Steady();
  entry.policy = std::make_shared<const signing::ActivePolicy>(std::move(policy));
  return true;
}

void ClusterPolicies::Remove(std::string_view name, std::string_view uid) {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(name);
  if (it == entries_.end()) return;
  const std::string known = Meta(*it->second.policy).uid;
  if (!uid.empty() && uid != known) return;
  const auto now = clock_.Steady();
  std::erase_if(removed_, [now](const auto& one) { return now - one.second.at > kRememberRemoved; });
  removed_[std::string(name)] = {known, now};
  entries_.erase(it);
}

std::size_t ClusterPolicies::remembered() const {
  const std::lock_guard lock(mutex_);
  return removed_.size();
}

void ClusterPolicies::ConfirmLocked(Entry& entry, base::SteadyPoint now) {
  auto confirmed = std::make_shared<signing::ActivePolicy>(*entry.policy);
  confirmed->confirmed_at = now;
  entry.policy = std::move(confirmed);
}

void ClusterPolicies::Confirm(std::string_view name) {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(name);
  if (it != entries_.end()) ConfirmLocked(it->second, clock_.Steady());
}

std::vector<std::string> ClusterPolicies::Names() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  out.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) out.push_back(name);
  return out;
}

std::vector<std::string> ClusterPolicies::UsedWithin(base::Duration window) const {
  const std::lock_guard lock(mutex_);
  const auto now = clock_.Steady();
  std::vector<std::string> out;
  for (const auto& [name, entry] : entries_) {
    if (entry.used && now - entry.used_at <= window) out.push_back(name);
  }
  return out;
}

}  // namespace signet::reconcile
