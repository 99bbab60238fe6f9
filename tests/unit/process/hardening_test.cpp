#include "process/hardening.hpp"

#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <functional>

#include "base/unique_fd.hpp"
#include "obs/metrics.hpp"
#include "process/signals.hpp"
#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::process {
namespace {

using base::Code;
using base::UniqueFd;
using testing::IsErr;
using testing::IsOk;

/// What is given up is given up for good, so each test does it in a process of its own. Returns its exit code.
int InChild(const std::function<int()>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(body());
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

long LandlockVersion() { return ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION); }
bool KernelHasLandlock() { return LandlockVersion() >= 1; }
bool KernelHasSeccomp() { return ::prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0; }

/// Becomes that program of /usr/bin. Returns false where it may not; one that ends with 0 would hide that it may.
bool Executes(std::string name) {
  const std::string path = "/usr/bin/" + name;
  char* const arguments[] = {name.data(), nullptr};
  ::execv(path.c_str(), arguments);
  return false;
}

bool Opens(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
  if (fd >= 0) ::close(fd);
  return fd >= 0;
}

TEST(HardeningTest, BasicsLeaveNoCoreNoDebuggerAndNoNewPrivileges) {
  EXPECT_EQ(0, InChild([] {
              HardenBasics();
              rlimit core{1, 1};
              ::getrlimit(RLIMIT_CORE, &core);
              if (core.rlim_cur != 0 || core.rlim_max != 0) return 1;
              if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) return 2;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
              if (::prctl(PR_GET_DUMPABLE) != 0) return 3;
#endif
              return 0;
            }));
}

TEST(HardeningTest, ConfinedProcessesReachTheirOwnFilesAlone) {
  const testing::TempFolder folder;
  for (const char* name : {"in", "out", "pin"}) std::filesystem::create_directory(folder.path() / name);
  for (const char* name : {"in/file", "out/file", "pin/file"}) folder.Write(name, "x");
  const std::string base = folder.path();
  const int got = InChild([&] {
    const auto confined = ConfineFiles({{base + "/in"}, {base + "/out", base + "/absent/deeper"}});
    if (!confined) return confined.error().code == Code::kUnimplemented ? 100 : 101;
    if (Opens(base + "/pin/file", O_RDONLY)) return 1;
    if (!Opens(base + "/in/file", O_RDONLY)) return 2;
    if (Opens(base + "/in/file", O_WRONLY)) return 3;
    if (Opens(base + "/in/new", O_WRONLY | O_CREAT)) return 4;
    if (!Opens(base + "/out/file", O_RDWR | O_TRUNC)) return 5;
    if (!Opens(base + "/out/new", O_RDWR | O_CREAT)) return 6;
    if (std::rename((base + "/out/new").c_str(), (base + "/out/other").c_str()) != 0) return 7;
    if (::unlink((base + "/out/other").c_str()) != 0) return 8;
    if (Opens("/etc/shadow", O_RDONLY)) return 9;
    if (!Opens("/etc/hosts", O_RDONLY) && ::access("/etc/hosts", F_OK) == 0) return 10;
    if (!Opens("/dev/urandom", O_RDONLY) || !Opens("/dev/null", O_RDWR) || !Opens("/proc/self/status", O_RDONLY))
      return 11;
    if (::symlink("/etc/shadow", (base + "/out/link").c_str()) == 0) return 12;
    if (LandlockVersion() >= 3 && ::truncate((base + "/in/file").c_str(), 0) == 0) return 13;
    const UniqueFd device(::open("/dev/null", O_RDWR | O_CLOEXEC));
    winsize window{};
    if (LandlockVersion() >= 5 && (::ioctl(device.get(), TIOCGWINSZ, &window) == 0 || errno != EACCES)) return 14;
    return Executes("false") || errno != EACCES ? 15 : 0;
  });
  EXPECT_EQ(got, KernelHasLandlock() ? 0 : 100);
}

