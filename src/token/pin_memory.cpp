#include "token/pin_memory.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <vector>

#include "base/file_lock.hpp"
#include "base/unique_fd.hpp"
#include "crypto/digest.hpp"
#include "encoding/text.hpp"
#include "token/pin_file.hpp"

namespace signet::token {
namespace {

using namespace std::chrono_literals;

constexpr int kLockTries = 250;
constexpr auto kLockPause = 20ms;
const std::string kLockedHolder = "lock-";
constexpr std::size_t kHolderSize = 8;  // octets

class ProcessPinMemory final : public PinMemory {
 public:
  base::Status Change(const std::string& name, const Edit& edit) override {
    const std::lock_guard lock(mutex_);
    std::string text = texts_[name];
    TRY_VOID(edit(text));
    texts_[name] = std::move(text);
    return {};
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::string> texts_;
};

/// Each holder locks one byte of pin.holders, at the offset that its name is: the kernel frees it when the process
/// ends.
class FolderPinMemory final : public PinMemory {
 public:
  explicit FolderPinMemory(std::filesystem::path folder) : folder_(std::move(folder)) {}

  base::Status Change(const std::string& name, const Edit& edit) override {
    TRY(const base::UniqueFd lock, Lock());
    const std::string path = (folder_ / name).string();
    TRY(const std::string before, ReadSmallFile(path));
    std::string text = before;
    TRY_VOID(edit(text));
    return text == before ? base::Status() : ReplaceFile(path, text);
  }

  std::string MakeHolder() override {
    std::string name = PinMemory::MakeHolder();
    MakeStateFolder(folder_.string());
    auto file = OpenHolders();
    if (!file) return name;
    const auto locked = base::TryLockByte(file->get(), *OffsetOf(kLockedHolder + name));
    if (!locked || *locked != base::LockState::kTaken) return name;
    const std::lock_guard lock(mutex_);
    holders_.push_back(*std::move(file));
    return kLockedHolder + name;
  }

  bool IsGone(const std::string& holder) override {
    const auto offset = OffsetOf(holder);
    if (!offset) return false;
    const auto file = OpenHolders();
    const auto locked = file ? base::TryLockByte(file->get(), *offset) : base::Result<base::LockState>(file.error());
    return locked && *locked == base::LockState::kTaken;
  }

 private:
  [[nodiscard]] base::Result<base::UniqueFd> OpenHolders() const {
    const std::string path = (folder_ / "pin.holders").string();
    auto file = base::OpenLockFile(path);
    if (file) LeaveToOwnerOfFolder(file->get(), path);
    return file;
  }
  /// Nothing: not the name of one who holds a lock.
  static std::optional<std::int64_t> OffsetOf(const std::string& holder) {
    if (!holder.starts_with(kLockedHolder) || holder.size() != kLockedHolder.size() + 2 * kHolderSize)
      return std::nullopt;
    std::uint64_t number = 0;
    const char* end = holder.data() + holder.size();
    const auto [at, failed] = std::from_chars(holder.data() + kLockedHolder.size(), end, number, 16);
    if (failed != std::errc() || at != end) return std::nullopt;
    return static_cast<std::int64_t>(number >> 2);  // the kernel's largest offset is 2^63 - 1
  }

  /// Held for two small files at a time: who waits for long waits for something that is broken.
  base::Result<base::UniqueFd> Lock() const {
    MakeStateFolder(folder_.string());
    const std::string path = (folder_ / "pin.lock").string();
    base::UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR));
    int failed = fd.valid() ? 0 : errno;
    if (fd.valid()) LeaveToOwnerOfFolder(fd.get(), path);
    for (int i = 0; failed == 0 && ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0; ++i) {
      if (errno != EWOULDBLOCK || i == kLockTries) failed = errno;
      std::this_thread::sleep_for(kLockPause);  // flock has no time limit; this thread has nothing else to do
    }
    if (failed == 0) return fd;
    auto error = base::ErrnoError(base::Code::kUnavailable, "cannot lock " + path, failed);
    error.reason = "StateUnwritable";
    return error;
  }

  const std::filesystem::path folder_;
  std::mutex mutex_;
  std::vector<base::UniqueFd> holders_;  ///< guarded by mutex_; each holds the lock of one name
};

}  // namespace

std::string PinMemory::MakeHolder() { return encoding::ToHex(crypto::RandomBytes(kHolderSize)); }

bool PinMemory::IsGone(const std::string& /*holder*/) { return false; }

std::shared_ptr<PinMemory> MakeProcessPinMemory() { return std::make_shared<ProcessPinMemory>(); }

std::shared_ptr<PinMemory> MakeFolderPinMemory(std::string folder) {
  return std::make_shared<FolderPinMemory>(std::move(folder));
}

PinMemoryThread::PinMemoryThread(std::shared_ptr<PinMemory> memory, base::Reactor& reactor)
    : memory_(std::move(memory)), reactor_(reactor), thread_([this] { Run(); }) {}

PinMemoryThread::~PinMemoryThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void PinMemoryThread::Change(std::string name, PinMemory::Edit edit, std::function<void(base::Status)> done) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back({std::move(name), std::move(edit), std::move(done)});
  }
  wake_.notify_all();
}

void PinMemoryThread::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    auto changed = memory_->Change(job.name, job.edit);
    reactor_.Post([done = std::move(job.done), changed = std::move(changed)]() mutable { done(std::move(changed)); });
    lock.lock();
  }
}

}  // namespace signet::token
