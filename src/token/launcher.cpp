#include "token/launcher.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>
#include <vector>

#include "base/environment.hpp"
#include "token/spawn_plan.hpp"

namespace signet::token {
namespace {

using namespace std::chrono_literals;

constexpr int kReplyTimeout = 10'000;                   // ms
constexpr std::chrono::milliseconds kEndTimeout = 10s;  // longer than the launcher waits for its workers

base::Error Gone() {
  return base::MakeError(base::Code::kInternal, "LauncherGone", "the launcher of the HSM workers does not answer");
}

bool Send(int socket, const LauncherRequest& request, const std::array<int, 2>* descriptors = nullptr) {
  iovec data{const_cast<LauncherRequest*>(&request), sizeof(request)};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 2)> control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (descriptors != nullptr) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * 2);
    std::memcpy(CMSG_DATA(header), descriptors->data(), sizeof(int) * 2);
  }
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(sizeof(request));
}

/// Waits for it, whether the descriptor does or not: a reactor that watches one makes it non-blocking.
bool Receive(int socket, LauncherReply& reply) {
  for (;;) {
    pollfd ready{socket, POLLIN, 0};
    const int count = ::poll(&ready, 1, kReplyTimeout);
    if (count < 0 && errno == EINTR) continue;
    return count > 0 && ::recv(socket, &reply, sizeof(reply), MSG_DONTWAIT) == static_cast<ssize_t>(sizeof(reply));
  }
}

}  // namespace

base::Result<std::shared_ptr<Launcher>> Launcher::Start(const Options& options) {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return base::ErrnoError(base::Code::kInternal, "cannot make a socket for the launcher", errno);
  }
  base::UniqueFd ours(ends[0]);
  const base::UniqueFd theirs = Lift(base::UniqueFd(ends[1]), kLauncherSocket);
  SpawnPlan plan;
  if (const int failed = plan.Fill({theirs.get()}); failed != 0) {
    return base::ErrnoError(base::Code::kInternal, "cannot prepare the launcher", failed);
  }
  std::vector<std::string> words = {"signet-hsm-launcher", kLauncherArgument, "-", options.seccomp ? "seccomp" : "-"};
  if (options.worker) {
    words[2] = std::to_string(options.worker->uid) + ":" + std::to_string(options.worker->gid);
  }
  // The vendor's module gets its administrator's environment, not what this process has set for itself.
  std::vector<std::string> environment = base::ChildEnvironment();
  pid_t pid = 0;
  const int failed = ::posix_spawn(&pid, options.executable.c_str(), &plan.actions, &plan.attributes,
                                   base::EntryPointers(words).data(), base::EntryPointers(environment).data());
  if (failed != 0) return base::ErrnoError(base::Code::kInternal, "cannot start the launcher of HSM workers", failed);
  std::shared_ptr<Launcher> launcher(new Launcher(std::move(ours), pid, options.worker));
  LauncherReply hello;
  if (!Receive(launcher->fd(), hello)) return Gone();
  if (hello.error != 0) {
    return base::MakeError(base::Code::kFailedPrecondition, "UserUnusable",
                           "cannot start HSM workers as user " + words[2] +
                               ": start as root with CAP_SETUID and CAP_SETGID, or leave --worker-user out");
  }
  launcher->denies_ = hello.pid == 1;
  return launcher;
}

namespace {
std::shared_ptr<Launcher>& TheOne() {
  static std::shared_ptr<Launcher> launcher;
  return launcher;
}
}  // namespace

std::shared_ptr<Launcher> Launcher::OfProcess() { return TheOne(); }
void Launcher::SetOfProcess(std::shared_ptr<Launcher> launcher) { TheOne() = std::move(launcher); }

Launcher::~Launcher() {
  Send(socket_.get(), {LauncherRequest::Kind::kFinish, 0, 0});
  for (auto left = kEndTimeout; left > 0ms; left -= 10ms) {
    const pid_t got = ::waitpid(pid_, nullptr, WNOHANG);
    if (got == pid_ || (got < 0 && errno == ECHILD)) return;
    std::this_thread::sleep_for(10ms);  // the loop has ended: nothing else can wait for it
  }
}

base::Result<pid_t> Launcher::StartWorker(int socket, int memory) {
  const std::array<int, 2> descriptors = {socket, memory};
  const LauncherRequest request{LauncherRequest::Kind::kStart, ++last_id_, 0};
  if (!Send(socket_.get(), request, &descriptors)) return Gone();
  for (;;) {
    LauncherReply reply;
    if (!Receive(socket_.get(), reply)) return Gone();
    if (reply.id != request.id) continue;  // of a call that had timed out
    if (reply.error != 0) {
      return base::ErrnoError(base::Code::kInternal, "cannot start a worker process", reply.error);
    }
    return reply.pid;
  }
}

void Launcher::Release(pid_t worker) { Send(socket_.get(), {LauncherRequest::Kind::kRelease, 0, worker}); }
void Launcher::Kill(pid_t worker) { Send(socket_.get(), {LauncherRequest::Kind::kKill, 0, worker}); }

bool Launcher::IsGone() const {
  LauncherReply late;
  for (;;) {
    const ssize_t size = ::recv(socket_.get(), &late, sizeof(late), MSG_DONTWAIT);
    if (size > 0) continue;
    return size == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
  }
}

bool Launcher::IsolatesWorkers() const { return worker_ && worker_->uid != ::getuid(); }

}  // namespace signet::token
