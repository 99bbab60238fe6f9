#include "process/signals.hpp"

#include <sys/resource.h>

#include <csignal>

#include "obs/log.hpp"

namespace signet::process {
namespace {

constexpr int kDefault[] = {SIGTERM, SIGINT, SIGQUIT, SIGPWR, SIGXCPU, SIGCHLD};
constexpr int kIgnored[] = {SIGHUP,    SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGVTALRM, SIGPROF,
                            SIGSTKFLT, SIGPOLL, SIGXFSZ, SIGTSTP, SIGTTIN, SIGTTOU};
constexpr rlim_t kEnoughFiles = 4096;  // 1024 connections a port, and what the process needs itself
constexpr rlim_t kMostFiles = 1U << 20;

void Set(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  ::sigaction(signal, &action, nullptr);
}

}  // namespace

void PrepareSignals() {
  for (const int signal : kDefault) Set(signal, SIG_DFL);
  for (const int signal : kIgnored) Set(signal, SIG_IGN);
  for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) Set(signal, SIG_IGN);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

std::uint64_t RaiseFileLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  // Not beyond reason: some libraries close every descriptor up to the limit.
  const rlim_t wanted = limit.rlim_max < kMostFiles ? limit.rlim_max : kMostFiles;
  if (limit.rlim_cur < wanted) {
    limit.rlim_cur = wanted;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  return limit.rlim_cur;
}

void PrepareFileLimit() {
  const auto limit = RaiseFileLimit();
  if (limit == 0 || limit >= kEnoughFiles) return;
  obs::Warn("few files may be open: connections beyond that wait; raise the limit (LimitNOFILE=, ulimit -n)",
            {{"limit", limit}, {"wanted", kEnoughFiles}});
}

}  // namespace signet::process
