// token/spawn_plan.hpp - how our own processes are started. Private to src/token.
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

#include <csignal>
#include <initializer_list>

#include "base/unique_fd.hpp"

namespace signet::token {

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

  /// `descriptors` become 3, 4 and so on, and are above those (Lift). 0 or errno.
  int Fill(std::initializer_list<int> descriptors) {
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
    int next = STDERR_FILENO + 1;
    for (const int descriptor : descriptors) {
      if (failed == 0) failed = ::posix_spawn_file_actions_adddup2(&actions, descriptor, next);
      ++next;
    }
    if (failed == 0) failed = ::posix_spawn_file_actions_addclosefrom_np(&actions, next);
    return failed;
  }

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

/// Out of the way of the numbers that the child will find: neither 0 to 2, of a parent that has closed its standard
/// streams, nor one up to `last` that a dup2 would overwrite before its own turn.
inline base::UniqueFd Lift(base::UniqueFd fd, int last) {
  if (fd.get() > last) return fd;
  return base::UniqueFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, last + 1));
}

}  // namespace signet::token
