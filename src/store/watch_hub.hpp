// store/watch_hub.hpp - a bounded log of events and the watches that read it.
//
// Ownership:     owns one thread, which runs every callback of every watch.
// Thread-safety: every method from any thread.
// Blocking:      destroying a watch waits until its callback has returned (except from inside of
//                that callback).
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "kube/object_store.hpp"

namespace signet::store {

class WatchHub {
 public:
  /// Watches can begin at `version` or later; `keep` events are remembered.
  explicit WatchHub(std::uint64_t version, std::size_t keep = 8192);
  ~WatchHub();  ///< ends every watch regularly, then the thread
  WatchHub(const WatchHub&) = delete;
  WatchHub& operator=(const WatchHub&) = delete;

  /// Events reach watches in the order of these calls; `version` never falls.
  void Publish(const kube::Resource& resource, std::uint64_t version, kube::WatchEvent event);
  /// Tells every watch that all is known up to the last version.
  void Bookmark();
  /// Events after `version`; kAborted by on_end when they are no longer known.
  std::unique_ptr<kube::Watch> Start(const kube::Resource& resource, std::uint64_t version, kube::WatchSink sink);

 private:
  struct Item {
    std::string plural;  ///< empty: a bookmark for all
    std::uint64_t version = 0;
    kube::WatchEvent event;
  };
  struct Subscription {
    kube::Resource resource;
    kube::WatchSink sink;
    std::uint64_t next = 0;  ///< sequence number of the next item to look at
    std::uint64_t after = 0;
    std::optional<base::Status> end;
    bool done = false;
    bool cancelled = false;
    bool running = false;
  };
  class Handle;

  void Append(Item item);
  void Run();
  bool DeliverOne(std::unique_lock<std::mutex>& lock, const std::shared_ptr<Subscription>& subscription);
  void Cancel(const std::shared_ptr<Subscription>& subscription);

  const std::size_t keep_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable idle_;
  std::deque<Item> items_;            ///< guarded by mutex_, as all below
  std::uint64_t first_sequence_ = 0;  ///< of items_.front()
  std::uint64_t floor_;               ///< the last version that was forgotten
  std::uint64_t version_;             ///< the last version published
  std::vector<std::shared_ptr<Subscription>> subscriptions_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace signet::store
