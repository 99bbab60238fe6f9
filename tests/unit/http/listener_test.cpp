#include "http/listener.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <filesystem>
#include <thread>

#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::http {
namespace {

using base::Code;
using ::testing::HasSubstr;
using testing::IsErr;
using testing::IsOk;

class ListenerTest : public ::testing::Test {
 protected:
  std::string path(std::string_view name = "s") const { return (folder_.path() / name).string(); }
  static bool Exists(const std::string& file) {
    struct stat info {};
    return ::lstat(file.c_str(), &info) == 0;
  }
  static bool Connects(const std::string& file) {
    const base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, file.data(), file.size());
    return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  }
  testing::TempFolder folder_;
};

TEST_F(ListenerTest, MakesASocketWithItsMode) {
  for (const std::uint32_t mode : {0600U, 0660U, 0666U}) {
    const mode_t before = ::umask(0077);
    auto listener = Listener::Unix(path(), mode);
    ::umask(before);
    ASSERT_THAT(listener, IsOk());
    struct stat info {};
    ASSERT_EQ(::lstat(path().c_str(), &info), 0);
    EXPECT_TRUE(S_ISSOCK(info.st_mode));
    EXPECT_EQ(info.st_mode & 07777U, mode);
    EXPECT_TRUE(Connects(path()));
  }
}

TEST_F(ListenerTest, RemovesItsSocket) {
  {
    auto listener = Listener::Unix(path(), 0660);
    ASSERT_THAT(listener, IsOk());
  }
  EXPECT_FALSE(Exists(path()));
}

TEST_F(ListenerTest, LeavesASocketThatIsNoLongerItsOwn) {
  auto first = Listener::Unix(path(), 0660);
  ASSERT_THAT(first, IsOk());
  std::filesystem::rename(path(), path("aside"));
  auto second = Listener::Unix(path(), 0660);
  ASSERT_THAT(second, IsOk());
  first->Close();
  EXPECT_TRUE(Connects(path()));
}

TEST_F(ListenerTest, ReplacesAStaleSocket) {
  {
    auto dead = Listener::Unix(path(), 0660);
    ASSERT_THAT(dead, IsOk());
    std::filesystem::create_hard_link(path(), path("kept"));
  }
  std::filesystem::rename(path("kept"), path());  // as a killed process leaves it
  ASSERT_TRUE(Exists(path()));
  ASSERT_FALSE(Connects(path()));
  EXPECT_THAT(Listener::Unix(path(), 0660), IsOk());
}

TEST_F(ListenerTest, RefusesASocketThatSomebodyServes) {
  auto live = Listener::Unix(path(), 0660);
  ASSERT_THAT(live, IsOk());
  auto second = Listener::Unix(path(), 0660);
  ASSERT_THAT(second, IsErr(Code::kFailedPrecondition));
  EXPECT_THAT(second.error().message, HasSubstr("another process serves this socket"));
  EXPECT_TRUE(Connects(path()));
}

TEST_F(ListenerTest, LeavesEverythingThatIsNoSocketAlone) {
  folder_.Write("file", "precious");
  EXPECT_THAT(Listener::Unix(path("file"), 0660), IsErr(Code::kFailedPrecondition));
  EXPECT_EQ(folder_.Read("file"), "precious");
  std::filesystem::create_symlink(path("file"), path("link"));
  EXPECT_THAT(Listener::Unix(path("link"), 0660), IsErr(Code::kFailedPrecondition));
  EXPECT_TRUE(Exists(path("link")));
  std::filesystem::create_directory(path("folder"));
  EXPECT_THAT(Listener::Unix(path("folder"), 0660), IsErr(Code::kFailedPrecondition));
}

TEST_F(ListenerTest, OnlyOneOfManyWinsAStaleSocket) {
  for (int round = 0; round < 20; ++round) {
    {
      auto dead = Listener::Unix(path(), 0660);
      ASSERT_THAT(dead, IsOk());
      std::filesystem::create_hard_link(path(), path("kept"));
    }
    std::filesystem::rename(path("kept"), path());
    std::vector<base::Result<Listener>> results;
    for (int i = 0; i < 4; ++i) results.emplace_back(base::MakeError(Code::kInternal, "not run"));
    std::vector<std::thread> threads;
    for (auto& result : results) threads.emplace_back([&] { result = Listener::Unix(path(), 0660); });
    for (auto& thread : threads) thread.join();
    int winners = 0;
    for (const auto& result : results) winners += result.has_value() ? 1 : 0;
    EXPECT_EQ(winners, 1);
    EXPECT_TRUE(Connects(path()));
  }
}

TEST_F(ListenerTest, StartsWhateverLocksAReaderOfTheFolderHolds) {
  const base::UniqueFd folder(::open(folder_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(::flock(folder.get(), LOCK_EX), 0);
  EXPECT_THAT(Listener::Unix(path(), 0660), IsOk());
  // Root may read the lock file, too, even through a read-only mount.
  const base::UniqueFd reader(::open(path(".s.lock").c_str(), O_RDONLY | O_CLOEXEC));
  if (reader.valid()) {
    struct flock read {};
    read.l_type = F_RDLCK;
    ASSERT_EQ(::flock(reader.get(), LOCK_EX), 0);
    ASSERT_EQ(::fcntl(reader.get(), F_OFD_SETLK, &read), 0);
  } else {
    ASSERT_EQ(errno, EACCES);
  }
  EXPECT_THAT(Listener::Unix(path(), 0660), IsOk());
}

TEST_F(ListenerTest, StartsWhereItsLockFileCannotBeOpened) {
  std::filesystem::create_directory(path(".s.lock"));
  EXPECT_THAT(Listener::Unix(path(), 0660), IsOk());
}

TEST_F(ListenerTest, RefusesPathsThatDoNotFit) {
  EXPECT_THAT(Listener::Unix("", 0660), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(Listener::Unix("/tmp/" + std::string(103, 'x'), 0660), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(Listener::Unix(path("no/such/folder"), 0660), IsErr(Code::kFailedPrecondition));
  const std::string longest = path(std::string(107 - folder_.path().string().size() - 1, 'y'));
  ASSERT_EQ(longest.size(), 107U);
  EXPECT_THAT(Listener::Unix(longest, 0660), IsOk());
}

}  // namespace
}  // namespace signet::http
