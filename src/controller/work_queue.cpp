#include "controller/work_queue.hpp"

#include <algorithm>

namespace signet::controller {

std::string Describe(const Key& key) { return key.ns.empty() ? key.name : key.ns + "/" + key.name; }

WorkQueue::WorkQueue(Options options, const base::Clock& clock)
    : options_(std::move(options)),
      clock_(clock),
      depth_(obs::GetGauge("signet_workqueue_depth", "Objects waiting for a worker", {{"name", options_.name}})),
      waited_(obs::GetHistogram("signet_workqueue_wait_seconds", "Time from being added to being taken",
                                {{"name", options_.name}})),
      retries_(obs::GetCounter("signet_workqueue_retries_total", "Objects added again after a failure",
                               {{"name", options_.name}})) {}

void WorkQueue::Add(Key key) {
  const std::lock_guard lock(mutex_);
  if (!shut_down_) AddLocked(std::move(key), clock_.Steady());
}

void WorkQueue::AddLocked(Key key, base::SteadyPoint now) {
  const auto [it, added] = waiting_.emplace(key, now);
  if (!added || taken_.contains(key)) return;
  ready_.push_back(std::move(key));
  depth_.Set(static_cast<double>(ready_.size()));
  wake_.notify_one();
}

void WorkQueue::AddAfter(Key key, base::Duration delay) {
  const std::lock_guard lock(mutex_);
  if (shut_down_) return;
  const auto now = clock_.Steady();
  if (delay <= base::Duration::zero()) {
    AddLocked(std::move(key), now);
  } else {
    AddAfterLocked(std::move(key), now + delay);
  }
}

void WorkQueue::AddAfterLocked(Key key, base::SteadyPoint due) {
  const auto it = due_.find(key);
  if (it != due_.end()) {
    if (it->second <= due) return;
    by_due_.erase({it->second, key});
    it->second = due;
  } else {
    due_.emplace(key, due);
  }
  by_due_.emplace(due, std::move(key));
  wake_.notify_one();
}

void WorkQueue::AddRateLimited(Key key) {
  const std::lock_guard lock(mutex_);
  if (shut_down_) return;
  const int failures = failures_[key]++;
  // 2^20 times any base delay is above any cap, and far from overflow.
  const std::chrono::milliseconds grown = options_.base_delay * (1 << std::min(failures, 20));
  const auto delay = std::min(grown, options_.max_delay);
  retries_.Add();
  AddAfterLocked(std::move(key), clock_.Steady() + delay);
}

void WorkQueue::Forget(const Key& key) {
  const std::lock_guard lock(mutex_);
  failures_.erase(key);
}

int WorkQueue::CountRetries(const Key& key) const {
  const std::lock_guard lock(mutex_);
  const auto it = failures_.find(key);
  return it == failures_.end() ? 0 : it->second;
}

void WorkQueue::PromoteDueLocked(base::SteadyPoint now) {
  while (!by_due_.empty() && by_due_.begin()->first <= now) {
    Key key = by_due_.begin()->second;
    by_due_.erase(by_due_.begin());
    due_.erase(key);
    AddLocked(std::move(key), now);
  }
}

std::optional<Key> WorkQueue::Take() {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto now = clock_.Steady();
    PromoteDueLocked(now);
    if (!ready_.empty()) {
      Key key = std::move(ready_.front());
      ready_.pop_front();
      depth_.Set(static_cast<double>(ready_.size()));
      const auto since = waiting_.extract(key);
      waited_.Observe(std::chrono::duration<double>(now - since.mapped()).count());
      taken_.insert(key);
      // This worker will be busy. It may be the one that the condition variable chose for a notification about another
      // key, or the only one that waited for the next time that is due, while the others wait without a time since
      // before there was one: somebody has to look at what is left.
      if (!ready_.empty() || !by_due_.empty()) wake_.notify_one();
      return key;
    }
    if (shut_down_) return std::nullopt;
    if (by_due_.empty()) {
      wake_.wait(lock);
    } else {
      wake_.wait_for(lock, by_due_.begin()->first - now);
    }
  }
}

void WorkQueue::Done(const Key& key) {
  const std::lock_guard lock(mutex_);
  taken_.erase(key);
  if (waiting_.contains(key)) {
    ready_.push_back(key);
    depth_.Set(static_cast<double>(ready_.size()));
    wake_.notify_one();
  }
  if (taken_.empty()) idle_.notify_all();
}

void WorkQueue::ShutDown(Drain drain) {
  const std::lock_guard lock(mutex_);
  shut_down_ = true;
  due_.clear();
  by_due_.clear();
  if (drain == Drain::kNothing) {
    ready_.clear();
    waiting_.clear();
    depth_.Set(0);
  }
  wake_.notify_all();
}

void WorkQueue::WaitIdle() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return taken_.empty(); });
}

std::size_t WorkQueue::Depth() const {
  const std::lock_guard lock(mutex_);
  return ready_.size();
}

}  // namespace signet::controller
