// authn/joint_cache.hpp - answers of the API server for a few seconds; who asks for the same waits for the same call.
//
// Ownership:     owns answers and waiters.
// Thread-safety: one thread (the reactor's).
// Blocking:      never.
// Sizes:         Options; the oldest answer makes room. Calls under way are bounded by whoever makes them.
// Errors:        an answer may be one: it is kept for as long as Finish says.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"

namespace signet::authn {

template <class Value>
class JointCache {
 public:
  using Answer = base::Result<std::shared_ptr<const Value>>;
  using Done = std::function<void(const Answer&)>;
  struct Options {
    std::size_t entries = 4096;
    std::size_t waiters = 4096;  ///< of all calls together
  };
  enum class Next : std::uint8_t {
    kWait,  ///< `done` will be called when the call under way has its answer
    kAsk,   ///< as kWait, and the call is the caller's to make: Finish ends it
    kFull,  ///< too many wait; `done` will not be called
  };

  explicit JointCache(Options options) : options_(options) {}

  /// nullptr: none that stands. `renew`: it has reached its half; ask again before it is over.
  const Answer* Find(const std::string& key, base::SteadyPoint now, bool* renew = nullptr) {
    const auto found = entries_.find(key);
    if (found == entries_.end()) return nullptr;
    if (found->second.until <= now) {
      Erase(found);
      return nullptr;
    }
    if (renew != nullptr) *renew = found->second.renew <= now && !calls_.contains(key);
    return &found->second.answer;
  }
  /// An empty `done` asks without waiting.
  Next Join(const std::string& key, Done done) {
    if (done && waiters_ >= options_.waiters) return Next::kFull;
    const auto [call, first] = calls_.try_emplace(key);
    if (done) {
      call->second.push_back(std::move(done));
      ++waiters_;
    }
    return first ? Next::kAsk : Next::kWait;
  }
  /// Ends the call for `key`: keeps `answer` (not at all when `until` has come) and gives it to all who wait.
  void Finish(const std::string& key, Answer answer, base::SteadyPoint now, base::SteadyPoint renew,
              base::SteadyPoint until) {
    std::vector<Done> waiting;
    if (const auto call = calls_.find(key); call != calls_.end()) {
      waiting = std::move(call->second);
      calls_.erase(call);
      waiters_ -= waiting.size();
    }
    if (until > now) Keep(key, answer, renew, until);
    for (const auto& done : waiting) done(answer);
  }
  /// Ends the call for `key` with an answer that is not kept; what stood before goes on standing.
  void Fail(const std::string& key, const base::Error& error, base::SteadyPoint now) {
    Finish(key, Answer(error), now, now, now);
  }
  void Forget(const std::string& key) {
    if (const auto found = entries_.find(key); found != entries_.end()) Erase(found);
  }
  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  [[nodiscard]] bool asking(const std::string& key) const { return calls_.contains(key); }

 private:
  struct Entry {
    Answer answer;
    base::SteadyPoint renew{};
    base::SteadyPoint until{};
    std::list<std::string>::iterator order;
  };
  using Entries = std::unordered_map<std::string, Entry>;

  void Keep(const std::string& key, const Answer& answer, base::SteadyPoint renew, base::SteadyPoint until) {
    Forget(key);
    while (entries_.size() >= options_.entries && !order_.empty()) Forget(std::string(order_.front()));
    const auto place = order_.insert(order_.end(), key);
    entries_.emplace(key, Entry{answer, renew, until, place});
  }
  void Erase(typename Entries::iterator found) {
    order_.erase(found->second.order);
    entries_.erase(found);
  }

  const Options options_;
  Entries entries_;
  std::list<std::string> order_;  ///< keys of entries_, oldest first
  std::unordered_map<std::string, std::vector<Done>> calls_;
  std::size_t waiters_ = 0;
};

}  // namespace signet::authn
