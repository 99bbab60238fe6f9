#include "cli/exec_plugin.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/environment.hpp"
#include "base/unique_fd.hpp"
#include "config/exec_credential.hpp"

namespace signet::cli {
namespace {

using kube::ExecPlugin;

constexpr std::size_t kMaxOutput = 1U << 20;
constexpr std::chrono::seconds kMargin{10};  // a credential is not used in its last seconds

bool IsProgram(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

/// "5 minutes"
std::string TextOf(std::chrono::milliseconds limit) {
  const auto whole = std::chrono::floor<std::chrono::minutes>(limit);
  return whole == limit ? fmt::format("{} minutes", whole.count()) : fmt::format("{} ms", limit.count());
}

/// The program's path; empty: there is none.
std::string FindProgram(const std::string& command, const std::string& path) {
  if (command.find('/') != std::string::npos) return IsProgram(command) ? command : "";
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find(':', at), path.size());
    const std::string folder = path.substr(at, end - at);
    // As Go does: what lies in the working directory is not run by chance.
    if (folder.starts_with('/') && IsProgram(folder + "/" + command)) return folder + "/" + command;
    at = end + 1;
  }
  return "";
}

class PluginCredentials final : public kube::CredentialSource {
 public:
  PluginCredentials(ExecPlugin plugin, std::string path, std::string info, bool interactive,
                    std::chrono::milliseconds limit)
      : plugin_(std::move(plugin)),
        path_(std::move(path)),
        info_(std::move(info)),
        interactive_(interactive),
        limit_(limit) {}

  base::Result<std::shared_ptr<const kube::Credential>> Get() override {
    const std::lock_guard lock(mutex_);
    if (current_ != nullptr && (!expires_ || base::SystemClock().Now() + kMargin < *expires_)) return current_;
    TRY(std::string printed, Run());
    auto fetched = config::ParseExecCredential(printed, plugin_.api_version);
    base::WipeMemory(printed.data(), printed.size());
    if (!fetched) return Failed(fetched.error().message);
    expires_ = fetched->expires;
    current_ = std::make_shared<const kube::Credential>(std::move(fetched->credential));
    return current_;
  }
  void Refuse(const std::shared_ptr<const kube::Credential>& refused) override {
    const std::lock_guard lock(mutex_);
    if (current_ == refused) current_.reset();
  }

 private:
  [[nodiscard]] base::Error Failed(std::string_view what) const {
    return base::MakeError(base::Code::kFailedPrecondition, std::string(kPluginFailed),
                           fmt::format("{}: credential plugin {}: {}", plugin_.where, plugin_.command, what));
  }
  [[nodiscard]] base::Result<std::string> Run() const;
  [[nodiscard]] base::Result<pid_t> Start(int in, int out) const;
  /// Reads until the plugin has ended; whom it leaves behind with its stdout is not waited for.
  [[nodiscard]] base::Result<std::string> Read(int out, pid_t plugin) const;

