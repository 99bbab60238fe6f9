#include "controller/informer.hpp"

#include <malloc.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "obs/log.hpp"
#include "obs/metrics.hpp"

namespace signet::controller {
namespace {

using nlohmann::json;

std::string MetaText(const json& object, const char* member) {
  const auto meta = object.find("metadata");
  if (meta == object.end() || !meta->is_object()) return {};
  const auto it = meta->find(member);
  return it != meta->end() && it->is_string() ? it->get<std::string>() : std::string();
}

Key KeyOf(const json& object) { return {MetaText(object, "namespace"), MetaText(object, "name")}; }

void DropBookkeeping(json& object) {
  const auto meta = object.find("metadata");
  if (meta == object.end() || !meta->is_object()) return;
  meta->erase("managedFields");
  const auto annotations = meta->find("annotations");
  if (annotations == meta->end() || !annotations->is_object()) return;
  annotations->erase("kubectl.kubernetes.io/last-applied-configuration");
}

/// An object's name, without the object.
json NameOnly(const json& object) {
  json meta = json::object();
  for (const char* member : {"namespace", "name", "resourceVersion"}) meta[member] = MetaText(object, member);
  return {{"metadata", std::move(meta)}};
}

}  // namespace

/// Where the store's threads leave what they bring; the informer's thread picks it up.
struct Informer::Inbox {
  struct Item {
    kube::WatchEvent event;
    base::SteadyPoint arrived;
  };
  std::mutex mutex;
  std::condition_variable filled;
  std::deque<Item> items;
  std::optional<base::Status> end;
  bool stop = false;
};

Informer::Informer(kube::ObjectStore& store, kube::Resource resource, Options options, const base::Clock& clock)
    : store_(store),
      resource_(std::move(resource)),
      options_(options),
      clock_(clock),
      random_(std::random_device{}()) {}

Informer::~Informer() { Stop(); }

void Informer::AddHandler(Handler handler) { handlers_.push_back(std::move(handler)); }

void Informer::OnConfirmed(Confirmed confirmed) { confirmed_handlers_.push_back(std::move(confirmed)); }

void Informer::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Informer::RequestStop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  if (inbox_ != nullptr) {
    const std::lock_guard inbox_lock(inbox_->mutex);
    inbox_->stop = true;
    inbox_->filled.notify_all();
  }
  changed_.notify_all();
}

void Informer::Stop() {
  RequestStop();
  if (thread_.joinable()) thread_.join();
}

bool Informer::IsStopping() const {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

void Informer::Run() {
  bool must_list = true;
  while (!IsStopping()) {
    try {
      RunOnce(must_list);
    } catch (const std::exception& error) {
      obs::Err("informer failed", {{"resource", resource_.plural}, {"error", error.what()}});
      must_list = true;
      BackOff();
    }
  }
  watch_.reset();
}

void Informer::RunOnce(bool& must_list) {
  if (must_list) {
    if (auto listed = ListOnce(); !listed) {
      if (IsStopping()) return;
      obs::Warn("list failed", {{"resource", resource_.plural}, {"error", base::Describe(listed.error())}});
      BackOff();
      return;
    }
    must_list = false;
  }
  bool proved_alive = false;
  auto ended = WatchOnce(proved_alive);
  if (IsStopping()) return;
  obs::GetCounter(
      "signet_informer_watch_restarts_total", "Watches that ended and were started again",
      {{"resource", resource_.plural}, {"reason", ended ? std::string_view("Ended") : base::Name(ended.error().code)}})
      .Add();
  if (proved_alive) failures_ = 0;
  if (!ended) {
    must_list = true;
    const bool expired = ended.error().code == base::Code::kAborted;
    obs::Log(expired ? obs::Level::kInfo : obs::Level::kWarn, "watch ended",
             {{"resource", resource_.plural}, {"error", base::Describe(ended.error())}});
    if (expired && failures_ == 0) {
      failures_ = 1;  // a list now; only if that does not help, a pause before the next
      return;
    }
  }
  // Also after a regular end without a word: a server that ends watches at once must not be hammered.
  if (!ended || !proved_alive) BackOff();
}

base::Status Informer::ListOnce() {
  const auto asked = clock_.Steady();
  ++listing_;
  watch_.reset();
  news_.clear();
  if (filter_ != nullptr) filter_->OnListBegin();
  // What a list that breaks off has brought is as good as an event; what it has not brought says nothing.
  TRY_VOID(store_.ListEach(resource_,
                           {[this](const std::string& version) {
                              version_ = version;
                              answered_ = true;
                              StartWatch();
                            },
                            [this](json object) { TakeListed(std::move(object)); }, [this] { return IsStopping(); }}));
  ApplyArrived();
  news_.clear();
  if (filter_ != nullptr) filter_->OnListEnd();
  RemoveUnlisted();
  // Pages were read and freed between what stays: the C library keeps them until it is asked.
  ::malloc_trim(0);
  {
    const std::lock_guard lock(mutex_);
    synced_ = true;
    changed_.notify_all();
  }
  Confirm(asked);
  return {};
}

void Informer::TakeListed(json object) {
  ApplyArrived();
  const Key key = KeyOf(object);
  if (news_.contains(key)) return;
  Change(key, Reduce(object) ? std::make_shared<const json>(std::move(object)) : nullptr);
}

void Informer::ApplyArrived() {
  std::deque<Inbox::Item> batch;
  {
    const std::lock_guard lock(inbox_->mutex);
    batch.swap(inbox_->items);
  }
  for (auto& item : batch) {
    news_.insert(KeyOf(item.event.object));
    Apply(std::move(item.event));
  }
}

void Informer::StartWatch() {
  const auto inbox = std::make_shared<Inbox>();
  {
    const std::lock_guard lock(mutex_);
    inbox->stop = stopping_;
    inbox_ = inbox;
  }
  watch_ = store_.StartWatch(resource_, version_,
                             {[inbox, this](kube::WatchEvent event) {
                                const auto arrived = clock_.Steady();
                                DropBookkeeping(event.object);
                                const std::lock_guard lock(inbox->mutex);
                                inbox->items.push_back({std::move(event), arrived});
                                inbox->filled.notify_one();
                              },
                              [inbox](base::Status end) {
                                const std::lock_guard lock(inbox->mutex);
                                inbox->end = std::move(end);
                                inbox->filled.notify_one();
                              }});
}

base::Status Informer::WatchOnce(bool& proved_alive) {
  if (watch_ == nullptr) StartWatch();
  // It ends with this call, whatever ends it.
  const auto watch = std::move(watch_);
  const auto inbox = inbox_;
  for (;;) {
    std::deque<Inbox::Item> batch;
    {
      std::unique_lock lock(inbox->mutex);
      inbox->filled.wait(lock, [&] { return inbox->stop || !inbox->items.empty() || inbox->end.has_value(); });
      if (inbox->stop) return {};
      if (inbox->items.empty()) return *std::move(inbox->end);
      batch.swap(inbox->items);
    }
    proved_alive = true;
    for (auto& item : batch) Apply(std::move(item.event));
    Confirm(batch.back().arrived);
  }
}

bool Informer::Reduce(json& object) const {
  DropBookkeeping(object);
  return filter_ == nullptr || filter_->Keep(object);
}

void Informer::Reduce(kube::WatchEvent& event) const {
  using Type = kube::WatchEvent::Type;
  if (event.type == Type::kBookmark) return;
  if (event.type == Type::kDeleted) {
    if (filter_ != nullptr) filter_->OnDeleted(event.object);
  } else if (Reduce(event.object)) {
    return;
  }
  event = {Type::kDeleted, NameOnly(event.object)};
}

void Informer::RemoveUnlisted() {
  std::vector<Key> gone;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, entry] : objects_) {
      if (entry.listing != listing_) gone.push_back(key);
    }
  }
  for (const Key& key : gone) Change(key, nullptr);
}

