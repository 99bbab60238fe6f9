// The launcher process: one thread, fixed messages in, processes out. It never reads a file, a key or a request.
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <vector>

#include "base/clock.hpp"
#include "token/channel.hpp"
#include "token/launcher.hpp"
#include "token/spawn_plan.hpp"
#include "token/worker_hsm.hpp"

namespace signet::token {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMaxWorkers = 256;
constexpr auto kReleased = 2s;  // from the end of its channel; a module may be in a call
constexpr auto kFinish = 5s;
constexpr int kTick = 100;  // ms, while somebody is to be killed later

class LauncherProcess {
 public:
  LauncherProcess(std::optional<process::Identity> worker, int signals) : worker_(worker), signals_(signals) {}
  int Run();

 private:
  struct Child {
    pid_t pid;
    base::SteadyPoint kill_at = base::SteadyPoint::max();
  };
  /// False: the front is gone.
  bool Serve();
  void Start(const LauncherRequest& request, base::UniqueFd socket, base::UniqueFd memory);
  [[noreturn]] void BecomeWorker(int socket, int memory, int failure) const;
  void Reap();
  void KillLate();
  void Kill(pid_t pid) const;

  const std::optional<process::Identity> worker_;
  const int signals_;
  const base::Clock& clock_ = base::SystemClock();
  std::vector<Child> children_;
  bool finishing_ = false;
};

int LauncherProcess::Run() {
  while (!finishing_ || !children_.empty()) {
    const bool late = std::any_of(children_.begin(), children_.end(),
                                  [](const Child& child) { return child.kill_at != base::SteadyPoint::max(); });
    std::array<pollfd, 2> ready = {pollfd{kLauncherSocket, POLLIN, 0}, pollfd{signals_, POLLIN, 0}};
    if (::poll(ready.data(), ready.size(), late ? kTick : -1) < 0 && errno != EINTR) return 1;
    // The workers find their channels closed and finish the call in work; killing one in it could break a token.
    if (ready[0].revents != 0 && !Serve()) return 0;
    if (ready[1].revents != 0) Reap();
    KillLate();
  }
  return 0;
}

bool LauncherProcess::Serve() {
  LauncherRequest request;
  iovec data{&request, sizeof(request)};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 2)> control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t size = ::recvmsg(kLauncherSocket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (size < 0) return errno == EINTR || errno == EAGAIN;
  std::array<base::UniqueFd, 2> descriptors;
  if (const cmsghdr* header = CMSG_FIRSTHDR(&message);
      header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
    std::array<int, 2> numbers = {-1, -1};
    std::memcpy(numbers.data(), CMSG_DATA(header), std::min(sizeof(numbers), header->cmsg_len - CMSG_LEN(0)));
    for (std::size_t i = 0; i < numbers.size(); ++i) descriptors[i] = base::UniqueFd(numbers[i]);
  }
  if (size != static_cast<ssize_t>(sizeof(request))) return false;
  const auto child =
      std::find_if(children_.begin(), children_.end(), [&](const Child& one) { return one.pid == request.pid; });
  switch (request.kind) {
    case LauncherRequest::Kind::kStart:
      Start(request, std::move(descriptors[0]), std::move(descriptors[1]));
      return true;
    case LauncherRequest::Kind::kRelease:
      if (child != children_.end()) child->kill_at = clock_.Steady() + kReleased;
      return true;
    case LauncherRequest::Kind::kKill:
      if (child != children_.end()) Kill(child->pid);
      return true;
    case LauncherRequest::Kind::kFinish:
      finishing_ = true;
      for (Child& one : children_) one.kill_at = clock_.Steady() + kFinish;
      return true;
  }
  return false;
}

void LauncherProcess::Start(const LauncherRequest& request, base::UniqueFd socket, base::UniqueFd memory) {
  LauncherReply reply{request.id, 0, 0};
  socket = Lift(std::move(socket), kWorkerMemory);
  memory = Lift(std::move(memory), kWorkerMemory);
  int failure[2] = {-1, -1};
  if (!socket.valid() || !memory.valid()) {
    reply.error = EBADF;
  } else if (children_.size() >= kMaxWorkers) {
    reply.error = EAGAIN;
  } else if (::pipe2(failure, O_CLOEXEC) != 0) {
    reply.error = errno;
  } else {
    base::UniqueFd read_end(failure[0]);
    base::UniqueFd write_end = Lift(base::UniqueFd(failure[1]), kWorkerMemory + 1);
    const pid_t pid = ::fork();
    if (pid == 0) BecomeWorker(socket.get(), memory.get(), write_end.get());
    write_end.Close();
    if (pid < 0) {
      reply.error = errno;
    } else if (::read(read_end.get(), &reply.error, sizeof(reply.error)) > 0) {
      ::waitpid(pid, nullptr, 0);
    } else {
      reply.pid = pid;
      children_.push_back({pid});
    }
  }
  (void)::send(kLauncherSocket, &reply, sizeof(reply), MSG_NOSIGNAL);
}

/// After fork: `failure` gets errno, and the process ends.
[[noreturn]] void ReportAndExit(int failure) {
  const int error = errno;
  (void)!::write(failure, &error, sizeof(error));
  ::_exit(1);
}

/// After fork: the worker's place, then exec. `failure` gets errno, or closes by exec.
void LauncherProcess::BecomeWorker(int socket, int memory, int failure) const {
  const auto fail = [failure] { ReportAndExit(failure); };
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::setpgid(0, 0);
  if (::dup2(socket, kWorkerSocket) < 0 || ::dup2(memory, kWorkerMemory) < 0) fail();
  if (::fcntl(failure, F_SETFD, FD_CLOEXEC) != 0) fail();
  if (worker_) {
    // The groups stay: they may be how the PIN's file is reached, which the front has given up.
    if (::setresgid(worker_->gid, worker_->gid, worker_->gid) != 0) fail();
    if (::setresuid(worker_->uid, worker_->uid, worker_->uid) != 0) fail();
  }
  char name[] = "signet-hsm-worker";
  std::string argument(kWorkerArgument);
  char* const arguments[] = {name, argument.data(), nullptr};
  ::execv("/proc/self/exe", arguments);
  ReportAndExit(failure);
}

void LauncherProcess::Reap() {
  signalfd_siginfo info{};
  while (::read(signals_, &info, sizeof(info)) > 0) {
  }
  for (;;) {
    const pid_t pid = ::waitpid(-1, nullptr, WNOHANG);
    if (pid <= 0) return;
    std::erase_if(children_, [pid](const Child& child) { return child.pid == pid; });
  }
}

void LauncherProcess::KillLate() {
  const auto now = clock_.Steady();
  for (const Child& child : children_) {
    if (now >= child.kill_at) Kill(child.pid);
  }
}

/// Without CAP_KILL nobody but the worker's own user may signal it.
void LauncherProcess::Kill(pid_t pid) const {
  if (::kill(pid, SIGKILL) == 0 || errno != EPERM || !worker_) return;
  const pid_t killer = ::fork();
  if (killer == 0) {
    if (::setresuid(worker_->uid, worker_->uid, worker_->uid) == 0) ::kill(pid, SIGKILL);
    ::_exit(0);
  }
  if (killer > 0) ::waitpid(killer, nullptr, 0);
}

/// Tells at once what a worker would meet.
bool MayBecome(const process::Identity& identity) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    const bool good = ::setresgid(identity.gid, identity.gid, identity.gid) == 0 &&
                      ::setresuid(identity.uid, identity.uid, identity.uid) == 0;
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  return pid > 0 && ::waitpid(pid, &status, 0) == pid && status == 0;
}

}  // namespace

