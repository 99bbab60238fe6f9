// token/launcher.hpp - the small process that starts HSM workers, and the front's handle on it.
//
// It parses nothing but fixed messages of the front: it keeps the right to start workers, as another user where that is
// wanted, so that the front can give that right up. It does no more than start workers, each with the two descriptors
// that the front sends, and end those that it started. When it dies, so does everything: the front ends, and the
// workers find their channels closed. When the front dies, it ends, and the workers end as orphans do.
//
// Ownership:     shared by whoever starts workers. Thread-safety: one thread.
// Blocking:      Start and StartWorker as long as a process takes to start; the destructor until all have ended.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "process/hardening.hpp"

namespace signet::token {

class Launcher {
 public:
  struct Options {
    std::string executable = "/proc/self/exe";
    std::optional<process::Identity> worker;  ///< nothing: workers run as the launcher does
    bool seccomp = true;
  };
  /// Call it before anything is given up, and before other threads.
  static base::Result<std::shared_ptr<Launcher>> Start(const Options& options);
  /// The one that a confined process started before it gave the right up; nullptr: none.
  static std::shared_ptr<Launcher> OfProcess();
  static void SetOfProcess(std::shared_ptr<Launcher> launcher);
  ~Launcher();  ///< workers get a moment to end, then they are killed
  Launcher(const Launcher&) = delete;
  Launcher& operator=(const Launcher&) = delete;

  /// Both descriptors stay the caller's.
  base::Result<pid_t> StartWorker(int socket, int memory);
  /// The worker should end now that its channel is closed; it is killed if it has not within two seconds.
  void Release(pid_t worker);
  void Kill(pid_t worker);

  /// Readable when the launcher has ended.
  [[nodiscard]] int fd() const { return socket_.get(); }
  [[nodiscard]] bool IsGone() const;
  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Whether workers run as another user than this process does now.
  [[nodiscard]] bool IsolatesWorkers() const;
  /// Whether workers are denied the system calls that no module needs.
  [[nodiscard]] bool DeniesSystemCalls() const { return denies_; }

 private:
  Launcher(base::UniqueFd socket, pid_t pid, std::optional<process::Identity> worker)
      : socket_(std::move(socket)), pid_(pid), worker_(worker) {}

  base::UniqueFd socket_;
  pid_t pid_;
  std::optional<process::Identity> worker_;
  std::uint32_t last_id_ = 0;
  bool denies_ = false;
};

/// argv[1] of the launcher; then UID:GID or "-", and "seccomp" or "-".
inline constexpr const char* kLauncherArgument = "hsm-launcher";
/// The launcher process; `argv` as above. Returns its exit code.
int RunLauncher(int argc, char** argv);

// ---- the messages, private to the two ends ----

inline constexpr int kLauncherSocket = 3;

struct LauncherRequest {
  enum class Kind : std::uint32_t { kStart = 1, kRelease, kKill, kFinish };
  Kind kind = Kind::kFinish;
  std::uint32_t id = 0;
  std::int32_t pid = 0;
};
/// The first one, with id 0, tells how the launcher has started; pid 1: with a system call filter.
struct LauncherReply {
  std::uint32_t id = 0;
  std::int32_t pid = 0;
  std::int32_t error = 0;  ///< errno; 0: started
};

}  // namespace signet::token
