#include "authn/errands.hpp"

#include <utility>

namespace signet::authn {

Errands::Errands(Options options) : options_(options) {
  for (std::size_t i = 0; i < options_.threads; ++i) threads_.emplace_back([this] { Work(); });
}

Errands::~Errands() { Stop(); }

bool Errands::Send(std::function<void()> run, Place place) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || waiting_.size() >= options_.queue) return false;
    if (place == Place::kFront) {
      waiting_.push_front(std::move(run));
    } else {
      waiting_.push_back(std::move(run));
    }
  }
  changed_.notify_one();
  return true;
}

void Errands::Stop() {
  std::deque<std::function<void()>> dropped;  // destroyed without the lock
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    dropped.swap(waiting_);
  }
  changed_.notify_all();
  for (auto& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void Errands::Work() {
  for (;;) {
    std::function<void()> next;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (stopping_) return;
      next = std::move(waiting_.front());
      waiting_.pop_front();
    }
    next();
  }
}

}  // namespace signet::authn
