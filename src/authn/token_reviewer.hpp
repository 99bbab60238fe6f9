// authn/token_reviewer.hpp - which pod calls: the API server's word on a projected service-account token.
//
// Accepted is a token that the API server authenticates for our audience, of a service account, and bound to a pod.
// An acceptance stands for Options::max_age at most, counted from before the question, and never beyond the token's
// own end; so a deleted pod's token is refused within the API server's own ten seconds and ours. Tokens in use are
// asked about again at half of that time, so that callers seldom wait and an API server may be away for a moment.
// Everybody with the same token waits for the same question.
//
// Who sends tokens that nobody signed can fill neither the places of acceptances nor the queue of questions about
// tokens that were accepted before: refusals are kept apart, and those questions have a queue of their own, which goes
// first.
//
// Where the API server does not name the node (before 1.30), the pod is read too; a pod that is gone is refused.
//
// Ownership:     borrows its dependencies. A token is kept only while it is being asked about; the cache has hashes.
// Thread-safety: the reactor's thread; the store is called on the errands' threads. Stop the errands before it goes.
// Blocking:      never.
// Sizes:         Options; the errands' queue.
// Errors:        kUnauthenticated: not such a token. kUnavailable, reason "IdentityUnavailable": nobody could be asked.
// Sources:       Kubernetes authentication.k8s.io/v1 TokenReview; "Bound service account tokens".
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "authn/errands.hpp"
#include "authn/joint_cache.hpp"
#include "base/clock.hpp"
#include "base/reactor.hpp"
#include "base/result.hpp"
#include "identity/pod.hpp"
#include "identity/principal.hpp"
#include "kube/object_store.hpp"

namespace signet::authn {

/// Who a reviewed token stands for.
struct ReviewedPod {
  identity::Principal principal;
  identity::PodIdentity pod;
};

class TokenReviewer {
 public:
  struct Options {
    std::string audience = "signet.dev";
    std::chrono::milliseconds max_age{10'000};     ///< of an acceptance
    std::chrono::milliseconds refusal_age{1'000};  ///< of a refusal
    std::chrono::milliseconds patience{2'000};     ///< a question that waits for a thread for longer is not asked
    std::size_t entries = 4096;                    ///< acceptances
    std::size_t waiters = 4096;
    std::size_t refusals = 1024;
  };
  struct Dependencies {
    base::Reactor* reactor = nullptr;
    const base::Clock* clock = nullptr;
    kube::ObjectStore* store = nullptr;
    Errands* errands = nullptr;
  };
  using Cache = JointCache<ReviewedPod>;
  using Answer = Cache::Answer;

  TokenReviewer(Options options, Dependencies dependencies);
  TokenReviewer(const TokenReviewer&) = delete;
  TokenReviewer& operator=(const TokenReviewer&) = delete;

  /// The answer when it is known; otherwise nothing, and `later` runs with it on the loop, once.
  /// @param source where the caller asks from: those who make up tokens hold up their own address alone
  std::optional<Answer> Review(std::string_view token, Cache::Done later, const std::string& source = {});
  [[nodiscard]] std::size_t cached() const { return cache_.size(); }

 private:
  void Ask(const std::string& key, std::string_view token, base::TimePoint ends, Errands::Place place,
           const std::string& source);
  void OnAnswer(const std::string& key, base::TimePoint ends, base::SteadyPoint asked, Answer answer);

  const Options options_;
  const Dependencies deps_;
  Cache cache_;
  base::SteadyPoint warned_at_{}, told_at_{};  ///< what any caller can cause must not fill the log
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// One question to the API server; blocks.
TokenReviewer::Answer ReviewToken(kube::ObjectStore& store, const std::string& audience, const std::string& token);

}  // namespace signet::authn
