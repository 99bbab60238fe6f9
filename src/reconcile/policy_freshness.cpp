#include "reconcile/policy_freshness.hpp"

#include <utility>

#include "obs/log.hpp"

namespace signet::reconcile {

PolicyFreshness::PolicyFreshness(Options options, const base::Clock& clock, const ClusterPolicies& policies,
                                 Refresh refresh)
    : options_(options), clock_(clock), policies_(policies), refresh_(std::move(refresh)) {}

PolicyFreshness::~PolicyFreshness() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void PolicyFreshness::Start() {
  thread_ = std::thread([this] { Run(); });
}

bool PolicyFreshness::IsSettled(const Entry& entry) const {
  const auto now = clock_.Steady();
  return (entry.shown && now - entry.shown_at < options_.max_age) ||
         (entry.failed && now - entry.failed_at < options_.retry);
}

bool PolicyFreshness::NeedsRead(const std::string& name) const {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = entries_.find(name); found != entries_.end() && IsSettled(*found->second)) return false;
  }
  return policies_.Peek(name) != nullptr;
}

void PolicyFreshness::EnsureFresh(const std::string& name) {
  if (policies_.Peek(name) == nullptr) {
    const std::lock_guard lock(mutex_);
    entries_.erase(name);
    return;
  }
  std::shared_ptr<Entry> entry;
  {
    const std::lock_guard lock(mutex_);
    auto& slot = entries_[name];
    if (slot == nullptr) slot = std::make_shared<Entry>();
    entry = slot;
  }
  const std::lock_guard reading(entry->reading);
  // Counted from before the GET: what it shows is at least as new as that.
  const auto now = clock_.Steady();
  {
    const std::lock_guard table(mutex_);
    if (IsSettled(*entry)) return;
  }
  const auto shown = refresh_(name);
  const std::lock_guard table(mutex_);
  entry->failed = !shown;
  if (!shown) {
    entry->failed_at = clock_.Steady();
    obs::Debug("policy not read", {{"policy", name}, {"error", base::Describe(shown.error())}});
    return;
  }
  entry->shown = true;
  entry->shown_at = now;
}

void PolicyFreshness::Run() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      if (wake_.wait_for(lock, options_.tick, [this] { return stopping_; })) return;
    }
    for (const auto& name : policies_.UsedWithin(options_.used_within)) EnsureFresh(name);
  }
}

}  // namespace signet::reconcile
