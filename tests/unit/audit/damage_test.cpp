// The file of the record removed, cut, replaced or written to by others: while the journal is open, and between two
// runs.
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <map>
#include <utility>

#include "audit/journal.hpp"
#include "support/journal_fixture.hpp"

namespace signet::testing {
namespace {

using audit::Outcome;
using audit::Result;
using base::Code;
using ::testing::HasSubstr;
using ::testing::Not;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

struct Damage {
  std::string name;
  std::function<void(const fs::path& file)> act;
  std::string reason;
  bool complete = false;  ///< every line is still in the folder
};

std::string Slurp(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}
/// Into the same inode, as `cp` and shells do.
void Spill(const fs::path& file, const std::string& text) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << text;
}
std::string FirstLines(const std::string& text, int count) {
  std::size_t at = 0;
  for (int i = 0; i < count; ++i) at = text.find('\n', at) + 1;
  return text.substr(0, at);
}

std::vector<Damage> AllDamages() {
  const auto file_in = [](const fs::path& file, const char* name) { return file.parent_path() / name; };
  return {
      {"Removed", [](auto& file) { fs::remove(file); }, "FileRemoved"},
      {"RenamedByLogrotate", [](auto& file) { fs::rename(file, file.string() + ".1"); }, "FileRemoved", true},
      {"RenamedAndCreatedEmpty",
       [](auto& file) {
         fs::rename(file, file.string() + ".1");
         Spill(file, "");
       },
       "FileReplaced", true},
      {"CopiedAndTruncated",
       [](auto& file) {
         fs::copy(file, file.string() + ".1");
         fs::resize_file(file, 0);
       },
       "FileTruncated", true},
      {"TruncatedToNothing", [](auto& file) { fs::resize_file(file, 0); }, "FileTruncated"},
      {"TruncatedAtALine", [](auto& file) { fs::resize_file(file, FirstLines(Slurp(file), 2).size()); },
       "FileTruncated"},
      {"TruncatedInsideALine", [](auto& file) { fs::resize_file(file, FirstLines(Slurp(file), 2).size() + 40); },
       "FileTruncated"},
      {"LastNewlineCut", [](auto& file) { fs::resize_file(file, fs::file_size(file) - 1); }, "FileTruncated", true},
      {"OlderCopyInPlace", [](auto& file) { Spill(file, FirstLines(Slurp(file), 2)); }, "FileTruncated"},
      {"OlderCopyMovedOver",
       [=](auto& file) {
         Spill(file_in(file, "old"), FirstLines(Slurp(file), 2));
         fs::rename(file_in(file, "old"), file);
       },
       "FileReplaced"},
      {"ReplacedByAnotherFile",
       [=](auto& file) {
         Spill(file_in(file, "other"), "somebody else's lines\n");
         fs::rename(file_in(file, "other"), file);
       },
       "FileReplaced"},
      {"ReplacedByASymlink",
       [=](auto& file) {
         fs::remove(file);
         fs::create_symlink("/dev/null", file);
       },
       "FileReplaced"},
      {"ReplacedByAFolder",
       [](auto& file) {
         fs::remove(file);
         fs::create_directory(file);
       },
       "FileReplaced"},
      {"FolderMovedAndMadeAgain",
       [=](auto& file) {
         const auto folder = file.parent_path();
         fs::create_directory(folder.string() + "/moved");
         for (const char* name : {"audit.jsonl", "audit.jsonl.lock", "audit.jsonl.head"}) {
           fs::rename(folder / name, folder / "moved" / name);
         }
       },
       "FileRemoved"},
      {"GrownByText", [](auto& file) { std::ofstream(file, std::ios::app) << "not ours\n"; }, "FileGrown", true},
      {"GrownByJson", [](auto& file) { std::ofstream(file, std::ios::app) << "{\"level\":\"info\"}\n"; }, "FileGrown",
       true},
      {"GrownByAnEmptyLine", [](auto& file) { std::ofstream(file, std::ios::app) << "\n"; }, "FileGrown", true},
  };
}

class DamageTest : public JournalFixture, public ::testing::WithParamInterface<Damage> {
 protected:
  /// Every line that the record says it has, up to the journal's head, is found or reported missing; nothing else is
  /// wrong.
  void ExpectTruth(const audit::Journal& journal, std::uint64_t first_after, bool complete) {
    const auto report = Verify();
    ASSERT_EQ(report.streams.size(), 1U) << Explain(report);
    const auto& stream = report.streams[0];
    EXPECT_EQ(stream.stream, journal.stream());
    EXPECT_EQ(stream.last_seq, journal.sequence());
    EXPECT_FALSE(stream.problem) << Explain(report);
    EXPECT_TRUE(report.problems.empty()) << Explain(report);
    EXPECT_EQ(report.ok(), complete) << Explain(report);
    std::uint64_t missing = 0;
    for (const auto& gap : stream.missing) {
      EXPECT_LT(gap.last_seq, first_after) << Explain(report);
      missing += gap.last_seq - gap.first_seq + 1;
    }
    EXPECT_EQ(stream.records + missing, journal.sequence()) << Explain(report);
  }
  [[nodiscard]] std::string Everything() const {
    std::string all;
    for (const auto& entry : fs::recursive_directory_iterator(folder_.path())) {
      if (entry.is_regular_file() && !entry.is_symlink()) all += Slurp(entry.path());
    }
    return all;
  }
};

TEST_P(DamageTest, IsNoticedBeforeTheNextRelease) {
  for (const auto durability : {audit::Durability::kProcess, audit::Durability::kFsync}) {
    SCOPED_TRACE(durability == audit::Durability::kFsync ? "fsync" : "process");
    durability_ = durability;
    for (const auto& entry : fs::directory_iterator(folder_.path())) fs::remove_all(entry.path());
    auto journal = Open();
    Sign(*journal);
    const auto open = MakeIntent("controller");
    ASSERT_THAT(Append(*journal, open), IsOk());
    const auto before = journal->sequence();

    GetParam().act(file());
    // The HSM has signed meanwhile: its outcome does not reach the record, so the signature is not released.
    EXPECT_THAT(Append(*journal, Outcome{open.operation, Result::kSigned, std::string(64, 'e'), {}}),
                IsErr(Code::kUnavailable, "AuditUnavailable"));
    EXPECT_FALSE(journal->available());
    EXPECT_THAT(Everything(), Not(HasSubstr(std::string(64, 'e')))) << "no line of it stays";
    EXPECT_THAT(Append(*journal, MakeIntent()), IsErr(Code::kUnavailable, "AuditUnavailable"));

    reactor_.Advance(1s);
    ASSERT_TRUE(reactor_.RunUntil([&] { return journal->available(); })) << "it heals without a restart";
    EXPECT_THAT(Append(*journal, Outcome{open.operation, Result::kDiscarded, std::string(64, 'e'), "AuditUnavailable"}),
                IsOk())
        << "the operation is still open";
    const auto after = Sign(*journal);
    EXPECT_THAT(Everything(), HasSubstr("\"reason\":\"" + GetParam().reason + "\""));
    EXPECT_THAT(Everything(), HasSubstr(after));
    ExpectTruth(*journal, before + 1, GetParam().complete);

    journal.reset();
    journal = Open();
    ASSERT_NE(journal, nullptr) << "the next start goes on";
    Sign(*journal);
    ExpectTruth(*journal, before + 1, GetParam().complete);
    EXPECT_EQ(journal->today().at(0).count, 3U) << "the day's budget is not refilled";
  }
}

TEST_P(DamageTest, IsNoticedByTheNextStart) {
  auto journal = Open();
  Sign(*journal);
  Sign(*journal);
  const auto before = journal->sequence();
  journal.reset();
  GetParam().act(file());
  if (!GetParam().complete) {
    audit::VerifyOptions options;
    options.paths = {file().parent_path()};
    const auto report = audit::Verify(options);
    EXPECT_FALSE(report->ok()) << "before the start, too";
  }
  journal = Open();
  ASSERT_NE(journal, nullptr);
  Sign(*journal);
  if (GetParam().name == "FolderMovedAndMadeAgain") return;  // a new record, with a name of its own
  ExpectTruth(*journal, before + 1, GetParam().complete);
  if (GetParam().complete) {
    EXPECT_EQ(journal->today().at(0).count, 2U) << "read where the lines are now";
  }
}

INSTANTIATE_TEST_SUITE_P(All, DamageTest, ::testing::ValuesIn(AllDamages()),
                         [](const auto& one) { return one.param.name; });

using DamageAloneTest = JournalFixture;

TEST_F(DamageAloneTest, WaitsForAFolderThatIsAway) {
  const auto folder = folder_.path() / "record";
  fs::create_directory(folder);
  audit::Journal::Options options;
  options.file = folder / "audit.jsonl";
  auto journal = audit::Journal::Open(options, reactor_, clock_);
  ASSERT_THAT(journal, IsOk());
  Sign(**journal);
  fs::rename(folder, folder_.path() / "away");
  EXPECT_THAT(Append(**journal, MakeIntent()), IsErr(Code::kUnavailable, "AuditUnavailable"));
  reactor_.Advance(30s);
  EXPECT_FALSE((*journal)->available());
  fs::rename(folder_.path() / "away", folder);
  reactor_.Advance(10s);
  ASSERT_TRUE((*journal)->available());
  Sign(**journal);
  audit::VerifyOptions verify;
  verify.paths = {folder};
  const auto report = audit::Verify(verify);
  EXPECT_TRUE(report->ok()) << Explain(*report);
}

TEST_F(DamageAloneTest, TakesTheLockInAFolderThatWasMadeAgain) {
  auto journal = Open();
  Sign(*journal);
  fs::remove(file());
  fs::remove(file().string() + ".lock");
  EXPECT_FALSE(Append(*journal, MakeIntent()));
  reactor_.Advance(1s);
  ASSERT_TRUE(journal->available());
  EXPECT_THAT(TryOpen(), IsErr(Code::kFailedPrecondition, "AuditLocked"));
}

TEST_F(DamageAloneTest, RefusesALinkThatLeadsElsewhere) {
  const auto link = folder_.path() / "link";
  folder_.Write(kName, "");
  fs::create_symlink(file(), link);
  audit::Journal::Options options;
  options.file = link;
  auto journal = audit::Journal::Open(options, reactor_, clock_);
  ASSERT_THAT(journal, IsOk());
  Sign(**journal);
  fs::remove(link);
  folder_.Write("elsewhere", "");
  fs::create_symlink(folder_.path() / "elsewhere", link);
  EXPECT_FALSE(Append(**journal, MakeIntent()));
  reactor_.Advance(30s);
  EXPECT_FALSE((*journal)->available());
  fs::remove(link);
  fs::create_symlink(file(), link);
  reactor_.Advance(10s);
  ASSERT_TRUE((*journal)->available());
  Sign(**journal);
  EXPECT_TRUE(Verify().ok()) << Explain(Verify());
}

TEST_F(DamageAloneTest, NoticesALastLineThatWasExchanged) {
  Sign(*Open());
  auto content = text();
  const auto at = content.rfind("dddd");
  content.replace(at, 4, "eeee");
  folder_.Write(kName, content);
  EXPECT_FALSE(Verify().ok());
  EXPECT_THAT(TryOpen(), IsErr(Code::kInvalidArgument, "AuditCorrupt"));
}

/// Signs until there are `count` full segments more than now.
void FillSegments(const std::function<void()>& sign, const fs::path& file, std::size_t count) {
  const auto wanted = audit::Segments::Find(file).size() + count;
  for (int i = 0; i < 200 && audit::Segments::Find(file).size() < wanted; ++i) sign();
  ASSERT_EQ(audit::Segments::Find(file).size(), wanted);
}

TEST_F(DamageAloneTest, GivesNoSegmentTheNumberOfOneThatWasArchived) {
  segment_bytes_ = 4096;
  const auto archive = folder_.path() / "archive";
  fs::create_directory(archive);
  for (const bool with_note : {true, false}) {
    SCOPED_TRACE(with_note);
    auto journal = Open();
    FillSegments([&] { Sign(*journal); }, file(), 3);
    journal.reset();
    for (const auto& full : audit::Segments::Find(file())) {
      ASSERT_FALSE(fs::exists(archive / full.filename())) << "the same mv would overwrite it";
      fs::rename(full, archive / full.filename());
    }
    if (!with_note) fs::remove(file().string() + ".head");
  }
  // Only the note is left of the last ones.
  {
    auto journal = Open();
    FillSegments([&] { Sign(*journal); }, file(), 1);
  }
  for (const auto& full : audit::Segments::Find(file())) fs::rename(full, archive / full.filename());
  fs::rename(file(), archive / "audit.jsonl-moved");
  auto journal = Open();
  FillSegments([&] { Sign(*journal); }, file(), 1);
  for (const auto& full : audit::Segments::Find(file())) EXPECT_FALSE(fs::exists(archive / full.filename())) << full;
  for (const auto& entry : fs::directory_iterator(archive))
    fs::rename(entry.path(), folder_.path() / entry.path().filename());
  EXPECT_TRUE(Verify().ok()) << Explain(Verify());
}

TEST_F(DamageAloneTest, RenamesOverNothing) {
  segment_bytes_ = 4096;
  auto journal = Open();
  folder_.Write("audit.jsonl.000001", "somebody else's\n");
  fs::create_directory(folder_.path() / "audit.jsonl.000002");
  const auto count = [&] { return audit::Segments::Find(file()).size(); };
  for (int i = 0; i < 200 && count() < 3; ++i) Sign(*journal);
  ASSERT_EQ(count(), 3U);
  EXPECT_EQ(folder_.Read("audit.jsonl.000001"), "somebody else's\n");
  EXPECT_TRUE(fs::is_directory(folder_.path() / "audit.jsonl.000002"));
  EXPECT_THAT(folder_.Read("audit.jsonl"), HasSubstr("\"number\":3"));
}

/// Puts a file where the next segment goes, at the last moment.
class RacingFileSystem final : public audit::FileSystem {
 public:
  int RenameNew(const fs::path& from, const fs::path& to) override {
    if (!std::exchange(done_, true)) Spill(to, "somebody else's\n");
    return FileSystem::RenameNew(from, to);
  }

