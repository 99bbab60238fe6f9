// reconcile/events.hpp - v1 Events on our objects, for `kubectl describe`.
//
// Best effort and beside the work: a bounded queue, one thread, one POST at a time, dropped when
// full. The status is the truth, so there is no event for a successful signature: it would double
// the writes of the happy path.
//
// Thread-safety: Record from any thread.
// Blocking:      Record never; the destructor waits for the POST in hand.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "api/types.hpp"
#include "base/clock.hpp"
#include "kube/object_store.hpp"

namespace signet::reconcile {

class EventRecorder {
 public:
  enum class Type : std::uint8_t { kNormal, kWarning };

  virtual ~EventRecorder() = default;
  virtual void Record(const kube::Resource& resource, const api::ObjectMeta& object, Type type, std::string reason,
                      std::string message) = 0;
};

/// Writes events to the store.
class StoreEventRecorder : public EventRecorder {
 public:
  struct Options {
    std::size_t queue = 256;                    ///< waiting events; more are dropped
    std::string component = "signet-operator";  ///< source.component
    std::string instance;                       ///< reportingInstance: the pod's name
  };
  StoreEventRecorder(kube::ObjectStore& store, const base::Clock& clock, Options options);
  ~StoreEventRecorder() override;

  void Record(const kube::Resource& resource, const api::ObjectMeta& object, Type type, std::string reason,
              std::string message) override;

 private:
  struct Pending {
    std::string ns;
    nlohmann::json object;
  };
  void Run();

  kube::ObjectStore& store_;
  const base::Clock& clock_;
  const Options options_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Pending> queue_;  ///< guarded by mutex_
  std::uint64_t counter_ = 0;  ///< guarded by mutex_
  bool stopping_ = false;      ///< guarded by mutex_
  std::thread thread_;
};

/// Writes events to the log, where a store has none (the directory store).
class LogEventRecorder : public EventRecorder {
 public:
  void Record(const kube::Resource& resource, const api::ObjectMeta& object, Type type, std::string reason,
              std::string message) override;
};

}  // namespace signet::reconcile
