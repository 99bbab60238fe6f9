// reconcile/live_reads.hpp - a live GET, beside the watch, of every object that decisions use: policies, namespaces.
//
// A watch can go quiet without an error, and an event says nothing of the time when it arrives. So an object that is
// being used is read again every few seconds, and one that was idle is read before its first use: a suspended policy or
// a namespace without its label stops every entry point within 5 s while the API server can be reached. When it cannot,
// the time of the last read grows old, and SigningService answers PolicyStale after policyMaxAge.
//
// Thread-safety: NeedsRead and Failing from any thread; EnsureFresh from any thread but the reactor's; one GET per
//                object at a time.
// Blocking:      EnsureFresh for one GET at most; the destructor for the GET in hand.
// Sizes:         names used within max_age, and known ones whose last read failed; the rest is forgotten at the next
// use.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"

namespace signet::reconcile {

class LiveReads {
 public:
  struct Options {
    base::Duration max_age = std::chrono::seconds(4);       ///< of the last live GET when an object is used
    base::Duration used_within = std::chrono::seconds(30);  ///< what counts as in use
    base::Duration retry = std::chrono::seconds(1);         ///< after a GET that failed
    std::chrono::milliseconds tick{1000};
  };
  static constexpr std::size_t kMaxEntries = 10'000;
  struct Source {
    std::function<bool(const std::string& name)> known;  ///< empty: every name may exist
    /// Names to keep fresh, used within the window; empty: none, each use reads for itself.
    std::function<std::vector<std::string>(base::Duration window)> used;
    std::function<base::Status(const std::string& name)> read;  ///< one live GET
  };

  LiveReads(Options options, const base::Clock& clock, Source source);
  ~LiveReads();

  /// Starts the thread that keeps objects in use fresh.
  void Start();
  /// Objects whose last read failed.
  [[nodiscard]] std::vector<std::string> Failing() const;
  [[nodiscard]] std::size_t remembered() const;  ///< names
  /// EnsureFresh(name) would read, or wait for a read under way. Any thread; never blocks.
  [[nodiscard]] bool NeedsRead(const std::string& name) const;
  /// One live GET, unless one within max_age stands. Unknown names are left alone: only a denial
  /// could follow, and that asks the store by itself.
  void EnsureFresh(const std::string& name);

 private:
  struct Entry {
    std::mutex reading;            ///< held during the GET; taken before mutex_
    base::SteadyPoint shown_at{};  ///< guarded by mutex_, as all below
    base::SteadyPoint failed_at{};
    bool shown = false;
    bool failed = false;
  };
  /// Under mutex_.
  [[nodiscard]] bool IsSettled(const Entry& entry) const;
  [[nodiscard]] bool IsKnown(const std::string& name) const { return !source_.known || source_.known(name); }
  void MakeRoom(base::SteadyPoint now);
  void Run();

  const Options options_;
  const base::Clock& clock_;
  const Source source_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::map<std::string, std::shared_ptr<Entry>> entries_;  ///< guarded by mutex_
  base::SteadyPoint made_room_at_{};                       ///< guarded by mutex_
  bool stopping_ = false;                                  ///< guarded by mutex_
  std::thread thread_;
};

}  // namespace signet::reconcile
