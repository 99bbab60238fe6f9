// authn/pod_lookup.hpp - the calling pod as the API server shows it: images, and which containers have ended.
//
// Asked for by the identity in a reviewed token; what is found must have the same uid. Find's answer stands for
// Options::max_age at most; ReadNow's read begins after the call.
//
// Ownership:     borrows its dependencies.
// Thread-safety: the reactor's thread; the store is called on the errands' threads. Stop the errands before it goes.
// Blocking:      never.
// Sizes:         Options; the errands' queue.
// Errors:        kUnauthenticated: that pod is gone. kUnavailable, reason "IdentityUnavailable": nobody could be asked.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "authn/errands.hpp"
#include "authn/joint_cache.hpp"
#include "authn/pod_facts.hpp"
#include "base/clock.hpp"
#include "base/reactor.hpp"
#include "kube/object_store.hpp"

namespace signet::authn {

class PodLookup {
 public:
  struct Options {
    std::chrono::milliseconds max_age{5'000};
    std::chrono::milliseconds pending_age{500};  ///< of a pod whose images are not all known yet
    std::chrono::milliseconds patience{2'000};   ///< a question that waits for a thread for longer is not asked
    std::size_t entries = 4096;
    std::size_t waiters = 4096;
  };
  struct Dependencies {
    base::Reactor* reactor = nullptr;
    const base::Clock* clock = nullptr;
    kube::ObjectStore* store = nullptr;
    Errands* errands = nullptr;
  };
  using Cache = JointCache<PodFacts>;
  using Answer = Cache::Answer;

  PodLookup(Options options, Dependencies dependencies)
      : options_(options), deps_(dependencies), cache_({options.entries, options.waiters, 0}) {}
  PodLookup(const PodLookup&) = delete;
  PodLookup& operator=(const PodLookup&) = delete;

  /// The answer when it is known; otherwise nothing, and `later` runs with it on the loop, once.
  std::optional<Answer> Find(const identity::PodIdentity& pod, Cache::Done later);
  /// Reads the pod: for decisions about it. `done` runs with the answer on the loop, once, after the call has returned.
  /// Callers that come while a read of the same pod is under way share the next one.
  void ReadNow(const identity::PodIdentity& pod, Cache::Done done);

 private:
  struct Reads {
    std::vector<Cache::Done> running, next;
  };
  using Answered = std::function<void(base::SteadyPoint asked, Answer answer)>;

  void Ask(const identity::PodIdentity& pod, const Answered& answered);
  void StartRead(const identity::PodIdentity& pod);
  void OnAnswer(const std::string& uid, base::SteadyPoint asked, Answer answer);

  const Options options_;
  const Dependencies deps_;
  Cache cache_;                                   ///< by uid
  std::unordered_map<std::string, Reads> reads_;  ///< of ReadNow, by uid
  std::size_t readers_ = 0;                       ///< in reads_
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace signet::authn
