// controller/informer.hpp - a local copy of the objects of one kind, kept current by list and watch.
//
// The copy has no metadata.managedFields and no annotation of kubectl's with the whole object once more: nobody here
// reads them, and they are the larger half of many objects. A Filter leaves out whole objects.
//
// Ownership:     owns its thread and the copy. Borrows store, clock and filter, which must outlive it.
// Thread-safety: any thread; AddHandler before Start(). Handlers run on the informer's own thread, one
//                at a time, in the order of the store's events, after the copy has changed.
// Blocking:      Stop() waits for the handler in hand and for a list under way. Handlers must be short.
//                A watch begins at the list's own version with the list's first page, so that what is new is known
//                while old objects are still being listed.
// Sizes:         while it lists, one page of the list beside the copy, and the events since the page before.
// Errors:        none escape: a failed list or watch is logged, counted and tried again after a
//                backoff with jitter; a version that is too old (410) means a new list.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "controller/work_queue.hpp"
#include "kube/object_store.hpp"

namespace signet::controller {

class Informer {
 public:
  using Object = std::shared_ptr<const nlohmann::json>;
  struct Options {
    std::chrono::milliseconds min_backoff{200};
    std::chrono::milliseconds max_backoff{5'000};
  };
  /// `before` is null for an added object, `after` for one that is gone.
  using Handler = std::function<void(const Key& key, const Object& before, const Object& after)>;
  /// Chooses what the copy keeps. An object that is left out is, for handlers and readers, one that is gone.
  /// One call at a time, on the informer's thread, before the copy changes.
  class Filter {
   public:
    virtual ~Filter() = default;
    /// May make `object` smaller. @return false: leave it out
    virtual bool Keep(nlohmann::json& object) = 0;
    /// `object` was deleted in the store; its last state.
    virtual void OnDeleted(const nlohmann::json& object) = 0;
    /// A list begins, and has ended: objects that Keep did not see in between are gone.
    virtual void OnListBegin() = 0;
    virtual void OnListEnd() = 0;
  };
  /// Called whenever the store has shown that the copy is current: same thread as handlers.
  using Confirmed = std::function<void()>;

  Informer(kube::ObjectStore& store, kube::Resource resource, Options options, const base::Clock& clock);
  ~Informer();  ///< stops

  void AddHandler(Handler handler);
  /// Before Start().
  void SetFilter(Filter& filter) { filter_ = &filter; }
  void OnConfirmed(Confirmed confirmed);
  void Start();
  /// Ends the watch and the thread; the copy stays readable. May be called twice.
  void Stop();
  /// The first half of Stop(): asks the thread to end, waits for nothing.
  void RequestStop();

  /// nullptr: no such object is known.
  [[nodiscard]] Object Get(const Key& key) const;
  [[nodiscard]] std::vector<Key> Keys() const;
  [[nodiscard]] std::vector<Object> All() const;
  /// The first list is in, and its handlers have run.
  [[nodiscard]] bool HasSynced() const { return synced_; }
  /// The store has answered the first list, which may still be under way.
  [[nodiscard]] bool HasAnswered() const { return answered_; }
  /// False: not within `limit`, or stopped first.
  bool WaitForSync(std::chrono::milliseconds limit);
  /// When a list, an event or a bookmark last showed that the copy is current; nothing before the first list.
  [[nodiscard]] std::optional<base::SteadyPoint> LastConfirmed() const;
  [[nodiscard]] const kube::Resource& resource() const { return resource_; }

 private:
  struct Inbox;
  void Run();
  /// Lists, then watches until a new list is needed. The version to go on from is kept in version_.
  base::Status ListOnce();
  void StartWatch();
  /// Takes one object of a list, unless an event has told of a later state.
  void TakeListed(nlohmann::json object);
  /// Applies the events that have arrived by now. While a list is under way: it has older states of these objects.
  void ApplyArrived();
  base::Status WatchOnce(bool& proved_alive);
  void RunOnce(bool& must_list);
  /// Makes `object` what the copy keeps of it. @return false: nothing
  [[nodiscard]] bool Reduce(nlohmann::json& object) const;
  void Reduce(kube::WatchEvent& event) const;
  void RemoveUnlisted();
  void Apply(kube::WatchEvent event);
  void Change(const Key& key, Object after);
  void Confirm(base::SteadyPoint at);
  bool IsStopping() const;
  void BackOff();

  kube::ObjectStore& store_;
  const kube::Resource resource_;
  const Options options_;
  const base::Clock& clock_;
  Filter* filter_ = nullptr;
  std::vector<Handler> handlers_;
  std::vector<Confirmed> confirmed_handlers_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  struct Entry {
    Object object;
    std::uint32_t listing = 0;  ///< the last one that had it, or that was over when it came
  };
  std::map<Key, Entry> objects_;                     ///< guarded by mutex_; written by the thread alone
  std::optional<base::SteadyPoint> last_confirmed_;  ///< guarded by mutex_
  bool stopping_ = false;                            ///< guarded by mutex_
  std::atomic<bool> synced_{false};
  std::atomic<bool> answered_{false};

  std::uint32_t listing_ = 0;           ///< counts lists; thread only
  std::string version_;                 ///< thread only
  int failures_ = 0;                    ///< thread only
  std::minstd_rand random_;             ///< thread only
  std::set<Key> news_;                  ///< objects that events told of while a list was under way; thread only
  std::shared_ptr<Inbox> inbox_;        ///< of the running watch; written by the thread, guarded by mutex_
  std::unique_ptr<kube::Watch> watch_;  ///< thread only
  std::thread thread_;
};

}  // namespace signet::controller
