#include "frontend/idempotency.hpp"

#include <iterator>
#include <utility>

namespace signet::frontend {
std::string IdempotencyCache::Key(std::string_view principal, std::string_view policy, std::string_view key) {
  std::string name;  // lengths first: no principal can be written so that it runs into the policy
  name.reserve(principal.size() + policy.size() + key.size() + 24);
  name += std::to_string(principal.size());
  name += ':';
  name += principal;
  name += std::to_string(policy.size());
  name += ':';
  name += policy;
  name += key;
  return name;
}

IdempotencyCache::Found IdempotencyCache::Begin(const std::string& key, const BodyHash& body) {
  Expire();
  const auto [found, created] = entries_.try_emplace(key);
  Entry& entry = found->second;
  if (created) {
    entry.body = body;
    return {Verdict::kFirst, nullptr};
  }
  if (entry.body != body) return {Verdict::kConflict, nullptr};
  if (entry.done) return {Verdict::kDone, entry.kept};
  return {entry.waiting.size() < options_.waiters ? Verdict::kInWork : Verdict::kTooMany, nullptr};
}

void IdempotencyCache::Wait(const std::string& key, Waiter waiter) {
  entries_.at(key).waiting.push_back(std::move(waiter));
}

void IdempotencyCache::Finish(const std::string& key, Kept answer, bool keep) {
  const auto found = entries_.find(key);
  if (found == entries_.end() || found->second.done) return;
  Entry& entry = found->second;
  const std::vector<Waiter> waiting = std::exchange(entry.waiting, {});
  const auto kept = std::make_shared<const Kept>(std::move(answer));
  if (keep && kept->response.status == 200) {
    entry.done = true;
    entry.kept = kept;
    octets_ += kept->response.body.size();
    entry.expires = clock_.Steady() + options_.time;
    entry.order = done_.insert(done_.end(), key);
    Expire();
  } else {
    entries_.erase(found);
  }
  for (const auto& waiter : waiting) waiter(kept);
}

void IdempotencyCache::Expire() {
  const base::SteadyPoint now = clock_.Steady();
  while (!done_.empty()) {
    const auto oldest = entries_.find(done_.front());
    if (done_.size() <= options_.entries && octets_ <= options_.octets && oldest->second.expires > now) return;
    octets_ -= oldest->second.kept->response.body.size();
    entries_.erase(oldest);
    done_.pop_front();
  }
}

}  // namespace signet::frontend
