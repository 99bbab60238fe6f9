#include "base/file_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::base {
namespace {

using testing::IsErr;
using testing::IsOk;

class FileLockTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::string path() const { return folder_.path() / "lock"; }
  /// As somebody who may read the folder has it open. (Root may, whatever the mode says.)
  [[nodiscard]] UniqueFd OpenForReading() const {
    EXPECT_EQ(::chmod(path().c_str(), 0644), 0);
    UniqueFd fd(::open(path().c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_TRUE(fd.valid());
    return fd;
  }

  testing::TempFolder folder_;
};

TEST_F(FileLockTest, KeepsTheSecondOut) {
  auto first = OpenLockFile(path());
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(*TryLock(first->get()), LockState::kTaken);
  const auto second = OpenLockFile(path());
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(*TryLock(second->get()), LockState::kHeld);
  EXPECT_EQ(*AwaitLock(second->get(), std::chrono::milliseconds(30)), LockState::kHeld);
  first->Close();
  EXPECT_EQ(*AwaitLock(second->get(), std::chrono::seconds(30)), LockState::kTaken);
}

TEST_F(FileLockTest, CannotBeOpenedByReaders) {
  folder_.Write("lock", "");
  ASSERT_EQ(::chmod(path().c_str(), 0666), 0);  // of an older version
  ASSERT_THAT(OpenLockFile(path()), IsOk());
  struct stat info {};
  ASSERT_EQ(::stat(path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & ALLPERMS, 0200U);
}

TEST_F(FileLockTest, IsNotTheLockThatAReaderCanTake) {
  const auto lock = OpenLockFile(path());
  ASSERT_THAT(lock, IsOk());
  const UniqueFd reader = OpenForReading();
  ASSERT_EQ(::flock(reader.get(), LOCK_EX), 0);
  EXPECT_EQ(*TryLock(lock->get()), LockState::kTaken);
}

TEST_F(FileLockTest, TellsAReadersLockFromOurs) {
  const auto lock = OpenLockFile(path());
  ASSERT_THAT(lock, IsOk());
  const UniqueFd reader = OpenForReading();
  struct flock read {};
  read.l_type = F_RDLCK;
  ASSERT_EQ(::fcntl(reader.get(), F_OFD_SETLK, &read), 0);
  EXPECT_EQ(*TryLock(lock->get()), LockState::kShared);
}

TEST_F(FileLockTest, FollowsNoLinkAndWaitsForNoPipe) {
  ASSERT_EQ(::symlink("elsewhere", path().c_str()), 0);
  EXPECT_THAT(OpenLockFile(path()), IsErr(Code::kFailedPrecondition));
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "elsewhere"));
  ASSERT_EQ(::unlink(path().c_str()), 0);
  ASSERT_EQ(::mkfifo(path().c_str(), 0600), 0);
  EXPECT_THAT(OpenLockFile(path()), IsErr(Code::kFailedPrecondition));
}

}  // namespace
}  // namespace signet::base
