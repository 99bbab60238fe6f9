#include "token/worker_process.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <thread>

#include "obs/log.hpp"

namespace signet::token {
namespace {

using namespace std::chrono_literals;

constexpr int kSocketBuffer = 1024 * 1024;
constexpr int kPatienceRounds = 20;  // of 100 ms: then a worker that was told to go is killed

/// True when `pid` is gone and collected.
bool Collected(pid_t pid) {
  int status = 0;
  const pid_t got = ::waitpid(pid, &status, WNOHANG);
  return got == pid || (got < 0 && errno == ECHILD);
}

/// Everything posix_spawn needs, released together.
class SpawnPlan {
 public:
  SpawnPlan() {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;
  ~SpawnPlan() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }

  int Fill(int socket) {
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &all);
    // A group of its own: Ctrl-C at a terminal is for the front process, which drains first.
    ::posix_spawnattr_setpgroup(&attributes, 0);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    int failed = ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    // What a vendor library prints must not end up in the output of a command.
    if (failed == 0) failed = ::posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
    if (failed == 0) failed = ::posix_spawn_file_actions_adddup2(&actions, socket, kWorkerSocket);
    if (failed == 0) failed = ::posix_spawn_file_actions_addclosefrom_np(&actions, kWorkerSocket + 1);
    return failed;
  }

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

}  // namespace

Reaper::~Reaper() {
  reactor_.Cancel(timer_);
  for (int round = 0; round < 500 && !pids_.empty(); ++round) {
    std::erase_if(pids_, Collected);
    if (!pids_.empty()) std::this_thread::sleep_for(10ms);
  }
  for (const pid_t pid : pids_) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
}

void Reaper::Adopt(pid_t pid) {
  pids_.push_back(pid);
  rounds_ = 0;
  if (timer_ == 0) timer_ = reactor_.After(1ms, [this] { Collect(); });
}

void Reaper::Collect() {
  timer_ = 0;
  std::erase_if(pids_, Collected);
  if (pids_.empty()) return;
  if (++rounds_ > kPatienceRounds) {
    for (const pid_t pid : pids_) ::kill(pid, SIGKILL);
  }
  timer_ = reactor_.After(100ms, [this] { Collect(); });
}

base::Result<std::unique_ptr<WorkerProcess>> WorkerProcess::Start(const std::string& executable, base::Reactor& reactor,
                                                                  Reaper& reaper, std::function<void()> on_readable) {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return base::ErrnoError(base::Code::kInternal, "cannot make a socket for a worker", errno);
  }
  base::UniqueFd ours(ends[0]);
  base::UniqueFd theirs(ends[1]);
  ::fcntl(ours.get(), F_SETFL, ::fcntl(ours.get(), F_GETFL) | O_NONBLOCK);
  ::setsockopt(ours.get(), SOL_SOCKET, SO_SNDBUF, &kSocketBuffer, sizeof(kSocketBuffer));
  ::setsockopt(theirs.get(), SOL_SOCKET, SO_SNDBUF, &kSocketBuffer, sizeof(kSocketBuffer));
  // The number must survive its own dup2: with equal numbers posix_spawn would only clear FD_CLOEXEC, which is fine,
  // but a parent that has closed its standard streams could have put the socket on 0, 1 or 2.
  if (theirs.get() < kWorkerSocket) {
    theirs = base::UniqueFd(::fcntl(theirs.get(), F_DUPFD_CLOEXEC, kWorkerSocket));
  }

  SpawnPlan plan;
  if (const int failed = plan.Fill(theirs.get()); failed != 0) {
    return base::ErrnoError(base::Code::kInternal, "cannot prepare a worker process", failed);
  }
  std::string name = "signet-hsm-worker";
  std::string argument(kWorkerArgument);
  char* const arguments[] = {name.data(), argument.data(), nullptr};
  pid_t pid = 0;
  const int failed = ::posix_spawn(&pid, executable.c_str(), &plan.actions, &plan.attributes, arguments, ::environ);
  if (failed != 0) return base::ErrnoError(base::Code::kInternal, "cannot start a worker process", failed);

  std::unique_ptr<WorkerProcess> worker(new WorkerProcess(reactor, reaper, pid, std::move(ours)));
  worker->watch_ = reactor.WatchReadable(worker->socket_.get(), std::move(on_readable));
  return worker;
}

WorkerProcess::~WorkerProcess() {
  reactor_.Unwatch(watch_);
  socket_.Close();  // the worker reads the end and goes
  reaper_.Adopt(pid_);
}

bool WorkerProcess::Send(const FrameHeader& header, base::ByteView body) {
  iovec parts[2] = {{const_cast<FrameHeader*>(&header), sizeof(header)},
                    {const_cast<std::uint8_t*>(body.data()), body.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = body.empty() ? 1 : 2;
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent >= 0;
}

WorkerProcess::Received WorkerProcess::Receive(FrameHeader& header, base::ByteView& body) {
  for (int attempt = 0;; ++attempt) {
    const ssize_t size = ::recv(socket_.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return Received::kNothing;
    // A worker that died with unread frames leaves this once; what it had sent comes after it.
    if (size < 0 && errno == ECONNRESET && attempt < 4) continue;
    if (size < static_cast<ssize_t>(sizeof(header))) return Received::kEnd;
    std::memcpy(&header, buffer_.data(), sizeof(header));
    body = base::ByteView(buffer_).first(static_cast<std::size_t>(size)).subspan(sizeof(header));
    return Received::kFrame;
  }
}

void WorkerProcess::Kill() { ::kill(pid_, SIGKILL); }

}  // namespace signet::token
