#include "frontend/idempotency.hpp"

#include <iterator>
#include <utility>

namespace signet::frontend {
namespace {

http::Response Replay(http::Response response) {
  response.headers.emplace_back("Idempotency-Replayed", "true");
  return response;
}

}  // namespace

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

IdempotencyCache::Verdict IdempotencyCache::Begin(const std::string& key, const BodyHash& body,
                                                  http::Responder& respond) {
  Expire();
  const auto [found, created] = entries_.try_emplace(key);
  Entry& entry = found->second;
  if (created) {
    entry.body = body;
    return Verdict::kFirst;
  }
  if (entry.body != body) return Verdict::kConflict;
  if (entry.done) {
    respond(Replay(entry.response));
    return Verdict::kAnswered;
  }
  if (entry.waiting.size() >= options_.waiters) return Verdict::kTooMany;
  entry.waiting.push_back(std::move(respond));
  return Verdict::kAnswered;
}

void IdempotencyCache::Finish(const std::string& key, const http::Response& response, bool keep) {
  const auto found = entries_.find(key);
  if (found == entries_.end() || found->second.done) return;
  Entry& entry = found->second;
  const std::vector<http::Responder> waiting = std::exchange(entry.waiting, {});
  if (keep && response.status == 200) {
    entry.done = true;
    entry.response = response;
    octets_ += response.body.size();
    entry.expires = clock_.Steady() + options_.time;
    entry.order = done_.insert(done_.end(), key);
    Expire();
  } else {
    entries_.erase(found);
  }
  for (const auto& respond : waiting) respond(response.status == 200 ? Replay(response) : response);
}

void IdempotencyCache::Expire() {
  const base::SteadyPoint now = clock_.Steady();
  while (!done_.empty()) {
    const auto oldest = entries_.find(done_.front());
    if (done_.size() <= options_.entries && octets_ <= options_.octets && oldest->second.expires > now) return;
    octets_ -= oldest->second.response.body.size();
    entries_.erase(oldest);
    done_.pop_front();
  }
}

}  // namespace signet::frontend
