// authn/path_tokens.hpp - the webhook path token: the last segment of the webhooks' paths, which API servers are told.
//
// Whoever could speak to the webhook for anybody could have anybody's stamp. An API server shows the path to users when
// it cannot reach the webhook, so a token does not live long: the leader writes another one every `life`, when it
// begins to lead, and after a failure. A token is a number that grows and a MAC of it: every replica knows a new one
// without being told. Replaced tokens are accepted for `overlap`, since API servers learn of the next one by a watch;
// the one in the configurations is accepted whatever its age, so that no review fails because nobody could write.
//
// Ownership:     borrows the sealer.
// Thread-safety: any thread.
// Blocking:      never.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "authn/stamp.hpp"
#include "base/clock.hpp"

namespace signet::authn {

class PathTokens {
 public:
  struct Options {
    std::chrono::milliseconds life{300'000};
    std::chrono::milliseconds overlap{30'000};  ///< and the shortest time between rotations after failures
  };
  static constexpr std::size_t kSize = 32;  ///< hex digits

  PathTokens(const Sealer& sealer, Options options) : sealer_(sealer), options_(options) {}

  /// The webhook configurations have `token` now. Anything else than a token of ours is ignored.
  void Observe(std::string_view token, base::SteadyPoint now);
  /// What the configurations should have: `live`, what they have, or another one. @param renew another one in any case
  [[nodiscard]] std::string Choose(std::string_view live, bool renew, base::TimePoint time, base::SteadyPoint now);
  /// A replaced one counts as a failure: somebody has kept it.
  [[nodiscard]] bool Accepts(std::string_view token, base::SteadyPoint now);
  /// A review failed, so an API server may have shown the path to somebody.
  void OnFailure() { failed_ = true; }

 private:
  [[nodiscard]] std::optional<std::uint64_t> NumberOf(std::string_view token) const;

  const Sealer& sealer_;
  const Options options_;
  std::atomic<bool> failed_ = false;
  std::mutex mutex_;
  // All below: guarded by mutex_.
  std::uint64_t newest_ = 0;                                            ///< seen in the configurations
  base::SteadyPoint newest_at_{};                                       ///< when it was first seen there
  std::uint64_t oldest_ = 0;                                            ///< that is accepted
  std::vector<std::pair<base::SteadyPoint, std::uint64_t>> replacing_;  ///< becomes oldest_ then
};

}  // namespace signet::authn
