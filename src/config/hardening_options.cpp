#include "config/hardening_options.hpp"

#include <filesystem>
#include <utility>

#include "config/reader.hpp"

namespace signet::config {

void ReadHardening(Reader section, HardeningOptions& out) {
  section.Text("user", out.user);
  section.Text("workerUser", out.worker_user);
  section.Flag("seccomp", out.seccomp);
  section.Flag("landlock", out.landlock);
}

base::Status Validate(const HardeningOptions& options, bool uses_hsm) {
  for (const auto& [name, value] :
       {std::pair{"--user", &options.user}, std::pair{"--worker-user", &options.worker_user}}) {
    if (value->empty()) continue;
    if (const auto identity = process::ParseIdentity(*value); !identity) {
      return ConfigError(std::string(name) + ": " + identity.error().message);
    }
  }
  if (uses_hsm && options.user.empty() != options.worker_user.empty()) {
    return ConfigError(
        "--user and --worker-user go together: one for the process that parses requests, one for the HSM workers");
  }
  if (!uses_hsm && !options.worker_user.empty())
    return ConfigError("--worker-user: there are no HSM workers in gateway mode");
  if (!options.user.empty() && !options.worker_user.empty() &&
      process::ParseIdentity(options.user)->uid == process::ParseIdentity(options.worker_user)->uid) {
    return ConfigError("--user and --worker-user name one user: choose two");
  }
  return {};
}

void AddFolders(const std::string& file, std::vector<std::string>& folders) {
  if (file.empty()) return;
  const auto add = [&folders](const std::filesystem::path& path) {
    const auto folder = path.parent_path().string();
    folders.push_back(folder.empty() ? "." : folder);
  };
  add(file);
  std::error_code error;
  if (!std::filesystem::is_symlink(file, error)) return;
  const auto behind = std::filesystem::weakly_canonical(file, error);
  if (!error) add(behind);
}

base::Result<token::ConfinementOptions> ToConfinement(const HardeningOptions& options, process::Files files) {
  token::ConfinementOptions out;
  out.switches = {options.seccomp, options.landlock};
  for (auto* list : {&files.read, &files.write}) std::erase(*list, "");
  out.files = std::move(files);
  if (!options.user.empty()) {
    TRY(out.user, process::ParseIdentity(options.user));
  }
  if (!options.worker_user.empty()) {
    TRY(out.worker_user, process::ParseIdentity(options.worker_user));
  }
  return out;
}

base::Result<token::ConfinementOptions> ToConfinement(const HardeningOptions& options, process::Files files,
                                                      const HsmOptions& hsm) {
  TRY(auto out, ToConfinement(options, std::move(files)));
  out.uses_hsm = true;
  out.state_dir = hsm.state_dir;
  if (!hsm.pin_file.empty()) out.pin_files.push_back(hsm.pin_file);
  for (const auto& token : hsm.tokens) out.pin_files.push_back(token.pin_file);
  return out;
}

}  // namespace signet::config
