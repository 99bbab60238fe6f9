#include "audit/line_copier.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <thread>

#include "base/unique_fd.hpp"
#include "support/journal_fixture.hpp"

namespace signet::testing {
namespace {

using audit::LineCopier;
using namespace std::chrono_literals;

class LineCopierTest : public JournalFixture {
 protected:
  LineCopierTest() {
    std::array<int, 2> ends{};
    EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
    reader_ = base::UniqueFd(ends[0]);
    writer_ = base::UniqueFd(ends[1]);
  }
  /// Waits for `size` octets; fewer when the pipe was closed.
  std::string Read(std::size_t size) {
    std::string out;
    std::array<char, 65536> piece{};
    while (out.size() < size) {
      const auto got = read(reader_.get(), piece.data(), std::min(piece.size(), size - out.size()));
      if (got <= 0) break;
      out.append(piece.data(), static_cast<std::size_t>(got));
    }
    return out;
  }
  base::UniqueFd reader_;
  base::UniqueFd writer_;
};

TEST_F(LineCopierTest, CopiesWhatIsInTheRecordAndNothingElse) {
  auto copier = std::make_shared<LineCopier>(writer_.get());
  copy_ = copier;
  {
    auto journal = Open();
    Sign(*journal);
    files_.write_error = ENOSPC;
    EXPECT_FALSE(Append(*journal, MakeIntent()));
    files_.write_error = 0;
    reactor_.Advance(10s);
    Sign(*journal);
    journal->Note({"socket", "alice", "release", "NotAllowed", 1});  // written when the journal closes
  }
  const auto record = text();
  EXPECT_THAT(record, ::testing::HasSubstr("refused"));
  EXPECT_EQ(Read(record.size()), record);
  copy_.reset();
  copier.reset();
  writer_ = base::UniqueFd();
  EXPECT_EQ(Read(1), "");
}

TEST_F(LineCopierTest, DropsWholeLinesWhenNobodyReads) {
  constexpr std::size_t kLimit = 64 * 1024;
  LineCopier copier(writer_.get(), kLimit);
  std::size_t lines = 0;
  for (; copier.dropped() == 0 && lines < 100000; ++lines) copier.Add("line " + std::to_string(lines) + "\n");
  ASSERT_GT(copier.dropped(), 0U) << "memory is bounded";
  std::string all;
  std::size_t next = 0;
  // What was kept: a beginning of it all, line by line.
  while (next < lines - copier.dropped()) {
    const auto expected = "line " + std::to_string(next++) + "\n";
    ASSERT_EQ(Read(expected.size()), expected);
  }
  copier.Add("back\n");
  EXPECT_EQ(Read(5), "back\n");
}

TEST_F(LineCopierTest, CopiesTheBatchThatIsOnTheDiskWhenTheJournalCloses) {
  auto copier = std::make_shared<LineCopier>(writer_.get());
  copy_ = copier;
  durability_ = audit::Durability::kFsync;
  {
    auto journal = Open();
    journal->Append(MakeIntent(), [](const base::Status&) {});
    reactor_.RunReady();  // to the committer, whose word nobody hears any more
  }
  copy_.reset();
  copier.reset();
  writer_ = base::UniqueFd();
  const auto record = text();
  EXPECT_THAT(record, ::testing::HasSubstr("intent"));
  EXPECT_EQ(Read(record.size()), record);
}

TEST_F(LineCopierTest, KeepsTheLinesThatThereIsRoomFor) {
  LineCopier copier(writer_.get(), 16);
  copier.Add("one\ntwo\nthree\nfour, which is too much\nfive\n");
  EXPECT_EQ(Read(14), "one\ntwo\nthree\n");
  EXPECT_EQ(copier.dropped(), 2U);
}

TEST_F(LineCopierTest, EndsAlthoughNobodyReads) {
  const auto began = std::chrono::steady_clock::now();
  const auto line = std::string(200'000, 'x') + "\n";
  {
    LineCopier copier(writer_.get());
    copier.Add(line);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, 10s);
}

TEST_F(LineCopierTest, GoesOnWhenTheReaderIsGone) {
  signal(SIGPIPE, SIG_IGN);  // as the programs do
  reader_ = base::UniqueFd();
  LineCopier copier(writer_.get());
  copier.Add("nobody\n");
  for (int i = 0; i < 10000 && copier.dropped() == 0; ++i) std::this_thread::yield();
  copier.Add("reads\n");
}

}  // namespace
}  // namespace signet::testing
