#include "reconcile/request_filter.hpp"

#include <nlohmann/json.hpp>

#include "reconcile/request_status.hpp"

namespace signet::reconcile {
namespace {

using controller::Key;
using nlohmann::json;

const char* const kMessage = "message";

/// spec.message, or nullptr.
json* MessageOf(json& object) {
  const auto spec = object.find("spec");
  if (spec == object.end() || !spec->is_object()) return nullptr;
  const auto message = spec->find(kMessage);
  return message == spec->end() ? nullptr : &*message;
}

}  // namespace

bool RequestFilter::IsAbridged(const json& request) {
  // A server stores no null there, and a manifest with one is invalid: reading it again does no harm.
  const auto spec = request.find("spec");
  if (spec == request.end() || !spec->is_object()) return false;
  const auto message = spec->find(kMessage);
  return message != spec->end() && message->is_null();
}

bool RequestFilter::Keep(json& object) {
  if (!IsDecided(object)) {
    OnDeleted(object);  // what was decided under this name before
    json* message = MessageOf(object);
    const bool long_one =
        message != nullptr && message->is_string() && message->get_ref<const std::string&>().size() > kMaxMessage;
    if (long_one) *message = nullptr;
    return true;
  }
  const auto view = ViewRequest(object);
  if (!view) return false;
  const Key key{view->meta.ns, view->meta.name};
  const std::lock_guard lock(mutex_);
  const auto known = entries_.find(key);
  const bool expires = view->ttl_seconds_after_finished && view->finished_at && !view->meta.deleting;
  if (known != entries_.end() && (!expires || known->second.uid != view->meta.uid)) RemoveLocked(known);
  if (!expires) return false;
  const auto due = *view->finished_at + std::chrono::seconds(*view->ttl_seconds_after_finished);
  const auto [entry, added] = entries_.try_emplace(key, Entry{view->meta.uid, due, listing_});
  entry->second.listing = listing_;
  if (added) by_due_.emplace(due, &entry->first);
  return false;
}

void RequestFilter::OnDeleted(const json& object) {
  const auto view = ViewRequest(object);
  if (!view) return;
  const std::lock_guard lock(mutex_);
  const auto known = entries_.find({view->meta.ns, view->meta.name});
  if (known != entries_.end()) RemoveLocked(known);
}

void RequestFilter::OnListBegin() {
  const std::lock_guard lock(mutex_);
  ++listing_;
}

void RequestFilter::OnListEnd() {
  const std::lock_guard lock(mutex_);
  for (auto it = entries_.begin(); it != entries_.end();) {
    const auto next = std::next(it);
    if (it->second.listing != listing_) RemoveLocked(it);
    it = next;
  }
}

std::vector<Key> RequestFilter::TakeDue(base::TimePoint now, std::size_t limit) {
  std::vector<Key> out;
  const std::lock_guard lock(mutex_);
  while (out.size() < limit && !by_due_.empty() && by_due_.begin()->first <= now) {
    const Key* key = by_due_.begin()->second;
    by_due_.erase(by_due_.begin());
    Entry& entry = entries_.find(*key)->second;
    entry.due = now + kNameAgain;
    by_due_.emplace(entry.due, key);
    out.push_back(*key);
  }
  return out;
}

std::optional<std::string> RequestFilter::UidOf(const Key& key) const {
  const std::lock_guard lock(mutex_);
  const auto known = entries_.find(key);
  return known == entries_.end() ? std::nullopt : std::optional(known->second.uid);
}

std::size_t RequestFilter::remembered() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

void RequestFilter::RemoveLocked(Entries::iterator it) {
  by_due_.erase({it->second.due, &it->first});
  entries_.erase(it);
}

}  // namespace signet::reconcile
