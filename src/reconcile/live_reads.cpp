#include "reconcile/live_reads.hpp"

#include <utility>

#include "obs/log.hpp"

namespace signet::reconcile {

LiveReads::LiveReads(Options options, const base::Clock& clock, Source source)
    : options_(options), clock_(clock), source_(std::move(source)) {}

LiveReads::~LiveReads() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void LiveReads::Start() {
  thread_ = std::thread([this] { Run(); });
}

bool LiveReads::IsSettled(const Entry& entry) const {
  const auto now = clock_.Steady();
  return (entry.shown && now - entry.shown_at < options_.max_age) ||
         (entry.failed && now - entry.failed_at < options_.retry);
}

bool LiveReads::NeedsRead(const std::string& name) const {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = entries_.find(name); found != entries_.end() && IsSettled(*found->second)) return false;
  }
  return IsKnown(name);
}

std::vector<std::string> LiveReads::Failing() const {
  std::vector<std::string> out;
  const std::lock_guard lock(mutex_);
  for (const auto& [name, entry] : entries_) {
    if (entry->failed) out.push_back(name);
  }
  return out;
}

/// Under mutex_. An entry that is in hand elsewhere is shared, and stays; so does what readyz shows.
void LiveReads::MakeRoom(base::SteadyPoint now) {
  if (entries_.size() < kMaxEntries && now - made_room_at_ < options_.max_age) return;
  made_room_at_ = now;
  std::erase_if(entries_, [&](const auto& item) {
    const auto& [name, entry] = item;
    const bool told = entry->failed && source_.known && source_.known(name);
    return entry.use_count() == 1 && !IsSettled(*entry) && !told;
  });
}

std::size_t LiveReads::remembered() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

void LiveReads::EnsureFresh(const std::string& name) {
  if (!IsKnown(name)) {
    const std::lock_guard lock(mutex_);
    entries_.erase(name);
    return;
  }
  std::shared_ptr<Entry> entry;
  {
    const std::lock_guard lock(mutex_);
    MakeRoom(clock_.Steady());
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
  const auto shown = source_.read(name);
  const std::lock_guard table(mutex_);
  entry->failed = !shown;
  if (!shown) {
    entry->failed_at = clock_.Steady();
    obs::Debug("object not read", {{"name", name}, {"error", base::Describe(shown.error())}});
    return;
  }
  entry->shown = true;
  entry->shown_at = now;
}

void LiveReads::Run() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      if (wake_.wait_for(lock, options_.tick, [this] { return stopping_; })) return;
    }
    for (const auto& name : source_.used(options_.used_within)) EnsureFresh(name);
  }
}

}  // namespace signet::reconcile