 private:
  bool done_ = false;
};

TEST_F(DamageAloneTest, TakesAnotherNumberWhenTheNameIsTakenAtTheLastMoment) {
  RacingFileSystem files;
  audit::Journal::Options options;
  options.file = file();
  options.segment_bytes = 4096;
  options.file_system = &files;
  auto journal = audit::Journal::Open(options, reactor_, clock_);
  ASSERT_THAT(journal, IsOk());
  for (int i = 0; i < 200 && !fs::exists(folder_.path() / "audit.jsonl.000002"); ++i) {
    if (Append(**journal, MakeIntent())) continue;
    reactor_.Advance(61s);
    ASSERT_TRUE((*journal)->available());
  }
  EXPECT_EQ(folder_.Read("audit.jsonl.000001"), "somebody else's\n");
  ASSERT_TRUE(fs::exists(folder_.path() / "audit.jsonl.000002"));
  fs::remove(folder_.path() / "audit.jsonl.000001");
  EXPECT_TRUE(Verify().ok()) << Explain(Verify());
}

TEST_F(DamageAloneTest, PutsTheNoteBackBeforeItWritesAgain) {
  const std::string note = file().string() + ".head";
  auto journal = Open();
  Sign(*journal);
  const auto end = audit::Segments::ReadNote(file());
  fs::remove(note);
  files_.write_error = ENOSPC;  // nothing is written, and the note is there all the same
  EXPECT_FALSE(Append(*journal, MakeIntent()));
  ASSERT_TRUE(audit::Segments::ReadNote(file()));
  EXPECT_EQ(audit::Segments::ReadNote(file())->head, end->head);
  files_.write_error = 0;
  reactor_.Advance(1s);
  ASSERT_TRUE(journal->available());

  const std::map<std::string, std::function<void()>> takes = {
      {"a folder", [&] { fs::create_directory(note); }},
      {"a FIFO", [&] { ASSERT_EQ(::mkfifo(note.c_str(), 0600), 0); }},
      {"a symlink", [&] { fs::create_symlink("/dev/null", note); }},
  };
  for (const auto& [what, take] : takes) {
    SCOPED_TRACE(what);
    fs::remove(note);
    take();
    EXPECT_THAT(Append(*journal, MakeIntent()), IsErr(Code::kUnavailable, "AuditUnavailable"));
    reactor_.Advance(30s);
    EXPECT_FALSE(journal->available());
    fs::remove(note);
    reactor_.Advance(10s);
    ASSERT_TRUE(journal->available());
    Sign(*journal);
    EXPECT_EQ(audit::Segments::ReadNote(file())->seq, journal->sequence());
  }
  EXPECT_TRUE(Verify().ok()) << Explain(Verify());
  journal.reset();
  fs::remove(note);
  ASSERT_EQ(::mkfifo(note.c_str(), 0600), 0);
  EXPECT_THAT(TryOpen(), IsErr(Code::kUnavailable, "AuditUnavailable"));
}

TEST_F(DamageAloneTest, BelievesNoDamagedNote) {
  Sign(*Open());
  const auto good = folder_.Read("audit.jsonl.head");
  const auto with = [&](const char* member, const nlohmann::json& value) {
    auto note = nlohmann::json::parse(good);
    note[member] = value;
    auto text = note.dump();
    text.resize(191, ' ');
    return text + "\n";
  };
  const std::vector<std::string> notes = {
      with("seq", 18446744073709551615U),
      with("seq", (1ULL << 53U) + 1),
      with("seq", 0),
      with("seq", -1),
      with("stream", "xyz"),
      with("stream", std::string(32, 'X')),
      with("head", std::string(64, 'z')),
      with("head", std::string(63, 'a')),
      "",
      "\n",
      "null\n",
      std::string(192, '\0'),
      good.substr(0, 80),
  };
  for (const auto& note : notes) {
    SCOPED_TRACE(note);
    folder_.Write("audit.jsonl.head", note);
    EXPECT_TRUE(Verify().ok()) << Explain(Verify());
    auto journal = Open();
    ASSERT_NE(journal, nullptr);
    Sign(*journal);
    journal.reset();
    EXPECT_TRUE(Verify().ok()) << Explain(Verify());
  }
  folder_.Write("audit.jsonl.head", with("segment", 18446744073709551615U));
  segment_bytes_ = 4096;
  auto journal = Open();
  for (int i = 0; i < 40; ++i) Sign(*journal);
  EXPECT_GT(audit::Segments::Find(file()).size(), 0U) << "numbers go on";
}

TEST_F(DamageAloneTest, CountsNothingOfLinesThatFailed) {
  segment_bytes_ = 4096;
  auto journal = Open();
  for (int i = 0; i < 12; ++i) {
    Sign(*journal, i % 2 == 0 ? "controller" : "socket");
    if (i == 6) clock_.Advance(24h);  // the first intent of a day fails
    const auto open = MakeIntent("controller");
    if (i != 6) {
      ASSERT_THAT(Append(*journal, open), IsOk());
    }
    files_.write_error = ENOSPC;
    auto other = MakeIntent();
    other.policy = "policy-" + std::to_string(i);
    other.key_id = std::string(64, static_cast<char>('0' + i % 10));
    journal->Append(other, [](const base::Status& status) { EXPECT_FALSE(status); });
    if (i != 6) {
      EXPECT_FALSE(Append(*journal, Outcome{open.operation, Result::kSigned, std::string(64, 'd'), {}}));
    } else {
      reactor_.RunReady();
    }
    files_.write_error = 0;
    reactor_.Advance(61s);
    ASSERT_TRUE(journal->available());
    if (i != 6) {
      EXPECT_THAT(Append(*journal, Outcome{open.operation, Result::kFailed, {}, "Again"}), IsOk());
    }
    EXPECT_TRUE(journal->KeysEverNamed(other.policy).empty());
  }
  ASSERT_GT(audit::Segments::Find(file()).size(), 2U);
  EXPECT_TRUE(Verify().ok()) << Explain(Verify()) << "each checkpoint follows from the lines before it";
}

}  // namespace
}  // namespace signet::testing
