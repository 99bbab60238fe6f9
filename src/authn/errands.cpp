#include "authn/errands.hpp"

#include <algorithm>
#include <optional>
#include <utility>

namespace signet::authn {

Errands::Errands(Options options) : options_(options) {
  for (std::size_t i = 0; i < options_.threads; ++i) threads_.emplace_back([this] { Work(); });
}

Errands::~Errands() { Stop(); }

bool Errands::Send(Errand errand, Place place, const std::string& source) {
  std::function<void()> drop;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    if (place == Place::kFront) {
      if (front_.size() >= options_.front) return false;
      front_.push_back(std::move(errand));
    } else {
      if (back_size_ >= options_.queue && !MakeRoom(source, drop)) return false;
      back_[source].waiting.push_back(std::move(errand));
      ++back_size_;
    }
  }
  changed_.notify_one();
  if (drop) drop();
  return true;
}

/// With mutex_. False: no other source has more.
bool Errands::MakeRoom(const std::string& source, std::function<void()>& drop) {
  const auto most = std::max_element(back_.begin(), back_.end(), [](const auto& a, const auto& b) {
    return a.second.waiting.size() < b.second.waiting.size();
  });
  const auto own = back_.find(source);
  const std::size_t held = own == back_.end() ? 0 : own->second.waiting.size();
  if (most == back_.end() || most->second.waiting.size() <= held) return false;
  drop = std::move(most->second.waiting.back().drop);
  most->second.waiting.pop_back();
  --back_size_;
  if (most->second.waiting.empty() && most->second.in_work == 0) back_.erase(most);
  return true;
}

void Errands::Stop() {
  std::deque<Errand> front;  // destroyed without the lock
  std::map<std::string, Source> back;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    front.swap(front_);
    back.swap(back_);
    back_size_ = 0;
  }
  changed_.notify_all();
  for (auto& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

/// With mutex_. The source whose turn it is; end(): none has both something to do and a thread left.
std::map<std::string, Errands::Source>::iterator Errands::Next() {
  const std::size_t most = std::max<std::size_t>(1, options_.threads / 2);
  auto at = back_.upper_bound(last_);
  for (std::size_t i = 0; i < back_.size(); ++i, ++at) {
    if (at == back_.end()) at = back_.begin();
    const bool has_thread = at->first.empty() || at->second.in_work < most;  // without a source: no limit
    if (has_thread && !at->second.waiting.empty()) return at;
  }
  return back_.end();
}

void Errands::Work() {
  for (;;) {
    Errand next;
    std::optional<std::string> source;
    {
      std::unique_lock lock(mutex_);
      auto turn = back_.end();
      changed_.wait(lock, [&] { return stopping_ || !front_.empty() || (turn = Next()) != back_.end(); });
      if (stopping_) return;
      if (!front_.empty()) {
        next = std::move(front_.front());
        front_.pop_front();
      } else {
        source = last_ = turn->first;
        next = std::move(turn->second.waiting.front());
        turn->second.waiting.pop_front();
        ++turn->second.in_work;
        --back_size_;
      }
    }
    next.run();
    if (!source) continue;
    {
      const std::lock_guard lock(mutex_);
      const auto done = back_.find(*source);
      if (done != back_.end() && --done->second.in_work == 0 && done->second.waiting.empty()) back_.erase(done);
    }
    changed_.notify_one();  // its source may have waited for a thread
  }
}

}  // namespace signet::authn
