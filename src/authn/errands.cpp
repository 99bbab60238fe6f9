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
    const bool front = place == Place::kFront;
    auto& waiting = front ? front_ : back_;
    if (stopping_ || waiting.size() >= (front ? options_.front : options_.queue)) return false;
    waiting.push_back(std::move(run));
  }
  changed_.notify_one();
  return true;
}

void Errands::Stop() {
  std::deque<std::function<void()>> front, back;  // destroyed without the lock
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    front.swap(front_);
    back.swap(back_);
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
      changed_.wait(lock, [this] { return stopping_ || !front_.empty() || !back_.empty(); });
      if (stopping_) return;
      auto& waiting = front_.empty() ? back_ : front_;
      next = std::move(waiting.front());
      waiting.pop_front();
    }
    next();
  }
}

}  // namespace signet::authn
