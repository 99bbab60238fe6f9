// glibc has no functions for Landlock: its three system calls, as linux/landlock.h describes them.
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/unique_fd.hpp"
#include "process/hardening.hpp"

namespace signet::process {
namespace {

using base::UniqueFd;

// Of headers newer than Debian 12's.
constexpr std::uint64_t kRefer = 1ULL << 13;               // ABI 2
constexpr std::uint64_t kTruncate = 1ULL << 14;            // ABI 3
constexpr std::uint64_t kIoctlDev = 1ULL << 15;            // ABI 5
constexpr std::uint64_t kScopeAbstractSocket = 1ULL << 0;  // ABI 6
constexpr std::uint64_t kScopeSignal = 1ULL << 1;

struct RulesetAttributes {
  std::uint64_t files;
  std::uint64_t net;    // ABI 4
  std::uint64_t scope;  // ABI 6
};

constexpr std::uint64_t kReadFile = LANDLOCK_ACCESS_FS_READ_FILE;
constexpr std::uint64_t kRead = kReadFile | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t kWriteFile = LANDLOCK_ACCESS_FS_WRITE_FILE;
constexpr std::uint64_t kMake = LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                                LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR |
                                LANDLOCK_ACCESS_FS_MAKE_SOCK;
constexpr std::uint64_t kNever = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                                 LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                                 LANDLOCK_ACCESS_FS_MAKE_SYM;

base::Error Failed(const char* what) { return base::ErrnoError(base::Code::kInternal, what, errno); }

base::Status Allow(int ruleset, const std::string& path, std::uint64_t access) {
  const UniqueFd fd(::open(path.c_str(), O_PATH | O_CLOEXEC));
  struct stat info {};
  if (!fd.valid() || ::fstat(fd.get(), &info) != 0) return {};  // what cannot be opened now cannot be opened later
  if (!S_ISDIR(info.st_mode)) access &= kReadFile | kWriteFile | kTruncate | kIoctlDev;
  landlock_path_beneath_attr rule{};
  rule.allowed_access = access;
  rule.parent_fd = fd.get();
  if (::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0) {
    return Failed("cannot add a Landlock rule");
  }
  return {};
}

}  // namespace

base::Status ConfineFiles(const Files& files) {
  const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 1) return base::MakeError(base::Code::kUnimplemented, "the kernel has no Landlock");
  std::uint64_t write = kRead | kWriteFile | kMake;
  RulesetAttributes attributes{};
  attributes.files = write | kNever;
  // Without kRefer a file cannot change its folder, which none of our writers does.
  if (version >= 2) attributes.files |= kRefer;
  if (version >= 3) {
    attributes.files |= kTruncate;
    write |= kTruncate;
  }
  if (version >= 5) attributes.files |= kIoctlDev;
  std::size_t size = sizeof(attributes.files);
  if (version >= 6) {
    attributes.scope = kScopeAbstractSocket | kScopeSignal;
    size = sizeof(attributes);
  }
  const UniqueFd ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, size, 0)));
  if (!ruleset.valid()) return Failed("cannot make a Landlock ruleset");
  for (const auto& path : SystemFiles()) TRY_VOID(Allow(ruleset.get(), path, kRead));
  TRY_VOID(Allow(ruleset.get(), "/dev/null", kReadFile | kWriteFile));
  for (const auto& path : files.read) TRY_VOID(Allow(ruleset.get(), path, kRead));
  for (const auto& path : files.write) TRY_VOID(Allow(ruleset.get(), path, write));
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) return Failed("cannot confine the process");
  return {};
}

}  // namespace signet::process
