#include <sched.h>
#include <seccomp.h>
#include <sys/prctl.h>

#include <cerrno>
#include <memory>

#include "process/hardening.hpp"

namespace signet::process {
namespace {

/// Of no use to us, and of much use to whoever has taken the process over: other processes' memory, the kernel's own
/// machinery, mounts and namespaces, keys, and interfaces whose bugs are found again and again.
constexpr const char* kDenied[] = {
    "acct",
    "add_key",
    "bpf",
    "clock_adjtime",
    "clock_settime",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "migrate_pages",
    "mount",
    "mount_setattr",
    "move_mount",
    "move_pages",
    "name_to_handle_at",
    "nfsservctl",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "personality",
    "pidfd_getfd",
    "pivot_root",
    "process_madvise",
    "process_vm_readv",
    "process_vm_writev",
    "quotactl",
    "reboot",
    "request_key",
    "setdomainname",
    "sethostname",
    "setns",
    "settimeofday",
    "stime",
    "swapoff",
    "swapon",
    "syslog",
    "umount",
    "umount2",
    "unshare",
    "uselib",
    "userfaultfd",
    "vhangup",
    "vmsplice",
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    "ptrace",  // leak checkers trace their own process
#endif
};

/// The front starts no program and has no other user to become.
constexpr const char* kDeniedToFront[] = {
    "chroot", "execve",    "execveat", "mknod",     "mknodat",   "setfsgid", "setfsuid",
    "setgid", "setgroups", "setregid", "setresgid", "setresuid", "setreuid", "setuid",
};

constexpr unsigned kNamespaces[] = {CLONE_NEWUSER, CLONE_NEWNS,     CLONE_NEWPID, CLONE_NEWNET,
                                    CLONE_NEWIPC,  CLONE_NEWCGROUP, CLONE_NEWUTS};

}  // namespace

base::Status DenySystemCalls(Role role) {
  const std::unique_ptr<void, decltype(&::seccomp_release)> filter(::seccomp_init(SCMP_ACT_ALLOW), ::seccomp_release);
  if (!filter) return base::MakeError(base::Code::kUnimplemented, "no seccomp filter can be made");
  const auto deny = [&](const char* name) {
    const int number = ::seccomp_syscall_resolve_name(name);
    // One that this library or architecture does not know cannot be named, nor called by its number here.
    return number == __NR_SCMP_ERROR ? 0 : ::seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EPERM), number, 0);
  };
  int failed = 0;
  // New namespaces by clone; clone3's arguments cannot be looked at, and without it the C library uses clone.
  for (const unsigned flag : kNamespaces) {
    const scmp_arg_cmp has{0, SCMP_CMP_MASKED_EQ, flag, flag};
    if (failed == 0) failed = ::seccomp_rule_add_array(filter.get(), SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1, &has);
  }
  if (failed == 0) failed = ::seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
  for (const char* name : kDenied) failed = failed != 0 ? failed : deny(name);
  if (role == Role::kFront) {
    for (const char* name : kDeniedToFront) failed = failed != 0 ? failed : deny(name);
  }
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (failed == 0) failed = ::seccomp_load(filter.get());
  if (failed == 0) return {};
  return base::ErrnoError(failed == -EINVAL || failed == -ENOSYS ? base::Code::kUnimplemented : base::Code::kInternal,
                          "the kernel takes no seccomp filter", -failed);
}

}  // namespace signet::process
