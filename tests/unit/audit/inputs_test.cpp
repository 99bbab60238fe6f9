// Which files belong to a record is told by their lines: neighbours, copies, links, files named twice. And what the
// options of `audit verify` say of a whole record, and of one that is foreign.
#include <gmock/gmock.h>

#include <regex>
#include <sstream>

#include "audit/verify.hpp"
#include "support/journal_fixture.hpp"

namespace signet::testing {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

class InputsTest : public JournalFixture {
 protected:
  void SetUp() override {
    segment_bytes_ = 4096;
    auto journal = Open();
    while (audit::Segments::Find(file()).size() < 3) Sign(*journal);
    Sign(*journal);
    records_ = journal->sequence();
    head_ = journal->head();
  }
  static audit::VerifyReport Check(std::vector<fs::path> paths, std::optional<std::string> after = {},
                                   std::vector<std::string> heads = {}) {
    audit::VerifyOptions options;
    options.paths = std::move(paths);
    options.after = std::move(after);
    options.heads = std::move(heads);
    auto report = audit::Verify(options);
    EXPECT_THAT(report, IsOk());
    return *report;
  }
  void ExpectWhole(const audit::VerifyReport& report) const {
    EXPECT_TRUE(report.ok()) << Explain(report);
    ASSERT_EQ(report.streams.size(), 1U);
    EXPECT_EQ(report.streams[0].records, records_);
    EXPECT_EQ(report.streams[0].head, head_);
  }
  [[nodiscard]] fs::path At(const std::string& suffix) const { return file().string() + suffix; }
  /// What a shell makes of audit.jsonl*
  [[nodiscard]] std::vector<fs::path> Glob() const {
    std::vector<fs::path> paths;
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      if (entry.path().filename().string().starts_with(kName)) paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    return paths;
  }
  [[nodiscard]] std::string HeadOf(const fs::path& segment) const {
    const TempFolder alone;
    fs::copy(segment, alone.path() / "segment");
    return Check({alone.path() / "segment"}).streams.at(0).head;
  }

  std::uint64_t records_ = 0;
  std::string head_;
};

TEST_F(InputsTest, AWholeRecordIsWholeHoweverItIsNamed) {
  ExpectWhole(Check({file()}));
  ExpectWhole(Check(Glob()));
  auto backwards = Glob();
  std::reverse(backwards.begin(), backwards.end());
  ExpectWhole(Check(backwards));
  ExpectWhole(Check({folder_.path(), file(), file(), At(".000002"), folder_.path()}));
  const TempFolder links;
  for (const auto& path : Glob()) fs::create_symlink(path, links.path() / path.filename());
  ExpectWhole(Check({links.path()}));
  ExpectWhole(Check({links.path(), folder_.path()}));
  ExpectWhole(Check({links.path() / kName}));
  fs::create_hard_link(file(), folder_.path() / "hard");
  ExpectWhole(Check({folder_.path()}));
}

std::string Lines(const std::string& text, std::initializer_list<std::size_t> numbers) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line + "\n");
  std::string chosen;
  for (const auto number : numbers) chosen += lines.at(number);
  return chosen;
}

