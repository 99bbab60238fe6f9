#include "audit/committer.hpp"

#include <csignal>
#include <utility>

namespace signet::audit {

Committer::Committer() {
  // Signals are the loop's: the thread is born with all of them blocked.
  sigset_t all{};
  sigset_t before{};
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Committer::~Committer() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Committer::Submit(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    job_ = std::move(job);
    busy_ = true;
  }
  changed_.notify_all();
}

void Committer::Wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !busy_; });
}

void Committer::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stop_ || job_; });
    if (!job_) return;
    auto job = std::exchange(job_, nullptr);
    lock.unlock();
    job();
    lock.lock();
    busy_ = static_cast<bool>(job_);  // one may have come while this one was on its way back
    changed_.notify_all();
  }
}

}  // namespace signet::audit
