#include "audit/line_copier.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <string>
#include <thread>

#include "obs/log.hpp"
#include "obs/metrics.hpp"

namespace signet::audit {
namespace {

using namespace std::chrono_literals;

// A pipe that poll() calls writable takes this much without blocking (PIPE_BUF; POSIX.1-2017, write()).
constexpr std::size_t kPiece = 4096;
constexpr int kPollMillis = 100;
constexpr auto kLastWords = 1s;

}  // namespace

struct LineCopier::State {
  State(int to, std::size_t limit) : fd(to), max_bytes(limit) {}

  void Drop(std::string_view lines);
  void Run();
  std::string_view Write(std::string_view text);

  const int fd;
  const std::size_t max_bytes;
  obs::Counter& dropped_metric =
      obs::GetCounter("signet_audit_stdout_dropped_total", "Lines of the record that were not copied to stdout");
  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by mutex:
  std::string waiting;
  std::size_t writing = 0;  ///< octets in the thread's hands
  std::uint64_t dropped = 0;
  bool dropping = false;  ///< and the log says so
  bool stopping = false;
  bool give_up = false;
  bool ended = false;
};

/// Under mutex.
void LineCopier::State::Drop(std::string_view lines) {
  const auto count = static_cast<std::uint64_t>(std::count(lines.begin(), lines.end(), '\n'));
  if (count == 0) return;
  dropped += count;
  dropped_metric.Add(static_cast<double>(count));
  if (!dropping) {
    obs::Warn("stdout is not read fast enough: lines of the audit record are missing there (the record has them)",
              {{"dropped", dropped}});
  }
  dropping = true;
}

void LineCopier::State::Run() {
  std::string text;
  std::unique_lock lock(mutex);
  while (!give_up) {
    changed.wait(lock, [this] { return stopping || !waiting.empty(); });
    if (waiting.empty()) break;
    text.clear();
    std::swap(text, waiting);
    writing = text.size();
    lock.unlock();
    const auto left = Write(text);
    lock.lock();
    writing = 0;
    Drop(left);
    if (left.empty() && dropping && waiting.size() < max_bytes / 2) {
      obs::Info("stdout is read again", {{"dropped", dropped}});
      dropping = false;
    }
  }
  Drop(waiting);
  ended = true;
  changed.notify_all();
}

/// What could not be written: nobody reads, or it is time to end.
std::string_view LineCopier::State::Write(std::string_view text) {
  while (!text.empty()) {
    {
      const std::lock_guard lock(mutex);
      if (give_up) break;
    }
    pollfd state{fd, POLLOUT, 0};
    const int ready = poll(&state, 1, kPollMillis);
    if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
    const auto written = ready < 0 ? -1 : write(fd, text.data(), std::min(text.size(), kPiece));
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno != EINTR && errno != EAGAIN) {
      break;
    }
  }
  return text;
}

LineCopier::LineCopier(int fd, std::size_t max_bytes) : state_(std::make_shared<State>(fd, max_bytes)) {
  // Signals are the loop's.
  sigset_t all{};
  sigset_t before{};
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread([state = state_] { state->Run(); }).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

LineCopier::~LineCopier() {
  std::unique_lock lock(state_->mutex);
  state_->stopping = true;
  state_->changed.notify_all();
  const auto ended = [this] { return state_->ended; };
  if (state_->changed.wait_for(lock, kLastWords, ended)) return;
  state_->give_up = true;
  // Longer than one poll: the thread ends now, unless write() itself holds it.
  state_->changed.wait_for(lock, 3 * std::chrono::milliseconds(kPollMillis), ended);
}

std::uint64_t LineCopier::dropped() const {
  const std::lock_guard lock(state_->mutex);
  return state_->dropped;
}

void LineCopier::Add(std::string_view lines) {
  State& state = *state_;
  {
    const std::lock_guard lock(state.mutex);
    const auto room = state.max_bytes - std::min(state.max_bytes, state.waiting.size() + state.writing);
    // As many whole lines as there is room for.
    const auto end = lines.size() <= room ? lines.size() : lines.substr(0, room).rfind('\n') + 1;
    state.waiting += lines.substr(0, end);
    state.Drop(lines.substr(end));
  }
  state.changed.notify_all();
}

}  // namespace signet::audit
