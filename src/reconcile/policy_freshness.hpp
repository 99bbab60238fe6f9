// reconcile/policy_freshness.hpp - the kill switch: a live GET of every policy in use, beside the watch.
//
// A watch can go quiet without an error. So a policy that is being used is read again every few
// seconds, and one that was idle is read before its first use: a suspend stops every door within
// 5 s while the API server can be reached. When it cannot, confirmed_at grows old and SigningService
// answers PolicyStale after policyMaxAge.
//
// Thread-safety: NeedsRead from any thread; EnsureFresh from any thread but the reactor's; one GET per policy at a
// time. Blocking:      EnsureFresh for one GET at most; the destructor for the GET in hand.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/clock.hpp"
#include "reconcile/cluster_policies.hpp"

namespace signet::reconcile {

class PolicyFreshness {
 public:
  struct Options {
    base::Duration max_age = std::chrono::seconds(4);       ///< of the last live GET when a policy is used
    base::Duration used_within = std::chrono::seconds(30);  ///< what counts as in use
    base::Duration retry = std::chrono::seconds(1);         ///< after a GET that failed
    std::chrono::milliseconds tick{1000};
  };
  using Refresh = std::function<base::Status(const std::string& name)>;

  PolicyFreshness(Options options, const base::Clock& clock, const ClusterPolicies& policies, Refresh refresh);
  ~PolicyFreshness();

  /// Starts the thread that keeps policies in use fresh.
  void Start();
  /// EnsureFresh(name) would read, or wait for a read under way. Any thread; never blocks.
  [[nodiscard]] bool NeedsRead(const std::string& name) const;
  /// One live GET, unless one within max_age stands. Unknown names are left alone: only a denial
  /// could follow, and that asks the store by itself.
  void EnsureFresh(const std::string& name);

 private:
  struct Entry {
    std::mutex reading;            ///< held during the GET; taken before mutex_
    base::SteadyPoint shown_at{};  ///< guarded by mutex_, as all below
    base::SteadyPoint failed_at{};
    bool shown = false;
    bool failed = false;
  };
  /// Under mutex_.
  [[nodiscard]] bool IsSettled(const Entry& entry) const;
  void Run();

  const Options options_;
  const base::Clock& clock_;
  const ClusterPolicies& policies_;
  const Refresh refresh_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::map<std::string, std::shared_ptr<Entry>> entries_;  ///< guarded by mutex_
  bool stopping_ = false;                                  ///< guarded by mutex_
  std::thread thread_;
};

}  // namespace signet::reconcile
