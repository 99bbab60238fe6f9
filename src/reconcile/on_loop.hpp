// reconcile/on_loop.hpp - a controller's thread asks the reactor and waits for the answer.
//
// Thread-safety: any thread but the reactor's.
// Blocking:      until the answer, or `limit`: then nothing, and a late answer goes to `late` on the
//                loop, so that nothing (least of all a signature) is dropped on the floor.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "base/reactor.hpp"

namespace signet::reconcile {

inline constexpr std::chrono::minutes kLoopAnswerLimit{
    70};  ///< above every deadline below: generation may have an hour

template <class T>
std::optional<T> AskLoop(base::Reactor& reactor, std::function<void(std::function<void(T)> answer)> ask,
                         std::function<void(T)> late = {}, std::chrono::milliseconds limit = kLoopAnswerLimit) {
  struct Slot {
    std::mutex mutex;
    std::condition_variable arrived;
    std::optional<T> value;
    bool abandoned = false;
  };
  auto slot = std::make_shared<Slot>();
  reactor.Post([slot, ask = std::move(ask), late = std::move(late)] {
    ask([slot, late](T value) {
      std::unique_lock lock(slot->mutex);
      if (slot->abandoned) {
        lock.unlock();
        if (late) late(std::move(value));
        return;
      }
      slot->value = std::move(value);
      lock.unlock();
      slot->arrived.notify_one();
    });
  });
  std::unique_lock lock(slot->mutex);
  if (!slot->arrived.wait_for(lock, limit, [&] { return slot->value.has_value(); })) {
    slot->abandoned = true;
    return std::nullopt;
  }
  return std::move(slot->value);
}

}  // namespace signet::reconcile