void Informer::Apply(kube::WatchEvent event) {
  Reduce(event);
  if (std::string version = MetaText(event.object, "resourceVersion"); !version.empty()) version_ = std::move(version);
  if (event.type == kube::WatchEvent::Type::kBookmark) return;
  const Key key = KeyOf(event.object);
  const bool gone = event.type == kube::WatchEvent::Type::kDeleted;
  Change(key, gone ? nullptr : std::make_shared<const json>(std::move(event.object)));
}

void Informer::Change(const Key& key, Object after) {
  if (key.name.empty()) return;
  Object before;
  {
    const std::lock_guard lock(mutex_);
    const auto it = objects_.find(key);
    if (it != objects_.end()) before = it->second.object;
    if (after != nullptr) {
      Entry& entry = it != objects_.end() ? it->second : objects_[key];
      entry.listing = listing_;
      if (before != nullptr && MetaText(*before, "resourceVersion") == MetaText(*after, "resourceVersion")) return;
      entry.object = after;
    } else {
      if (before == nullptr) return;
      objects_.erase(it);
    }
  }
  for (const auto& handler : handlers_) handler(key, before, after);
}

void Informer::Confirm(base::SteadyPoint at) {
  {
    const std::lock_guard lock(mutex_);
    last_confirmed_ = at;
  }
  for (const auto& confirmed : confirmed_handlers_) confirmed();
}

void Informer::BackOff() {
  const std::chrono::milliseconds grown = options_.min_backoff * (1 << std::min(failures_, 16));
  const auto ceiling = std::min(grown, options_.max_backoff);
  ++failures_;
  std::uniform_real_distribution<double> jitter(0.5, 1.0);
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, ceiling * jitter(random_), [this] { return stopping_; });
}

Informer::Object Informer::Get(const Key& key) const {
  const std::lock_guard lock(mutex_);
  const auto it = objects_.find(key);
  return it == objects_.end() ? nullptr : it->second.object;
}

std::vector<Key> Informer::Keys() const {
  const std::lock_guard lock(mutex_);
  std::vector<Key> keys;
  keys.reserve(objects_.size());
  for (const auto& [key, entry] : objects_) keys.push_back(key);
  return keys;
}

std::vector<Informer::Object> Informer::All() const {
  const std::lock_guard lock(mutex_);
  std::vector<Object> all;
  all.reserve(objects_.size());
  for (const auto& [key, entry] : objects_) all.push_back(entry.object);
  return all;
}

bool Informer::WaitForSync(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, limit, [this] { return synced_ || stopping_; });
  return synced_;
}

std::optional<base::SteadyPoint> Informer::LastConfirmed() const {
  const std::lock_guard lock(mutex_);
  return last_confirmed_;
}

}  // namespace signet::controller
