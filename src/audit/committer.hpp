// audit/committer.hpp - where write and fdatasync run for `durability: fsync`: one thread, one job at a time.
//
// While a job is on the disk the loop collects the next one: that is the group commit.
//
// Thread-safety: Submit from one thread. Blocking: the destructor waits for the job at work.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace signet::audit {

class Committer {
 public:
  Committer();
  Committer(const Committer&) = delete;
  Committer& operator=(const Committer&) = delete;
  ~Committer();

  /// REQUIRES: the job before has done its work; it may still be returning.
  void Submit(std::function<void()> job);
  /// Returns when no job is waiting or at work.
  void Wait();

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> job_;
  bool busy_ = false;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace signet::audit