TEST_F(InputsTest, NeighboursAreToldApartByTheirLines) {
  const auto whole = text();
  const auto first = folder_.Read(std::string(kName) + ".000001");
  const auto second = folder_.Read(std::string(kName) + ".000002");
  for (const auto& [suffix, content] : std::vector<std::pair<std::string, std::string>>{
           {".000001.gz", std::string("\x1f\x8b\x08\x00", 4)},
           {".2.zst", "\x28\xb5\x2f\xfd and so on"},
           {"~", whole},                                 // an editor's copy
           {".bak", whole.substr(0, whole.size() / 2)},  // an older copy, cut inside a line
           {".swp", "b0VIM 8.2"},
           {".1", whole},
           {".tmp", ""},
           {"-20261130", folder_.Read(std::string(kName) + ".000002")},
           {".notes", "{\"stream\":1,\"seq\":2}\n"},
           {".extract", Lines(second, {1, 2, 3})},  // from the middle, as grep and sed make it
           {".one", Lines(whole, {1})},
           {".holes", Lines(first, {0, 2, 3, 5})},
           {".mixed", Lines(first, {3}) + Lines(second, {1}) + Lines(whole, {2})},
           {".unordered", Lines(second, {4, 1, 2})},
           {".twice", second + second},
           {".last", Lines(whole, {2, 3})},
           {".crlf", std::regex_replace(whole, std::regex("\n"), "\r\n")},
           {".bom", "\xEF\xBB\xBF" + whole},
           {".bomcrlf", "\xEF\xBB\xBF" + std::regex_replace(first + second, std::regex("\n"), "\r\n")},
           {".headed", "# copied for the auditors\n" + first},
           {".pretty", nlohmann::json::parse(Lines(first, {1})).dump(2) + "\n"},
           {".spaced", std::regex_replace(first, std::regex("\":"), "\": ")},
           {".all", folder_.Read(std::string(kName) + ".000001") + folder_.Read(std::string(kName) + ".000002")},
       }) {
    SCOPED_TRACE(suffix);
    folder_.Write(kName + suffix, content);
    ExpectWhole(Check({file()}));
    ExpectWhole(Check(Glob()));
    ExpectWhole(Check({folder_.path()}));
  }
}

TEST_F(InputsTest, AnExtractHidesNoDamage) {
  const auto second = folder_.Read(std::string(kName) + ".000002");
  folder_.Write(std::string(kName) + ".extract", Lines(second, {1, 2, 3}));
  ExpectWhole(Check({folder_.path()}));
  // A line of a segment is gone, and stands in the extract alone.
  std::string cut = second;
  cut.erase(cut.find('\n') + 1, cut.find('\n', cut.find('\n') + 1) - cut.find('\n'));
  folder_.Write(std::string(kName) + ".000002", cut);
  EXPECT_FALSE(Check({file()}).ok());
  EXPECT_FALSE(Check({folder_.path()}).ok());
  EXPECT_FALSE(Check(Glob()).ok());
  // The file of the record is told from a copy by its name: a whole copy does not make up for it.
  folder_.Write(std::string(kName) + ".bak", second);
  EXPECT_FALSE(Check({folder_.path()}).ok());
}

TEST_F(InputsTest, SegmentsAreFoundUnderAnyName) {
  fs::rename(At(".000001"), At(".3"));
  fs::rename(At(".000002"), At("-20261130"));
  fs::rename(At(".000003"), At(".old.2"));
  ExpectWhole(Check({file()}));
  ExpectWhole(Check(Glob()));
  ExpectWhole(Check({folder_.path()}));
}

TEST_F(InputsTest, ACopyOfSeveralFilesAsOneIsWhole) {
  std::string all;
  for (const auto& segment : audit::Segments::Find(file())) all += folder_.Read(segment.filename().string());
  const TempFolder other;
  other.Write("stdout.jsonl", all + text());
  ExpectWhole(Check({other.path() / "stdout.jsonl"}));
  other.Write("part.jsonl", all);
  ExpectWhole(Check({other.path(), file()}));
  // One file holds the first segments, others overlap with it and go on.
  fs::remove(other.path() / "stdout.jsonl");
  ExpectWhole(Check({other.path(), At(".000003"), file()}));
}

TEST_F(InputsTest, AChangedCopyIsFound) {
  auto changed = folder_.Read(std::string(kName) + ".000002");
  changed.replace(changed.find("builder"), 7, "buildex");
  const TempFolder other;
  other.Write("copy", changed);
  const auto report = Check({file(), other.path() / "copy"});
  EXPECT_FALSE(report.ok());
  EXPECT_THAT(Explain(report), HasSubstr("copy"));
  // Its last line is changed: its own chain does not show that.
  changed = folder_.Read(std::string(kName) + ".000002");
  char& fraction = changed[changed.find("Z\"", changed.rfind('\n', changed.size() - 2)) - 1];
  fraction = fraction == '0' ? '1' : '0';  // of its time
  other.Write("copy", changed);
  EXPECT_THAT(Explain(Check({file(), other.path() / "copy"})), HasSubstr("they are not the same"));
}

