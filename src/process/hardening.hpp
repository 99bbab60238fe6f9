// process/hardening.hpp - what a process gives up before it reads its first request, as far as the kernel lets it.
//
// Whoever takes over a process keeps what it has. So it gives up what it does not need: cores and debuggers (its memory
// holds tokens of callers), privileges by exec, system calls (seccomp), files and other processes (Landlock).
//
// Thread-safety: before any other thread: the kernel confines the calling thread and those that it starts.
// Errors:        what the kernel does not have is reported, never fatal. What was asked for by name (a user) is fatal.
// Sources:       prctl(2), seccomp(2), landlock(7), credentials(7).
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.hpp"

namespace signet::process {

/// Set by administrators who meet a module or a kernel that does not bear it.
struct Switches {
  bool seccomp = true;
  bool landlock = true;
};

struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
};
/// "UID" or "UID:GID", numbers; without GID the same number. Root is no user to give rights up to.
base::Result<Identity> ParseIdentity(const std::string& text);

/// What a confined process may still do to files. A path that does not exist is not reached later either.
struct Files {
  std::vector<std::string> read;   ///< files and folders, with all below
  std::vector<std::string> write;  ///< folders: create, write, rename and remove below them, and read
};

enum class Role {
  kFront,   ///< parses requests: starts no program, loads no vendor's module
  kWorker,  ///< runs a vendor's module, which may start programs
};

/// No core files, no debugger or reader of the same user's, no privileges by exec. All that commands need, too.
void HardenBasics();

/// Becomes `identity`, with no supplementary group, for good. Must be root.
base::Status BecomeUser(const Identity& identity);

/// Denies (EPERM) system calls that the role has no use for and that attackers have.
/// @return kUnimplemented the kernel has no seccomp filters
base::Status DenySystemCalls(Role role);

/// Confines the process to `files`, and keeps it from signalling or tracing processes outside.
/// @return kUnimplemented the kernel has no Landlock
base::Status ConfineFiles(const Files& files);

/// What holds for this process, in the log (one line) and as metrics signet_hardening{feature}.
class Report {
 public:
  void Set(const char* feature, bool on, std::string why_not = "");
  void Publish() const;

 private:
  struct Line {
    const char* feature;
    bool on;
    std::string why_not;
  };
  std::vector<Line> lines_;
};

/// For the process that parses requests: basics, files, system calls. What holds then, to be published.
Report HardenFront(const Switches& switches, const Files& files);

/// Root certificates, the resolver's configuration, time zones, libraries: what any of our programs reads.
std::vector<std::string> SystemFiles();

}  // namespace signet::process
