#include "process/hardening.hpp"

#include <grp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <utility>

#include "obs/log.hpp"
#include "obs/metrics.hpp"

namespace signet::process {
namespace {

bool ParseId(std::string_view text, std::uint32_t& id) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  return error == std::errc() && end == text.data() + text.size() && id != 0 && id != UINT32_MAX;
}

/// What the kernel says, not what we have asked for.
void ReportBasics(Report& report) {
  rlimit core{};
  report.Set("no_core", ::getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0);
  report.Set("not_dumpable", ::prctl(PR_GET_DUMPABLE) == 0);
  report.Set("no_new_privs", ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
}

}  // namespace

base::Result<Identity> ParseIdentity(const std::string& text) {
  const auto colon = text.find(':');
  Identity identity;
  const bool good = ParseId(std::string_view(text).substr(0, colon), identity.uid) &&
                    (colon == std::string::npos || ParseId(std::string_view(text).substr(colon + 1), identity.gid));
  if (!good) {
    return base::MakeError(base::Code::kInvalidArgument, "ConfigInvalid",
                           "not a user: \"" + text + "\"; write UID or UID:GID as numbers from 1 on");
  }
  if (colon == std::string::npos) identity.gid = identity.uid;
  return identity;
}

void HardenBasics() {
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  ::prctl(PR_SET_DUMPABLE, 0);  // leak checkers attach to their own process
#endif
}

base::Status BecomeUser(const Identity& identity) {
  if (::setgroups(0, nullptr) == 0 && ::setresgid(identity.gid, identity.gid, identity.gid) == 0 &&
      ::setresuid(identity.uid, identity.uid, identity.uid) == 0 && ::setuid(0) != 0) {
    return {};
  }
  auto error = base::ErrnoError(base::Code::kFailedPrecondition,
                                "cannot become user " + std::to_string(identity.uid) +
                                    ": start as root with CAP_SETUID and CAP_SETGID, or leave --user out",
                                errno);
  error.reason = "UserUnusable";
  return error;
}

void Report::Set(const char* feature, bool on, std::string why_not) {
  lines_.push_back({feature, on, std::move(why_not)});
}

void Report::Publish() const {
  std::string on;
  std::string off;
  for (const Line& line : lines_) {
    obs::GetGauge("signet_hardening", "1 where the process is hardened by the feature.", {{"feature", line.feature}})
        .Set(line.on ? 1 : 0);
    std::string& list = line.on ? on : off;
    list += (list.empty() ? "" : ", ") + std::string(line.feature);
    if (!line.on && !line.why_not.empty()) list += " (" + line.why_not + ")";
  }
  obs::Info("hardening", {{"on", on}, {"off", off}});
}

Report HardenFront(const Switches& switches, const Files& files) {
  Report report;
  HardenBasics();
  ReportBasics(report);
  const auto apply = [&report](const char* feature, bool wanted, const auto& act) {
    const base::Status done = wanted ? act() : base::Status();
    report.Set(feature, wanted && done, !wanted ? "switched off" : done ? "" : base::Describe(done.error()));
  };
  apply("landlock", switches.landlock, [&] { return ConfineFiles(files); });
  apply("seccomp", switches.seccomp, [] { return DenySystemCalls(Role::kFront); });
  return report;
}

std::vector<std::string> SystemFiles() {
  std::vector<std::string> files = {"/usr",
                                    "/lib",
                                    "/lib64",
                                    "/bin",
                                    "/proc",
                                    "/sys/fs/cgroup",
                                    "/sys/devices/system/cpu",
                                    "/dev/null",
                                    "/dev/urandom",
                                    "/dev/random",
                                    "/etc/ssl",
                                    "/etc/pki",
                                    "/etc/ca-certificates",
                                    "/etc/hosts",
                                    "/etc/host.conf",
                                    "/etc/nsswitch.conf",
                                    "/etc/gai.conf",
                                    "/etc/services",
                                    "/etc/protocols",
                                    "/etc/passwd",
                                    "/etc/group",
                                    "/etc/ld.so.cache",
                                    "/etc/localtime",
                                    "/etc/timezone",
                                    "/etc/resolv.conf"};
  // Where the resolver's file is a link, the file behind it is replaced now and then.
  std::error_code error;
  const auto behind = std::filesystem::canonical("/etc/resolv.conf", error);
  if (!error && behind.parent_path() != "/etc") files.push_back(behind.parent_path());
  return files;
}

}  // namespace signet::process
