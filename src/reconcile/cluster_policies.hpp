// reconcile/cluster_policies.hpp - the policies in force, as the policy controller knows them.
//
// The policy controller publishes; SigningService reads. A stop (suspend, deletion) holds from the
// moment Publish or Remove returns: the table is shared behind one mutex that is held for a look-up,
// never across a call, so the loop does not wait for it.
//
// Freshness: confirmed_at says when the store last showed that an entry is the truth. The informer's
//            liveness (events, bookmarks) and the live GETs of LiveReads move it.
// Order:     an older revision never replaces a newer one, whoever delivers it (the informer's cache
//            may lag behind a live GET).
//
// Thread-safety: any thread.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "signing/service.hpp"

namespace signet::reconcile {

class ClusterPolicies : public signing::PolicySource {
 public:
  explicit ClusterPolicies(const base::Clock& clock) : clock_(clock) {}

  [[nodiscard]] std::shared_ptr<const signing::ActivePolicy> Find(std::string_view name) const override;
  [[nodiscard]] std::vector<std::shared_ptr<const signing::ActivePolicy>> All() const override;

  /// Like Find, but does not count as use.
  [[nodiscard]] std::shared_ptr<const signing::ActivePolicy> Peek(std::string_view name) const;
  /// Where the object was read: a cache may be behind what a live GET has already shown.
  enum class Origin : std::uint8_t { kCache, kLive };
  /// Puts `policy` in force: confirmed now, unless it is a cached copy of what stands already. False: a newer revision
  /// is known, or a live GET has seen this one gone; nothing changed.
  bool Publish(signing::ActivePolicy policy, Origin origin);
  /// How long a removed policy is remembered: longer than a watch can be silent and a cached copy be in hand.
  static constexpr std::chrono::minutes kRememberRemoved{10};
  /// Takes the policy away; for kRememberRemoved only a live read can bring its uid back. An empty uid removes whatever
  /// stands under the name.
  void Remove(std::string_view name, std::string_view uid);
  /// The store has just shown this revision to be current.
  void Confirm(std::string_view name);
  [[nodiscard]] std::vector<std::string> Names() const;
  [[nodiscard]] std::size_t remembered() const;  ///< removed policies
  /// Names that SigningService asked for within the last `window`.
  [[nodiscard]] std::vector<std::string> UsedWithin(base::Duration window) const;

 private:
  struct Entry {
    std::shared_ptr<const signing::ActivePolicy> policy;
    mutable base::SteadyPoint used_at{};
    mutable bool used = false;
  };
  struct Removed {
    std::string uid;
    base::SteadyPoint at{};
  };
  [[nodiscard]] bool IsOlder(const signing::ActivePolicy& candidate, const Entry& known) const;
  void ConfirmLocked(Entry& entry, base::SteadyPoint now);

  const base::Clock& clock_;
  mutable std::mutex mutex_;
  std::map<std::string, Entry, std::less<>> entries_;    ///< guarded by mutex_
  std::map<std::string, Removed, std::less<>> removed_;  ///< by name; guarded by mutex_
};

}  // namespace signet::reconcile