TEST(HardeningTest, AConfinedProcessSignalsAndTracesNoOther) {
  const pid_t other = ::fork();
  if (other == 0) {
    for (;;) ::pause();
  }
  // A socket without a file, which the rules of files say nothing of.
  const UniqueFd server(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socklen_t size = sizeof(sa_family_t);
  ASSERT_EQ(::bind(server.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);  // the kernel finds a name
  size = sizeof(address);
  ASSERT_EQ(::getsockname(server.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  ASSERT_EQ(::listen(server.get(), 1), 0);
  const int got = InChild([&] {
    if (!ConfineFiles({})) return 100;
    const auto denied = [](long result) { return result < 0 && errno == EPERM; };
    if (!denied(::ptrace(PTRACE_ATTACH, other, nullptr, nullptr))) return 1;
    if (LandlockVersion() < 6) return 0;
    if (!denied(::kill(other, 0))) return 2;
    const UniqueFd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    return denied(::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), size)) ? 0 : 3;
  });
  ::kill(other, SIGKILL);
  ::waitpid(other, nullptr, 0);
  EXPECT_EQ(got, KernelHasLandlock() ? 0 : 100);
}

int CallsThatMustFail(Role role) {
  const auto denied = [](long result) { return result < 0 && errno == EPERM; };
  char here = 0;
  iovec one{&here, 1};
  if (!denied(::syscall(SYS_process_vm_readv, ::getpid(), &one, 1, &one, 1, 0))) return 1;
  if (!denied(::syscall(SYS_bpf, 0, nullptr, 0))) return 2;
  if (!denied(::syscall(SYS_mount, "a", "b", "c", 0, nullptr))) return 3;
  if (!denied(::syscall(SYS_unshare, CLONE_NEWUSER))) return 4;
  if (!denied(::syscall(SYS_userfaultfd, 0))) return 5;
  if (!denied(::syscall(SYS_keyctl, 0, 0, 0, 0, 0))) return 6;
  if (!denied(::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, nullptr))) return 7;
  if (::syscall(SYS_clone3, nullptr, 0) >= 0 || errno != ENOSYS) return 8;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  if (!denied(::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr))) return 9;
#endif
  if (role == Role::kFront && !denied(::setuid(::getuid()))) return 10;
  if (::fork() == 0) ::_exit(0);  // threads and processes are still to be had
  int status = 1;
  if (::wait(&status) < 0 || status != 0) return 11;
  if (role == Role::kFront) return Executes("false") || errno != EPERM ? 12 : 0;
  Executes("true");  // a vendor's module may start programs
  return 13;
}

TEST(HardeningTest, SystemCallsOfAttackersAreDenied) {
  for (const Role role : {Role::kFront, Role::kWorker}) {
    const int got = InChild([role] {
      if (const auto done = DenySystemCalls(role); !done) return done.error().code == Code::kUnimplemented ? 100 : 101;
      return CallsThatMustFail(role);
    });
    EXPECT_EQ(got, KernelHasSeccomp() ? 0 : 100) << (role == Role::kFront ? "front" : "worker");
  }
}

TEST(HardeningTest, ReportsWhatTheKernelHasGiven) {
  const int got = InChild([] {
    HardenFront({true, false}, {}).Publish();
    const std::string metrics = obs::RenderMetrics();
    const auto holds = [&](const char* feature, int value) {
      const std::string line = std::string("signet_hardening{feature=\"") + feature + "\"} " + std::to_string(value);
      return metrics.find(line) != std::string::npos;
    };
    if (!holds("no_core", 1) || !holds("no_new_privs", 1)) return 1;
    if (!holds("landlock", 0)) return 2;  // switched off
    return holds("seccomp", KernelHasSeccomp() ? 1 : 0) ? 0 : 3;
  });
  EXPECT_EQ(got, 0);
}

TEST(HardeningTest, BecomesAUserForGood) {
  if (::getuid() != 0) {
    EXPECT_EQ(0, InChild([] { return BecomeUser({12345, 12345}) ? 1 : 0; }));
    return;
  }
  EXPECT_EQ(0, InChild([] {
              const gid_t groups[] = {1, 2};
              if (::setgroups(2, groups) != 0) return 5;
              if (!BecomeUser({12345, 12346})) return 1;
              if (::getuid() != 12345 || ::geteuid() != 12345 || ::getegid() != 12346) return 2;
              if (::getgroups(0, nullptr) != 0) return 3;
              return ::setuid(0) == 0 ? 4 : 0;
            }));
}

TEST(HardeningTest, ReadsUsersAsNumbers) {
  EXPECT_EQ(ParseIdentity("7")->gid, 7U);
  EXPECT_EQ(ParseIdentity("7:8")->gid, 8U);
  for (const char* text : {"", "0", "root", "7:", ":7", "7:0", "-1", "7 ", "4294967295", "7:8:9", "0:7"}) {
    EXPECT_THAT(ParseIdentity(text), IsErr(Code::kInvalidArgument)) << text;
  }
}

TEST(SignalsTest, NothingThatAServiceManagerSendsEndsAServiceUnasked) {
  for (const int signal : {SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGVTALRM, SIGPROF, SIGPOLL, SIGXFSZ, SIGTSTP,
                           SIGTTIN, SIGTTOU, SIGWINCH, SIGURG, SIGCONT, SIGRTMIN, SIGRTMIN + 3, SIGRTMAX}) {
    EXPECT_EQ(0, InChild([signal] {
                PrepareSignals();
                ::raise(signal);
                return 0;
              }))
        << signal;
  }
}

TEST(SignalsTest, UndoesWhatTheParentLeft) {
  EXPECT_EQ(128 + SIGTERM, InChild([] {
              sigset_t all;
              ::sigfillset(&all);
              ::sigprocmask(SIG_SETMASK, &all, nullptr);
              std::signal(SIGTERM, SIG_IGN);  // NOLINT(cert-err33-c)
              PrepareSignals();
              ::raise(SIGTERM);
              return 0;
            }));
}

TEST(SignalsTest, RaisesTheLimitOfOpenFiles) {
  EXPECT_EQ(0, InChild([] {
              rlimit limit{64, 2048};
              if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
              PrepareFileLimit();
              ::getrlimit(RLIMIT_NOFILE, &limit);
              return limit.rlim_cur == 2048 ? 0 : 2;
            }));
}

}  // namespace
}  // namespace signet::process
