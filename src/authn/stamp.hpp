// authn/stamp.hpp - who asked, proven: the seal that our admission webhook puts on a spec.
//
// spec.stamp = {time, nonce, seal}; seal = hex HMAC-SHA-256(key, canonical JSON array of
// ["signet-stamp/v1", kind, namespace, spec without stamp, time, nonce]). The spec includes the stamped requester
// or approver. Name and uid are not covered (docs/adr/0007); a nonce is honoured for one uid.
//
// Ownership:     owns the key, wiped at the end.
// Thread-safety: Sealer is immutable; StampJudge locks internally.
// Blocking:      never.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/types.hpp"
#include "base/clock.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"

namespace signet::authn {

class Sealer {
 public:
  /// @param keys the first seals, all of them verify; 32 octets each.
  explicit Sealer(std::vector<base::Secret> keys);

  /// The stamp for `spec` (its own `stamp`, if any, does not count).
  [[nodiscard]] nlohmann::json Stamp(std::string_view kind, std::string_view ns, const nlohmann::json& spec,
                                     base::TimePoint now) const;
  /// The seal of spec.stamp is one of ours over exactly this.
  [[nodiscard]] bool Verifies(std::string_view kind, std::string_view ns, const nlohmann::json& spec) const;

  /// For webhook path tokens (authn/path_tokens.hpp): a MAC of `text`, in hex.
  [[nodiscard]] std::string Mac(std::string_view text) const;
  /// `mac` begins that of `text` under any of the keys.
  [[nodiscard]] bool IsMac(std::string_view text, std::string_view mac) const;

 private:
  std::vector<base::Secret> keys_;
};

/// Decides whether an object as the store shows it was stamped when it was made.
///
/// A nonce is remembered for kMemory, longer than a copy could still pass for fresh; one that was found on two objects
/// is remembered for longer, so that the copy does not become good by waiting: the last kMostContested of them. What is
/// as old as one that had to be forgotten is then refused unless its nonce is known.
class StampJudge {
 public:
  static constexpr std::chrono::seconds kMaxDistance{60};  ///< between the stamp's time and creationTimestamp
  static constexpr std::chrono::seconds kMemory{600};      ///< after the stamp's time; clocks may differ by the rest
  static constexpr std::size_t kMostContested = 1000;      ///< nonces that were found on two objects

  StampJudge(const Sealer& sealer, const base::Clock& clock);

  /// @return kUnauthenticated, reason NotStamped (none), SealInvalid, StampNotFresh (not from the moment of its
  ///         creation) or StampReused (its nonce belongs to another uid); the message says what to do.
  base::Status Judge(std::string_view kind, const nlohmann::json& object);
  [[nodiscard]] std::size_t remembered() const;  ///< nonces

 private:
  struct Owner {
    std::string uid;
    base::TimePoint time{};
    bool contested = false;  ///< another uid came with the same nonce
  };
  void Forget(base::TimePoint now);
  void Contest(std::map<std::string, Owner>::iterator entry);

  const Sealer& sealer_;
  const base::Clock& clock_;
  mutable std::mutex mutex_;
  std::map<std::string, Owner> seen_;                            ///< by nonce; guarded by mutex_
  std::multimap<base::TimePoint, std::string> by_time_;          ///< the nonces of seen_ to forget; guarded by mutex_
  std::set<std::pair<base::TimePoint, std::string>> contested_;  ///< nonces of seen_, by stamp; guarded by mutex_
  std::optional<base::TimePoint> closed_;  ///< up to here a contested nonce may have been forgotten; guarded by mutex_
};

}  // namespace signet::authn