TEST_F(InputsTest, AnotherRecordBesideIsCheckedOnItsOwn) {
  audit::Journal::Options options;
  options.file = folder_.path() / "audit.jsonl2";
  Sign(**audit::Journal::Open(options, reactor_, clock_));
  ExpectWhole(Check({file()}));
  const auto both = Check({folder_.path()});
  EXPECT_TRUE(both.ok()) << Explain(both);
  EXPECT_EQ(both.streams.size(), 2U);
}

TEST_F(InputsTest, AFileThatShouldBeARecordIsNotSkipped) {
  folder_.Write(kName, "overwritten\n");
  EXPECT_FALSE(Check({file()}).ok());
  EXPECT_FALSE(Check({folder_.path()}).ok());
  EXPECT_FALSE(Check(Glob()).ok());
  fs::remove(At(".head"));
  EXPECT_FALSE(Check({folder_.path()}).ok()) << "segments beside it tell";
}

TEST_F(InputsTest, AfterTakesARecordThatGoesOnFromThere) {
  const auto first = HeadOf(At(".000001"));
  ExpectWhole(Check({file()}, first));  // nothing is archived yet: the line is here
  ExpectWhole(Check({file()}, head_));  // nothing has come after it yet
  const TempFolder archive;
  fs::rename(At(".000001"), archive.path() / "1");
  const auto on = Check({file()}, first);
  EXPECT_TRUE(on.ok()) << Explain(on);
  EXPECT_TRUE(Check({file()}, first, {first, head_}).ok()) << "a head noted before the archived part ended";
  EXPECT_THAT(Explain(Check({file()})), HasSubstr("--after"));
  EXPECT_THAT(Explain(Check({file()}, std::string(64, 'e'))), HasSubstr("not from eee"));
  ExpectWhole(Check({archive.path(), file()}, first));
}

TEST_F(InputsTest, EachOptionRefusesAForeignWholeRecord) {
  const TempFolder other;
  audit::Journal::Options options;
  options.file = other.path() / "audit.jsonl";
  {
    auto journal = audit::Journal::Open(options, reactor_, clock_);
    Sign(**journal);
  }
  ASSERT_TRUE(Check({options.file}).ok());
  const auto after = Check({options.file}, head_);
  EXPECT_FALSE(after.ok());
  EXPECT_THAT(Explain(after), HasSubstr("no record here goes on from " + head_));
  const auto head = Check({options.file}, {}, {head_});
  EXPECT_FALSE(head.ok());
  EXPECT_THAT(Explain(head), HasSubstr("no line has the head"));
  // The foreign one in place of ours, whose note stays.
  fs::remove(At(".000001"));
  fs::copy(options.file, file(), fs::copy_options::overwrite_existing);
  const auto replaced = Check({file()});
  EXPECT_FALSE(replaced.ok());
  EXPECT_THAT(Explain(replaced), HasSubstr("is missing"));
}

TEST_F(InputsTest, TheNoteBesideTellsOfAnEndThatWasCutOff) {
  auto content = text();
  content.erase(content.rfind('\n', content.size() - 2) + 1);
  folder_.Write(kName, content);
  const auto report = Check({file()});
  EXPECT_FALSE(report.ok());
  EXPECT_THAT(Explain(report), HasSubstr("the end is cut"));
}

TEST_F(InputsTest, ReadsOnAfterAGapAndNamesIt) {
  fs::remove(At(".000002"));
  const auto report = Check({file()});
  ASSERT_FALSE(report.ok());
  ASSERT_EQ(report.streams.at(0).missing.size(), 1U);
  const auto& gap = report.streams[0].missing[0];
  EXPECT_EQ(report.streams[0].records + gap.last_seq - gap.first_seq + 1, records_);
  EXPECT_EQ(report.streams[0].head, head_);
}

}  // namespace
}  // namespace signet::testing