int RunLauncher(int argc, char** argv) {
  int kind = 0;
  socklen_t size = sizeof(kind);
  if (argc != 4 || ::getsockopt(kLauncherSocket, SOL_SOCKET, SO_TYPE, &kind, &size) != 0 || kind != SOCK_SEQPACKET) {
    std::fputs("signet: hsm-launcher is started by signet itself, not by hand\n", stderr);
    return 2;
  }
  ::fcntl(kLauncherSocket, F_SETFD, FD_CLOEXEC);
  ::prctl(PR_SET_NAME, "hsm-launcher");
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  process::HardenBasics();
  LauncherReply hello;
  std::optional<process::Identity> worker;
  if (std::strcmp(argv[2], "-") != 0) {
    const auto parsed = process::ParseIdentity(argv[2]);
    if (!parsed || !MayBecome(*parsed)) {
      hello.error = EPERM;
    } else {
      worker = *parsed;
    }
  }
  // Workers inherit it.
  if (std::strcmp(argv[3], "seccomp") == 0 && process::DenySystemCalls(process::Role::kWorker)) hello.pid = 1;
  (void)::send(kLauncherSocket, &hello, sizeof(hello), MSG_NOSIGNAL);
  if (hello.error != 0) return 1;
  sigset_t child;
  ::sigemptyset(&child);
  ::sigaddset(&child, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &child, nullptr);
  const base::UniqueFd signals(::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals.valid()) return 1;
  return LauncherProcess(worker, signals.get()).Run();
}

}  // namespace signet::token
