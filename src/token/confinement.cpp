#include "token/confinement.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/unique_fd.hpp"

namespace signet::token {
namespace {

bool IsDenied(const std::string& path, int flags) {
  const base::UniqueFd fd(::open(path.c_str(), flags | O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  return !fd.valid() && (errno == EACCES || errno == EPERM);
}

/// Asks the kernel. A file that is not there yet will be in its folder.
bool IsOutOfReach(const std::string& file) {
  if (::access(file.c_str(), F_OK) == 0) return IsDenied(file, 0);
  const auto folder = std::filesystem::path(file).parent_path();
  return IsDenied(folder.empty() ? "." : folder.string(), O_DIRECTORY);
}

}  // namespace

base::Status Confine(const ConfinementOptions& options) {
  std::shared_ptr<Launcher> launcher;
  if (options.uses_hsm) {
    Launcher::Options start;
    start.worker = options.worker_user;
    start.seccomp = options.switches.seccomp;
    TRY(launcher, Launcher::Start(start));
  }
  if (!options.state_dir.empty()) {
    std::error_code failed;
    const bool made = std::filesystem::create_directories(options.state_dir, failed);
    // Both write there: docs/hardening.md.
    if (made && options.user && options.worker_user &&
        (::chown(options.state_dir.c_str(), options.worker_user->uid, options.user->gid) != 0 ||
         ::chmod(options.state_dir.c_str(), 02770) != 0)) {
      return base::ErrnoError(base::Code::kFailedPrecondition, "cannot prepare the folder " + options.state_dir, errno);
    }
  }
  if (options.user) TRY_VOID(process::BecomeUser(*options.user));
  process::Files files = options.files;
  if (!options.state_dir.empty()) files.write.push_back(options.state_dir);
  process::Report report = process::HardenFront(options.switches, files);
  if (launcher) {
    const auto& pins = options.pin_files;
    report.Set("pin_out_of_reach", std::all_of(pins.begin(), pins.end(), IsOutOfReach),
               "this process could open a PIN file: keep it in a folder of its own");
    report.Set("worker_user", launcher->IsolatesWorkers(), "HSM workers run as the same user: see --worker-user");
    report.Set("worker_seccomp", launcher->DeniesSystemCalls(),
               options.switches.seccomp ? "the kernel has none" : "switched off");
  }
  report.Publish();
  Launcher::SetOfProcess(std::move(launcher));
  return {};
}

}  // namespace signet::token
