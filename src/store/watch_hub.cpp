#include "store/watch_hub.hpp"

#include <algorithm>

namespace signet::store {

class WatchHub::Handle final : public kube::Watch {
 public:
  Handle(WatchHub& hub, std::shared_ptr<Subscription> subscription)
      : hub_(hub), subscription_(std::move(subscription)) {}
  ~Handle() override { hub_.Cancel(subscription_); }

 private:
  WatchHub& hub_;
  std::shared_ptr<Subscription> subscription_;
};

WatchHub::WatchHub(std::uint64_t version, std::size_t keep) : keep_(keep), floor_(version), version_(version) {
  thread_ = std::thread([this] { Run(); });
}

WatchHub::~WatchHub() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const auto& subscription : subscriptions_) {
      if (!subscription->end) subscription->end = base::Status();
    }
  }
  work_.notify_all();
  thread_.join();
}

void WatchHub::Append(Item item) {
  {
    const std::lock_guard lock(mutex_);
    version_ = std::max(version_, item.version);
    items_.push_back(std::move(item));
    while (items_.size() > keep_) {
      if (!items_.front().plural.empty()) floor_ = items_.front().version;
      items_.pop_front();
      ++first_sequence_;
    }
  }
  work_.notify_all();
}

void WatchHub::Publish(const kube::Resource& resource, std::uint64_t version, kube::WatchEvent event) {
  Append({resource.plural, version, std::move(event)});
}

void WatchHub::Bookmark() {
  std::uint64_t version = 0;
  {
    const std::lock_guard lock(mutex_);
    version = version_;
  }
  Append({{}, version, {kube::WatchEvent::Type::kBookmark, {}}});
}

std::unique_ptr<kube::Watch> WatchHub::Start(const kube::Resource& resource, std::uint64_t version,
                                             kube::WatchSink sink) {
  auto subscription = std::make_shared<Subscription>();
  subscription->resource = resource;
  subscription->sink = std::move(sink);
  subscription->after = version;
  {
    const std::lock_guard lock(mutex_);
    subscription->next = first_sequence_;
    if (version < floor_ || version > version_) {
      subscription->end =
          base::MakeError(base::Code::kAborted, "Expired", "this version is no longer known: list again");
    }
    subscriptions_.push_back(subscription);
  }
  work_.notify_all();
  return std::make_unique<Handle>(*this, std::move(subscription));
}

void WatchHub::Cancel(const std::shared_ptr<Subscription>& subscription) {
  std::unique_lock lock(mutex_);
  subscription->cancelled = true;
  std::erase(subscriptions_, subscription);
  if (std::this_thread::get_id() == thread_.get_id()) return;  // from its own callback: waiting would never end
  idle_.wait(lock, [&] { return !subscription->running; });
}

bool WatchHub::DeliverOne(std::unique_lock<std::mutex>& lock, const std::shared_ptr<Subscription>& subscription) {
  Subscription& sub = *subscription;
  if (sub.cancelled || sub.done) return false;
  std::optional<kube::WatchEvent> event;
  if (!sub.end && sub.next < first_sequence_) {
    sub.end = base::MakeError(base::Code::kAborted, "Expired", "this watch fell too far behind: list again");
  }
  while (!sub.end && !event && sub.next < first_sequence_ + items_.size()) {
    const Item& item = items_[sub.next - first_sequence_];
    ++sub.next;
    if (item.plural.empty() && item.version >= sub.after) {
      event = kube::WatchEvent{
          kube::WatchEvent::Type::kBookmark,
          {{"kind", sub.resource.kind}, {"metadata", {{"resourceVersion", std::to_string(item.version)}}}}};
    } else if (item.plural == sub.resource.plural && item.version > sub.after) {
      event = item.event;
    }
  }
  if (!event && !sub.end) return false;
  sub.running = true;
  sub.done = sub.end.has_value();
  lock.unlock();
  if (event) {
    sub.sink.on_event(std::move(*event));
  } else {
    sub.sink.on_end(*sub.end);
  }
  lock.lock();
  sub.running = false;
  idle_.notify_all();
  return true;
}

void WatchHub::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    bool delivered = false;
    const auto round = subscriptions_;  // callbacks may start and cancel watches
    for (const auto& subscription : round) delivered = DeliverOne(lock, subscription) || delivered;
    if (delivered) continue;
    if (stopping_) return;
    work_.wait(lock);
  }
}

}  // namespace signet::store
