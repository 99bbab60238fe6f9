#include "token/worker_process.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>

#include "base/environment.hpp"
#include "obs/log.hpp"

namespace signet::token {
namespace {

using namespace std::chrono_literals;

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

  int Fill(int socket, int memory) {
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
    if (failed == 0) failed = ::posix_spawn_file_actions_adddup2(&actions, memory, kWorkerMemory);
    if (failed == 0) failed = ::posix_spawn_file_actions_addclosefrom_np(&actions, kWorkerMemory + 1);
    return failed;
  }

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

/// Out of the way of the numbers that the worker will find: neither 0 to 4, of a parent that has closed its standard
/// streams, nor one that the first dup2 would overwrite before the second.
base::UniqueFd Lift(base::UniqueFd fd) {
  if (fd.get() > kWorkerMemory) return fd;
  return base::UniqueFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, kWorkerMemory + 1));
}

}  // namespace

Reaper::~Reaper() {
  reactor_.Cancel(timer_);
  for (int round = 0; round < 500 && !pids_.empty(); ++round) {
    std::erase_if(pids_, Collected);
    if (!pids_.empty()) std::this_thread::sleep_for(10ms);  // the loop has ended: nothing else can wait for them
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
                                                                  Reaper& reaper, std::function<void()> on_bell) {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return base::ErrnoError(base::Code::kInternal, "cannot make a socket for a worker", errno);
  }
  base::UniqueFd ours(ends[0]);
  const base::UniqueFd theirs = Lift(base::UniqueFd(ends[1]));
  ::fcntl(ours.get(), F_SETFL, ::fcntl(ours.get(), F_GETFL) | O_NONBLOCK);
  base::UniqueFd memory;
  TRY(SharedRings rings, SharedRings::Create(memory));
  memory = Lift(std::move(memory));

  SpawnPlan plan;
  if (const int failed = plan.Fill(theirs.get(), memory.get()); failed != 0) {
    return base::ErrnoError(base::Code::kInternal, "cannot prepare a worker process", failed);
  }
  std::string name = "signet-hsm-worker";
  std::string argument(kWorkerArgument);
  char* const arguments[] = {name.data(), argument.data(), nullptr};
  pid_t pid = 0;
  // The vendor's module gets its administrator's environment, not what this process has set for itself.
  std::vector<std::string> environment = base::ChildEnvironment();
  const int failed = ::posix_spawn(&pid, executable.c_str(), &plan.actions, &plan.attributes, arguments,
                                   base::EntryPointers(environment).data());
  if (failed != 0) return base::ErrnoError(base::Code::kInternal, "cannot start a worker process", failed);

  std::unique_ptr<WorkerProcess> worker(new WorkerProcess(reactor, reaper, pid, std::move(ours), std::move(rings)));
  worker->watch_ = reactor.WatchReadable(worker->socket_.get(), std::move(on_bell));
  return worker;
}

WorkerProcess::~WorkerProcess() {
  reactor_.Unwatch(watch_);
  socket_.Close();  // the worker reads the end and goes
  reaper_.Adopt(pid_);
}

bool WorkerProcess::Send(const FrameHeader& header, base::ByteView body) {
  if (!writer_.Write(header, body)) return false;
  if (writer_.TakeRest()) Ring(socket_.get());
  return true;
}

WorkerProcess::Received WorkerProcess::Receive(FrameHeader& header, base::ByteView& body) {
  std::size_t size = 0;
  const Received got = reader_.Read(buffer_, size);
  if (got != Received::kFrame) return got;
  std::memcpy(&header, buffer_.data(), sizeof(header));
  body = base::ByteView(buffer_).first(size).subspan(sizeof(header));
  return got;
}

void WorkerProcess::Kill() { ::kill(pid_, SIGKILL); }

}  // namespace signet::token