  const ExecPlugin plugin_;
  const std::string path_;
  const std::string info_;
  const bool interactive_;
  const std::chrono::milliseconds limit_;
  std::mutex mutex_;
  std::shared_ptr<const kube::Credential> current_;
  std::optional<base::TimePoint> expires_;
};

base::Result<pid_t> PluginCredentials::Start(int in, int out) const {
  const std::string program = FindProgram(plugin_.command, path_);
  if (program.empty()) {
    std::string hint = plugin_.install_hint;
    std::replace(hint.begin(), hint.end(), '\n', ' ');
    return Failed(hint.empty() ? "is not installed" : "is not installed: " + hint);
  }
  std::vector<std::string> arguments{plugin_.command};
  arguments.insert(arguments.end(), plugin_.arguments.begin(), plugin_.arguments.end());
  auto environment = base::ChildEnvironment();
  const auto set = [&environment](const std::string& name, const std::string& value) {
    std::erase_if(environment, [&](const std::string& entry) { return entry.starts_with(name + "="); });
    environment.push_back(name + "=" + value);
  };
  for (const auto& [name, value] : plugin_.environment) set(name, value);
  set("KUBERNETES_EXEC_INFO", info_);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (in >= 0) posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  pid_t child = 0;
  const int failed = posix_spawn(&child, program.c_str(), &actions, nullptr, base::EntryPointers(arguments).data(),
                                 base::EntryPointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return Failed(base::ErrnoError(base::Code::kInternal, "cannot be run", failed).message);
  return child;
}

base::Result<std::string> PluginCredentials::Read(int out, pid_t plugin) const {
  const base::UniqueFd ended(static_cast<int>(::syscall(SYS_pidfd_open, plugin, 0)));  // -1, which poll passes over
  const auto end = base::SystemClock().Steady() + limit_;
  std::string printed;
  std::array<char, 4096> buffer{};
  bool closed = false;  // its stdout
  for (bool runs = true; runs;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - base::SystemClock().Steady()).count();
    if (!interactive_ && left <= 0) return Failed(fmt::format("has not ended after {}", TextOf(limit_)));
    std::array<pollfd, 2> ready{pollfd{closed ? -1 : out, POLLIN, 0}, pollfd{ended.get(), POLLIN, 0}};
    if (::poll(ready.data(), ready.size(), interactive_ ? -1 : static_cast<int>(left)) <= 0) continue;
    // Once it has ended, what it has printed is in the pipe: `out` does not block.
    runs = ready[1].revents == 0;
    while (!closed) {
      const auto got = ::read(out, buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno == EAGAIN) break;
      closed = got <= 0;
      if (closed && !ended.valid()) return printed;
      if (closed) break;
      printed.append(buffer.data(), static_cast<std::size_t>(got));
      if (printed.size() > kMaxOutput) return Failed("prints more than 1 MiB");
    }
  }
  return printed;
}

base::Result<std::string> PluginCredentials::Run() const {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return Failed("no pipe for its output");
  const base::UniqueFd reader(ends[0]);
  base::UniqueFd writer(ends[1]);
  ::fcntl(reader.get(), F_SETFL, O_NONBLOCK);
  const base::UniqueFd none(interactive_ ? -1 : ::open("/dev/null", O_RDONLY | O_CLOEXEC));
  TRY(const pid_t child, Start(none.get(), writer.get()));
  writer.Close();
  auto printed = Read(reader.get(), child);
  if (!printed) ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!printed) return printed;
  if (WIFSIGNALED(status)) return Failed(fmt::format("was ended by signal {}", WTERMSIG(status)));
  if (WEXITSTATUS(status) != 0) {
    return Failed(fmt::format("ended with exit code {} (what it says is above)", WEXITSTATUS(status)));
  }
  return printed;
}

}  // namespace

base::Result<std::shared_ptr<kube::CredentialSource>> MakePluginCredentials(const kube::ClusterConfig& config,
                                                                            std::string path, bool in_is_terminal,
                                                                            std::chrono::milliseconds limit) {
  const ExecPlugin& plugin = *config.exec;
  if (plugin.interactive == ExecPlugin::Interactive::kAlways && !in_is_terminal) {
    return base::MakeError(base::Code::kFailedPrecondition, std::string(kPluginFailed),
                           fmt::format("{}: credential plugin {} needs a terminal (interactiveMode: Always), and stdin "
                                       "is none",
                                       plugin.where, plugin.command));
  }
  const bool interactive = in_is_terminal && plugin.interactive != ExecPlugin::Interactive::kNever;
  auto info = config::MakeExecInfo(config, interactive);
  if (!info) return base::MakeError(base::Code::kFailedPrecondition, std::string(kPluginFailed), info.error().message);
  return std::shared_ptr<kube::CredentialSource>(
      std::make_shared<PluginCredentials>(plugin, std::move(path), std::move(*info), interactive, limit));
}

}  // namespace signet::cli
