#include "token/pin_memory.hpp"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::token {
namespace {

class FolderPinMemoryTest : public ::testing::Test {
 protected:
  testing::TempFolder folder_;
  std::shared_ptr<PinMemory> memory_ = MakeFolderPinMemory(folder_.path());
};

TEST_F(FolderPinMemoryTest, KnowsWhichHoldersLive) {
  auto other = MakeFolderPinMemory(folder_.path());
  const std::string first = other->MakeHolder();
  const std::string second = other->MakeHolder();
  EXPECT_NE(first, second);
  EXPECT_FALSE(memory_->IsGone(first));
  EXPECT_FALSE(memory_->IsGone(second));
  EXPECT_FALSE(other->IsGone(first)) << "asked by the process that holds it";
  other.reset();
  EXPECT_TRUE(memory_->IsGone(first));
  EXPECT_TRUE(memory_->IsGone(second));
}

TEST_F(FolderPinMemoryTest, SeesThatAKilledProcessIsGone) {
  int named[2], hold[2];
  ASSERT_EQ(::pipe(named), 0);
  ASSERT_EQ(::pipe(hold), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string name = MakeFolderPinMemory(folder_.path())->MakeHolder();
    const auto kept = MakeFolderPinMemory(folder_.path());
    const std::string held = kept->MakeHolder();
    (void)!::write(named[1], held.data(), held.size());
    char never = 0;
    (void)!::read(hold[0], &never, 1);
    ::_exit(0);
  }
  char text[64];
  const ssize_t size = ::read(named[0], text, sizeof(text));
  ASSERT_GT(size, 0);
  const std::string holder(text, static_cast<std::size_t>(size));
  EXPECT_FALSE(memory_->IsGone(holder));
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(memory_->IsGone(holder));
  for (const int fd : {named[0], named[1], hold[0], hold[1]}) ::close(fd);
}

TEST_F(FolderPinMemoryTest, DoesNotJudgeHoldersWithoutALock) {
  for (const char* name :
       {"", "0123456789abcdef", "check-0123", "lock-", "lock-xyz", "lock-0123456789abcdef0", "pod-1/2"}) {
    EXPECT_FALSE(memory_->IsGone(name)) << name;
  }
  const auto nowhere = MakeFolderPinMemory("/proc/no/such/folder");
  const std::string holder = nowhere->MakeHolder();
  EXPECT_FALSE(nowhere->IsGone(holder));
  EXPECT_FALSE(memory_->IsGone(holder));
}

}  // namespace
}  // namespace signet::token
