// token/pin_memory.hpp - where PinGuards are kept, so that all who share the place try a wrong PIN once.
//
// Operators on an API server share a Secret (reconcile/pin_secret.hpp). Without one: a folder, which survives restarts
// and may be shared by pods, or the process alone.
//
// Thread-safety: any thread.
// Blocking:      Change does; PinMemoryThread does it for a loop.
// Errors:        kUnavailable/StateUnwritable: nothing was remembered, so that no PIN may be tried.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/reactor.hpp"
#include "base/result.hpp"

namespace signet::token {

class PinMemory {
 public:
  /// Changes the text; an error ends the change. May run several times, each time with the text as it is then.
  using Edit = std::function<base::Status(std::string& text)>;

  virtual ~PinMemory() = default;
  /// Reads the text under `name` (empty: none), edits it and writes it, as one step for all who share the memory.
  virtual base::Status Change(const std::string& name, const Edit& edit) = 0;

  /// A new name for one who claims turns. Where the memory can, it shows to others while this object lives.
  virtual std::string MakeHolder();
  /// True: the holder has ended, and will not use its turn. False: it lives, or nobody can tell.
  virtual bool IsGone(const std::string& holder);
};

/// Forgets with the process.
std::shared_ptr<PinMemory> MakeProcessPinMemory();
/// One file per name, and a lock that only this user can take.
std::shared_ptr<PinMemory> MakeFolderPinMemory(std::string folder);

/// Runs changes one after another on a thread of its own.
class PinMemoryThread {
 public:
  PinMemoryThread(std::shared_ptr<PinMemory> memory, base::Reactor& reactor);
  PinMemoryThread(const PinMemoryThread&) = delete;
  PinMemoryThread& operator=(const PinMemoryThread&) = delete;
  ~PinMemoryThread();  ///< waits for the changes it was given: the end of a login must not be lost

  /// `done` runs on the reactor.
  void Change(std::string name, PinMemory::Edit edit, std::function<void(base::Status)> done);
  [[nodiscard]] const std::shared_ptr<PinMemory>& memory() const { return memory_; }

 private:
  struct Job {
    std::string name;
    PinMemory::Edit edit;
    std::function<void(base::Status)> done;
  };
  void Run();

  const std::shared_ptr<PinMemory> memory_;
  base::Reactor& reactor_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;   ///< guarded by mutex_
  bool stopping_ = false;  ///< guarded by mutex_
  std::thread thread_;
};

}  // namespace signet::token
