#include "audit/verify.hpp"

#include <gmock/gmock.h>

#include "audit/chain.hpp"
#include "audit/line.hpp"
#include "support/journal_fixture.hpp"

namespace signet::testing {
namespace {

using audit::Outcome;
using audit::Result;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

class VerifyTest : public JournalFixture {
 protected:
  void SetUp() override {
    auto journal = Open();
    for (int i = 0; i < 3; ++i) Sign(*journal, i == 1 ? "controller" : "socket");
    journal->Note({"socket", "alice", "release", "Suspended", 7});
    journal.reset();
    whole_ = text();
    for (std::size_t at = 0; at < whole_.size();) {
      const auto end = whole_.find('\n', at) + 1;
      lines_.push_back(whole_.substr(at, end - at));
      at = end;
    }
  }
  audit::StreamReport Check(const std::vector<std::string>& lines) {
    std::string content;
    for (const auto& line : lines) content += line;
    return audit::VerifyText(content);
  }
  std::string whole_;
  std::vector<std::string> lines_;
};

TEST_F(VerifyTest, CountsWhatIsThere) {
  const auto report = audit::VerifyText(whole_);
  ASSERT_FALSE(report.problem) << report.problem->why;
  EXPECT_EQ(report.records, 8U);
  EXPECT_EQ(report.intents, 3U);
  EXPECT_EQ(report.signed_, 3U);
  EXPECT_EQ(report.refused, 7U);
  EXPECT_EQ(report.unsettled, 1U);
  EXPECT_EQ(report.last_seq, 8U);
}

TEST_F(VerifyTest, FindsAnEditOfAnyByte) {
  const auto last_line = whole_.size() - lines_.back().size();
  std::size_t undetected = 0;
  for (std::size_t at = 0; at < whole_.size(); ++at) {
    for (const unsigned flip : {0x01U, 0x20U, 0x80U}) {
      auto edited = whole_;
      edited[at] = static_cast<char>(static_cast<unsigned char>(edited[at]) ^ flip);
      const auto report = audit::VerifyText(edited);
      if (report.problem) continue;
      ASSERT_GE(at, last_line) << "an edit at " << at << " was not found";
      EXPECT_NE(report.head, audit::VerifyText(whole_).head) << "--head finds what the chain cannot";
      ++undetected;
    }
  }
  EXPECT_GT(undetected, 0U) << "values of the last line are held by the head alone";
}

TEST_F(VerifyTest, FindsSwapsDeletionsAndRepetitionsAnywhere) {
  for (std::size_t i = 0; i < lines_.size(); ++i) {
    auto repeated = lines_;
    repeated.insert(repeated.begin() + static_cast<std::ptrdiff_t>(i), lines_[i]);
    EXPECT_TRUE(Check(repeated).problem) << i;
    if (i + 1 == lines_.size()) break;
    auto deleted = lines_;
    deleted.erase(deleted.begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_TRUE(Check(deleted).problem) << i;
    auto swapped = lines_;
    std::swap(swapped[i], swapped[i + 1]);
    EXPECT_TRUE(Check(swapped).problem) << i;
    auto blank = lines_;
    blank.insert(blank.begin() + static_cast<std::ptrdiff_t>(i) + 1, "\n");
    EXPECT_TRUE(Check(blank).problem) << i;
  }
}

TEST_F(VerifyTest, NamesTheFirstBadLine) {
  auto edited = lines_;
  edited[3].replace(edited[3].find("release"), 7, "relaese");
  const auto report = Check(edited);
  ASSERT_TRUE(report.problem);
  EXPECT_EQ(report.problem->line, 5U) << "line 5 shows that line 4 was changed";
  EXPECT_THAT(report.problem->why, HasSubstr("the line before (seq 4)"));
  edited = lines_;
  edited[3].erase(edited[3].size() - 2, 1);
  EXPECT_EQ(Check(edited).problem->line, 4U) << "a line that is no JSON is itself the bad one";
}

TEST_F(VerifyTest, FindsACutStart) {
  for (std::size_t cut = 1; cut < lines_.size(); ++cut) {
    const auto report = Check({lines_.begin() + static_cast<std::ptrdiff_t>(cut), lines_.end()});
    ASSERT_TRUE(report.problem);
    EXPECT_THAT(report.problem->why, HasSubstr("start is cut"));
    EXPECT_EQ(report.problem->line, 1U);
  }
}

TEST_F(VerifyTest, FindsACutEndByTheHead) {
  const auto head = Verify().streams.at(0).head;
  for (std::size_t left = 1; left < lines_.size(); ++left) {
    std::string content;
    for (std::size_t i = 0; i < left; ++i) content += lines_[i];
    folder_.Write(kName, content);
    EXPECT_FALSE(Verify().ok()) << "the note in FILE.head shows it";
    folder_.Write("copy", content);
    audit::VerifyOptions options;
    options.paths = {folder_.path() / "copy"};
    EXPECT_TRUE(audit::Verify(options)->ok()) << "the chain alone cannot show it";
    options.heads = {head};
    EXPECT_FALSE(audit::Verify(options)->ok()) << left;
  }
}

TEST_F(VerifyTest, SaysHowMuchCameAfterAHead) {
  const std::string line = lines_[4].substr(0, lines_[4].size() - 1);
  const auto hash = audit::HashOf(line);
  const auto report = Verify({std::string(audit::View(hash))});
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report.streams.at(0).heads.at(0).seq, 5U);
  EXPECT_EQ(report.streams.at(0).heads.at(0).records_after, 3U);
}

TEST_F(VerifyTest, FindsLinesOfAnotherStream) {
  const TempFolder other;
  audit::Journal::Options options;
  options.file = other.path() / kName;
  { const auto journal = audit::Journal::Open(options, reactor_, clock_); }
  folder_.Write(kName, whole_ + other.Read(kName));
  EXPECT_THAT(Explain(Verify()), HasSubstr("another record"));
}

TEST_F(VerifyTest, HoldsATornLineToItsHash) {
  const auto torn = whole_.substr(0, whole_.size() - 30);
  Crash(torn);
  { Sign(*Open()); }
  const auto content = text();
  ASSERT_FALSE(audit::VerifyText(content).problem);
  auto edited = content;
  edited[torn.size() - 5] ^= 1;
  EXPECT_TRUE(audit::VerifyText(edited).problem);
  auto removed = content;
  removed.erase(torn.size() - 40, 41);
  EXPECT_TRUE(audit::VerifyText(removed).problem);
  // A torn line that nobody closed is a bad line.
  EXPECT_TRUE(audit::VerifyText(torn).problem);
  EXPECT_TRUE(audit::VerifyText(torn + "\n").problem);
}

TEST_F(VerifyTest, FindsOutcomesWithoutIntent) {
  // Somebody rebuilt the chain around a removed intent; the books do not balance.
  std::string content;
  audit::HashText prev = audit::kNoHash;
  int seq = 0;
  for (std::size_t i = 0; i < lines_.size(); ++i) {
    if (i == 1) continue;
    auto record = nlohmann::ordered_json::parse(lines_[i]);
    record["seq"] = ++seq;
    record["prev"] = std::string(audit::View(prev));
    const auto line = record.dump();
    prev = audit::HashOf(line);
    content += line + "\n";
  }
  const auto report = audit::VerifyText(content);
  ASSERT_TRUE(report.problem);
  EXPECT_THAT(report.problem->why, HasSubstr("without an open intent"));
}

class VerifySegmentsTest : public JournalFixture {
 protected:
  void SetUp() override {
    segment_bytes_ = 4096;
    auto journal = Open();
    while (audit::Segments::Find(file()).size() < 3) Sign(*journal);
    Sign(*journal);
  }
  audit::VerifyReport Check(std::vector<std::filesystem::path> paths, std::optional<std::string> after = {}) {
    audit::VerifyOptions options;
    options.paths = std::move(paths);
    options.after = std::move(after);
    auto report = audit::Verify(options);
    EXPECT_THAT(report, IsOk());
    return *report;
  }
  [[nodiscard]] std::filesystem::path Segment(int number) const {
    return file().string() + ".00000" + std::to_string(number);
  }
};

TEST_F(VerifySegmentsTest, TakesFilesAndFolders) {
  const auto by_file = Check({file()});
  EXPECT_TRUE(by_file.ok()) << Explain(by_file);
  EXPECT_EQ(by_file.streams.at(0).files.size(), 4U);
  const auto by_folder = Check({folder_.path()});
  EXPECT_TRUE(by_folder.ok()) << Explain(by_folder);
  EXPECT_EQ(by_folder.records(), by_file.records());
  EXPECT_TRUE(Check({Segment(2), file(), Segment(1)}).ok()) << "order does not matter";
}

TEST_F(VerifySegmentsTest, FindsAMissingOrChangedSegment) {
  for (int number = 1; number <= 3; ++number) {
    std::filesystem::rename(Segment(number), folder_.path() / ".away");
    EXPECT_FALSE(Check({file()}).ok()) << number;
    std::filesystem::rename(folder_.path() / ".away", Segment(number));
    auto content = folder_.Read(Segment(number).filename().string());
    const auto good = content;
    content.erase(content.rfind('\n', content.size() - 2) + 1);
    folder_.Write(Segment(number).filename().string(), content);
    EXPECT_FALSE(Check({file()}).ok()) << "a cut end of a full segment shows: " << number;
    folder_.Write(Segment(number).filename().string(), good);
  }
}

TEST_F(VerifySegmentsTest, GoesOnAfterArchivedSegmentsWithTheirHead) {
  const auto head = Check({Segment(1)}).streams.at(0).head;
  std::filesystem::remove(Segment(1));
  const auto cut = Check({file()});
  ASSERT_FALSE(cut.ok());
  EXPECT_THAT(Explain(cut), HasSubstr("--after"));
  EXPECT_TRUE(Check({file()}, head).ok()) << Explain(Check({file()}, head));
  EXPECT_FALSE(Check({file()}, std::string(64, 'e')).ok());
}

TEST_F(VerifySegmentsTest, ReportsFilesThatAreNoRecords) {
  folder_.Write("notes.txt", "hello\n");
  EXPECT_FALSE(Check({folder_.path() / "notes.txt"}).ok());
  const auto folder = Check({folder_.path()});
  EXPECT_TRUE(folder.ok()) << Explain(folder);
  ASSERT_EQ(folder.skipped.size(), 1U) << "said, never silent";
  EXPECT_THAT(folder.skipped[0].file, HasSubstr("notes.txt"));
  const TempFolder empty;
  EXPECT_FALSE(Check({empty.path()}).ok());
  empty.Write("notes.txt", "hello\n");
  EXPECT_FALSE(Check({empty.path()}).ok());
  audit::VerifyOptions options;
  options.paths = {folder_.path() / "absent"};
  EXPECT_THAT(audit::Verify(options), IsErr(base::Code::kNotFound));
  options.paths = {"/dev/null"};
  EXPECT_THAT(audit::Verify(options), IsErr(base::Code::kInvalidArgument));
}

TEST(LineTest, AcceptsExactlyWhatAFullParserAccepts) {
  const std::vector<std::string> texts = {R"({})",
                                          R"({"a":1})",
                                          R"({"a":1,"a":2})",
                                          R"({"a":{"b":[1,2,{"c":null}]}})",
                                          R"({"a":"\u00e9\n"})",
                                          R"({"a":"\ud800"})",
                                          R"({"a":"\x"})",
                                          R"({"a":01})",
                                          R"({"a":-})",
                                          R"({"a":1.5e+3})",
                                          R"({"a":tru})",
                                          R"({"a":true,})",
                                          R"([1])",
                                          R"("a")",
                                          R"({"a":1} x)",
                                          R"({"a")",
                                          R"({"a":)",
                                          R"({"a":"b)",
                                          R"({)",
                                          "",
                                          " ",
                                          "{\"a\":\"\x01\"}",
                                          "{\"a\":\"\xff\"}",
                                          "{\"a\":\"\xc3\xa9\"}",
                                          R"( {"a" : [ ] , "b" : { } } )",
                                          R"({"a":[1,]})",
                                          R"({"a":+1})",
                                          R"({"a":.5})",
                                          R"({"a":nan})"};
  for (const auto& text : texts) {
    audit::Line line;
    const auto parsed = nlohmann::json::parse(text, nullptr, false);
    const bool good = !parsed.is_discarded() && parsed.is_object() && text.find("\"a\":2") == std::string::npos;
    EXPECT_EQ(line.Parse(text).has_value(), good) << text;
  }
  audit::Line deep;
  EXPECT_FALSE(deep.Parse("{\"a\":" + std::string(100000, '[')).has_value());
}

TEST(OperationIdsTest, GrowWithinAMillisecondAndWhenTheClockStepsBack) {
  FakeClock clock;
  audit::OperationIds ids(clock);
  std::string last;
  for (int i = 0; i < 3000; ++i) {
    if (i % 500 == 0) clock.Advance(1ms);
    if (i == 1700) clock.Advance(-1h);
    const auto id = ids.Next();
    ASSERT_EQ(id.size(), audit::kOperationIdSize);
    ASSERT_EQ(id.find_first_not_of("0123456789ABCDEFGHJKMNPQRSTVWXYZ"), std::string::npos);
    ASSERT_GT(id, last);
    last = id;
  }
  EXPECT_EQ(ids.Next().substr(0, 7), "01M83T4") << "the milliseconds of November 2026 come first";
}

}  // namespace
}  // namespace signet::testing
