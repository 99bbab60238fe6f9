// authn/joint_cache.hpp - answers of the API server for a few seconds; who asks for the same waits for the same call.
//
// Ownership:     owns answers and waiters.
// Thread-safety: one thread (the reactor's).
// Blocking:      never.
// Sizes:         Options; what is over, or over first, makes room, and a refusal never takes the place of another
// answer.
//                Calls under way are bounded by whoever makes them.
// Errors:        an answer may be one, a refusal: it is kept for as long as Finish says.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
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
    std::size_t waiters = 4096;   ///< of all calls together
    std::size_t refusals = 1024;  ///< beside the entries
  };
  enum class Next : std::uint8_t {
    kWait,  ///< `done` will be called when the call under way has its answer
    kAsk,   ///< as kWait, and the call is the caller's to make: Finish ends it
    kFull,  ///< too many wait; `done` will not be called
  };

  explicit JointCache(Options options)
      : options_(options), accepted_{options.entries, {}, {}}, refused_{options.refusals, {}, {}} {}

  /// nullptr: none that stands. `renew`: it has reached its half; ask again before it is over.
  const Answer* Find(const std::string& key, base::SteadyPoint now, bool* renew = nullptr) {
    for (Store* store : {&accepted_, &refused_}) {
      const auto found = store->entries.find(key);
      if (found == store->entries.end() || found->second.until <= now) continue;
      if (renew != nullptr) *renew = found->second.renew <= now && !calls_.contains(key);
      return &found->second.answer;
    }
    return nullptr;
  }
  /// There was an answer that was no refusal, and nothing has been said against it since: it may be over.
  [[nodiscard]] bool WasAccepted(const std::string& key) const { return accepted_.entries.contains(key); }
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
    if (until > now) {
      Forget(key);
      (answer ? accepted_ : refused_).Keep(key, Entry{answer, renew, until, {}});
    }
    for (const auto& done : waiting) done(answer);
  }
  /// Ends the call for `key` with an answer that is not kept; what stood before goes on standing.
  void Fail(const std::string& key, const base::Error& error, base::SteadyPoint now) {
    Finish(key, Answer(error), now, now, now);
  }
  void Forget(const std::string& key) {
    accepted_.Forget(key);
    refused_.Forget(key);
  }
  [[nodiscard]] std::size_t size() const { return accepted_.entries.size() + refused_.entries.size(); }
  [[nodiscard]] bool asking(const std::string& key) const { return calls_.contains(key); }

 private:
  using Order = std::multimap<base::SteadyPoint, std::string>;
  struct Entry {
    Answer answer;
    base::SteadyPoint renew{};
    base::SteadyPoint until{};
    Order::iterator place{};
  };
  struct Store {
    std::size_t most;
    std::unordered_map<std::string, Entry> entries;
    Order order;  ///< keys of entries by their end

    /// REQUIRES: there is no entry for `key`.
    void Keep(const std::string& key, Entry entry) {
      if (most == 0) return;
      while (entries.size() >= most) Forget(std::string(order.begin()->second));
      entry.place = order.emplace(entry.until, key);
      entries.emplace(key, std::move(entry));
    }
    void Forget(const std::string& key) {
      const auto found = entries.find(key);
      if (found == entries.end()) return;
      order.erase(found->second.place);
      entries.erase(found);
    }
  };

  const Options options_;
  Store accepted_;
  Store refused_;
  std::unordered_map<std::string, std::vector<Done>> calls_;
  std::size_t waiters_ = 0;
};

}  // namespace signet::authn
