#include "audit/journal.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/file.h>

#include <fstream>

#include "obs/metrics.hpp"
#include "support/journal_fixture.hpp"

namespace signet::testing {
namespace {

using audit::Outcome;
using audit::Release;
using audit::Released;
using audit::Result;
using base::Code;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

using JournalTest = JournalFixture;

TEST_F(JournalTest, WritesIntentAndOutcomeAsChainedLines) {
  auto journal = Open();
  const auto intent = MakeIntent();
  ASSERT_THAT(Append(*journal, intent), IsOk());
  const Outcome outcome{intent.operation, Result::kSigned, std::string(64, 'd'), {}};
  ASSERT_THAT(Append(*journal, outcome), IsOk());
  const auto records = Records();
  ASSERT_EQ(records.size(), 3U);
  EXPECT_EQ(records[0]["type"], "stream");
  EXPECT_EQ(records[0]["prev"], std::string(64, '0'));
  EXPECT_EQ(records[1]["type"], "intent");
  EXPECT_EQ(records[1]["seq"], 2);
  EXPECT_EQ(records[1]["artifactName"], intent.artifact_name);
  EXPECT_EQ(records[1]["peerUID"], 1000);
  EXPECT_EQ(records[1]["time"], "2026-11-23T09:00:00.000000Z");
  EXPECT_EQ(records[2]["signatureSha256"], std::string(64, 'd'));
  EXPECT_EQ(journal->sequence(), 3U);
  const auto report = Verify({journal->head()});
  EXPECT_TRUE(report.ok()) << Explain(report);
  EXPECT_EQ(report.streams.at(0).heads.at(0).records_after, 0U);
}

TEST_F(JournalTest, PublishesItsHeadAsTheOnlyOneOfItsName) {
  auto journal = Open();
  for (int i = 0; i < 3; ++i) {
    Sign(*journal);
    reactor_.Advance(1s);
    const auto metrics = obs::RenderMetrics();
    EXPECT_THAT(metrics, HasSubstr("signet_audit_head{head=\"" + journal->head() + "\"} 1"));
    const auto first = metrics.find("signet_audit_head{");
    EXPECT_EQ(metrics.find("signet_audit_head{", first + 1), std::string::npos);
  }
}

TEST_F(JournalTest, SharesOneWriteBetweenTheLinesOfOneTurn) {
  auto journal = Open();
  const int before = files_.writes;
  int done = 0;
  for (int i = 0; i < 256; ++i) journal->Append(MakeIntent(), [&](const base::Status&) { ++done; });
  reactor_.RunReady();
  EXPECT_EQ(done, 256);
  EXPECT_EQ(files_.writes, before + 1);
}

TEST_F(JournalTest, CommitsInGroupsWithFsync) {
  durability_ = audit::Durability::kFsync;
  auto journal = Open();
  const int before = files_.syncs;
  int done = 0;
  for (int i = 0; i < 100; ++i) {
    journal->Append(MakeIntent(), [&](const base::Status& status) { done += status.has_value() ? 1 : 0; });
    reactor_.RunReady();
  }
  ASSERT_TRUE(reactor_.RunUntil([&] { return done == 100; }));
  EXPECT_GE(files_.syncs, before + 1);
  EXPECT_LE(files_.syncs, before + 100);
  EXPECT_TRUE(Verify().ok());
}

TEST_F(JournalTest, WritesWhatIsQueuedWhenItCloses) {
  for (const auto durability : {audit::Durability::kProcess, audit::Durability::kFsync}) {
    durability_ = durability;
    auto journal = Open();
    journal->Append(MakeIntent(), [](const base::Status&) {});
    journal->Note({"socket", "someone", "release", "NotAllowed", 1});
    journal.reset();
    EXPECT_EQ(Records().back()["type"], "refused");
    EXPECT_TRUE(Verify().ok());
  }
}

TEST_F(JournalTest, GoesOnWithTheSameStream) {
  std::string head;
  {
    auto journal = Open();
    Sign(*journal);
    head = journal->head();
  }
  auto journal = Open();
  EXPECT_EQ(journal->head(), head);
  Sign(*journal);
  const auto report = Verify({head});
  EXPECT_TRUE(report.ok()) << Explain(report);
  ASSERT_EQ(report.streams.size(), 1U);
  EXPECT_EQ(report.streams[0].heads.at(0).records_after, 2U);
}

TEST_F(JournalTest, RefusesASecondProcess) {
  auto journal = Open();
  EXPECT_THAT(TryOpen(), IsErr(Code::kFailedPrecondition, "AuditLocked"));
  journal.reset();
  EXPECT_THAT(TryOpen(), IsOk());
}

TEST_F(JournalTest, RefusesASecondNameOfTheSameFile) {
  auto journal = Open();
  std::filesystem::create_hard_link(file(), folder_.path() / "alias");
  audit::Journal::Options options;
  options.file = folder_.path() / "alias";
  EXPECT_THAT(audit::Journal::Open(options, reactor_, clock_), IsErr(Code::kFailedPrecondition, "AuditLocked"));
}

TEST_F(JournalTest, OpensWhateverLocksAReaderOfTheRecordHolds) {
  { Sign(*Open()); }
  const base::UniqueFd reader(::open(file().c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::flock(reader.get(), LOCK_EX), 0);
  struct flock read {};
  read.l_type = F_RDLCK;
  ASSERT_EQ(::fcntl(reader.get(), F_OFD_SETLK, &read), 0);
  EXPECT_THAT(TryOpen(), IsOk());
}

TEST_F(JournalTest, LeavesFilesAloneThatAreNotItsOwn) {
  for (const std::string content : {"root:x:0:0\n", "no newline", "{\"a\":1}\n", "{\"stream\":1}"}) {
    folder_.Write(kName, content);
    EXPECT_THAT(TryOpen(), IsErr(Code::kInvalidArgument, "AuditCorrupt")) << content;
    EXPECT_EQ(text(), content);
  }
}

TEST_F(JournalTest, RefusesToGoOnWithAnEditedRecord) {
  Sign(*Open());
  auto content = text();
  content.replace(content.find("builder"), 7, "buildex");
  folder_.Write(kName, content);
  EXPECT_THAT(TryOpen(), IsErr(Code::kInvalidArgument, "AuditCorrupt"));
  EXPECT_EQ(text(), content);
}

TEST_F(JournalTest, StartsInAnEmptyFile) {
  folder_.Write(kName, "");
  Sign(*Open());
  EXPECT_TRUE(Verify().ok());
}

TEST_F(JournalTest, GivesOpenIntentsTheOutcomeUnknown) {
  std::string open;
  {
    auto journal = Open();
    const auto intent = MakeIntent();
    open = intent.operation;
    ASSERT_THAT(Append(*journal, intent), IsOk());
    Sign(*journal);
  }
  auto journal = Open();
  const auto last = Records().back();
  EXPECT_EQ(last["type"], "outcome");
  EXPECT_EQ(last["operation"], open);
  EXPECT_EQ(last["result"], "unknown");
  EXPECT_EQ(last["reason"], "Interrupted");
  journal.reset();
  const auto size = text().size();
  Open();
  EXPECT_EQ(text().size(), size) << "a second start finds nothing to close";
  EXPECT_EQ(Verify().streams.at(0).open, 0U);
}

TEST_F(JournalTest, KnowsSignaturesThatWaitForTheirRelease) {
  std::string waiting;
  {
    auto journal = Open();
    waiting = Sign(*journal, "controller");
    const auto settled = Sign(*journal, "controller");
    ASSERT_THAT(Append(*journal, Release{settled, Released::kYes, {}}), IsOk());
    Sign(*journal, "socket");
  }
  auto journal = Open();
  ASSERT_EQ(journal->unsettled().size(), 1U);
  const auto& open = journal->unsettled()[0];
  EXPECT_EQ(open.operation, waiting);
  EXPECT_EQ(open.request_uid, "uid-1");
  EXPECT_EQ(open.signature_sha256, std::string(64, 'd'));
  EXPECT_TRUE(open.has_outcome);
  ASSERT_THAT(Append(*journal, Release{waiting, Released::kNo, "Interrupted"}), IsOk());
  journal.reset();
  EXPECT_TRUE(Open()->unsettled().empty());
  EXPECT_TRUE(Verify().ok());
}

TEST_F(JournalTest, SettlesWithoutDenyingARelease) {
  auto journal = Open();
  const auto operation = Sign(*journal, "controller");
  ASSERT_THAT(Append(*journal, Release{operation, Released::kUnknown, "DeliveryUnknown"}), IsOk());
  EXPECT_THAT(Append(*journal, Release{operation, Released::kUnknown, "DeliveryUnknown"}),
              IsErr(Code::kFailedPrecondition));
  EXPECT_TRUE(Records().back()["released"].is_null());
  const auto report = Verify();
  EXPECT_TRUE(report.ok()) << Explain(report);
  EXPECT_EQ(report.streams.at(0).released, 0U);
  EXPECT_EQ(report.streams.at(0).delivery_unknown, 1U);
  EXPECT_EQ(report.streams.at(0).unsettled, 0U);
}

TEST_F(JournalTest, RefusesLinesThatWouldContradictItself) {
  auto journal = Open();
  const auto signed_operation = Sign(*journal);
  EXPECT_THAT(Append(*journal, Outcome{signed_operation, Result::kFailed, {}, "Again"}),
              IsErr(Code::kFailedPrecondition));
  EXPECT_THAT(Append(*journal, Release{ids_.Next(), Released::kYes, {}}), IsErr(Code::kFailedPrecondition));
  EXPECT_THAT(Append(*journal, Release{signed_operation, Released::kNo, "PolicyChanged"}), IsOk());
  EXPECT_TRUE(Verify().ok()) << Explain(Verify());
}

TEST_F(JournalTest, KeepsTheStreamsNameForAsLongAsFileOrNoteLives) {
  const auto name = Open()->stream();
  EXPECT_EQ(name.size(), 32U);
  EXPECT_EQ(Records().front()["stream"], name);
  EXPECT_EQ(Open()->stream(), name);
  std::filesystem::remove(file());
  EXPECT_EQ(Open()->stream(), name);
  std::filesystem::remove(file());
  std::filesystem::remove(file().string() + ".head");
  EXPECT_NE(Open()->stream(), name);
}

TEST_F(JournalTest, CountsTodaysIntents) {
  {
    auto journal = Open();
    Sign(*journal);
    clock_.Advance(24h);
    Sign(*journal);
    Sign(*journal);
  }
  auto journal = Open();
  ASSERT_EQ(journal->today().size(), 1U);
  EXPECT_EQ(journal->today()[0].policy, "release");
  EXPECT_EQ(journal->today()[0].principal, "system:serviceaccount:ci:builder");
  EXPECT_EQ(journal->today()[0].count, 2U);
  journal.reset();
  clock_.Advance(24h);
  EXPECT_TRUE(Open()->today().empty());
}

TEST_F(JournalTest, RemembersKeysOfIntentsAndEvents) {
  {
    auto journal = Open();
    Sign(*journal);
    journal->Event("keyGenerated", {{"policy", "other"}, {"keyID", "ef"}}, {});
    reactor_.RunReady();
    EXPECT_THAT(journal->KeysEverNamed("other"), ElementsAre("ef"));
  }
  auto journal = Open();
  EXPECT_THAT(journal->KeysEverNamed("release"), ElementsAre(std::string(64, 'b')));
  EXPECT_THAT(journal->KeysEverNamed("other"), ElementsAre("ef"));
  EXPECT_TRUE(journal->KeysEverNamed("third").empty());
}

TEST_F(JournalTest, KeepsItsOwnTypesAndFieldsFromEvents) {
  auto journal = Open();
  base::Status status;
  for (const auto& [type, field] : std::map<std::string, std::string>{{"intent", "x"}, {"fine", "seq"}, {"", "x"}}) {
    journal->Event(type, {{field, "1"}}, [&](const base::Status& s) { status = s; });
    reactor_.RunReady();
    EXPECT_THAT(status, IsErr(Code::kInvalidArgument));
  }
  EXPECT_EQ(journal->sequence(), 1U);
}

TEST_F(JournalTest, WritesHostileTextAsJson) {
  auto journal = Open();
  auto intent = MakeIntent();
  intent.artifact_name = std::string("a\"b\\c\n\0d\xff\xc0\x80 \xE2\x80\xA8", 16);
  ASSERT_THAT(Append(*journal, intent), IsOk());
  EXPECT_EQ(Records().size(), 2U);
  EXPECT_TRUE(Verify().ok()) << Explain(Verify());
}

TEST_F(JournalTest, AddsRefusalsUp) {
  auto journal = Open();
  for (int i = 0; i < 1000; ++i) journal->Note({"socket", "alice", "release", "NotAllowed", 1});
  journal->Note({"socket", "alice", "release", "Suspended", 1});
  reactor_.Advance(9s);
  EXPECT_EQ(Records().size(), 1U);
  reactor_.Advance(1s);
  auto records = Records();
  ASSERT_EQ(records.size(), 3U);
  EXPECT_EQ(records[1]["count"].get<int>() + records[2]["count"].get<int>(), 1001);
  reactor_.Advance(60s);
  EXPECT_EQ(Records().size(), 3U);
  EXPECT_EQ(reactor_.timers(), 0U) << "no timer without refusals";
}

TEST_F(JournalTest, BoundsRefusalsOfManyNames) {
  auto journal = Open();
  for (int i = 0; i < 5000; ++i) {
    journal->Note({"socket", "alice", "policy" + std::to_string(i), "NotAllowed", 1});
    journal->Note({"gateway", "user" + std::to_string(i) + std::string(5000, 'x'), "p", "NotAllowed", 1});
  }
  reactor_.Advance(10s);
  const auto records = Records();
  EXPECT_LE(records.size(), 1010U);
  std::uint64_t count = 0;
  for (const auto& record : records) count += record.value("count", 0U);
  EXPECT_EQ(count, 10000U) << "nothing is dropped";
  EXPECT_LT(text().size(), 1'000'000U);
}

// ---- failures ---------------------------------------------------------------------------

TEST_F(JournalTest, SaysNoAndHealsWhenTheDiskIsFull) {
  for (const std::size_t budget : {0U, 1U, 100U, 700U, 900U}) {
    auto journal = Open();
    const auto before = text();
    files_.write_error = ENOSPC;
    files_.budget = budget;
    const auto intent = MakeIntent();
    int failed = 0;
    for (int i = 0; i < 2; ++i) {
      journal->Append(i == 0 ? intent : MakeIntent(), [&](const base::Status& status) {
        EXPECT_THAT(status, IsErr(Code::kUnavailable, "AuditUnavailable"));
        ++failed;
      });
    }
    reactor_.RunReady();
    EXPECT_EQ(failed, 2);
    EXPECT_FALSE(journal->available());
    EXPECT_THAT(Append(*journal, MakeIntent()), IsErr(Code::kUnavailable, "AuditUnavailable"));
    reactor_.Advance(30s);
    EXPECT_FALSE(journal->available());
    files_.write_error = 0;
    reactor_.Advance(5s);
    ASSERT_TRUE(journal->available());
    EXPECT_EQ(text().substr(0, before.size()), before);
    EXPECT_EQ(Records().back()["type"], "resumed");
    EXPECT_THAT(Append(*journal, Outcome{intent.operation, Result::kSigned, std::string(64, 'd'), {}}),
                IsErr(Code::kFailedPrecondition))
        << "the intent that failed is not in the record";
    Sign(*journal);
    EXPECT_TRUE(Verify().ok()) << Explain(Verify());
  }
}

TEST_F(JournalTest, ContinuesShortWrites) {
  files_.chunk = 7;
  auto journal = Open();
  Sign(*journal);
  EXPECT_TRUE(Verify().ok()) << Explain(Verify());
}

TEST_F(JournalTest, FailsWhatWaitsWhenFsyncFails) {
  durability_ = audit::Durability::kFsync;
  auto journal = Open();
  Sign(*journal);
  files_.sync_error = EIO;
  int failed = 0;
  for (int i = 0; i < 20; ++i) {
    journal->Append(MakeIntent(), [&](const base::Status& status) { failed += status ? 0 : 1; });
    reactor_.RunReady();
  }
  ASSERT_TRUE(reactor_.RunUntil([&] { return failed == 20; }));
  files_.sync_error = 0;
  reactor_.Advance(10s);
  ASSERT_TRUE(reactor_.RunUntil([&] { return journal->available(); }));
  Sign(*journal);
  const auto report = Verify();
  EXPECT_TRUE(report.ok()) << Explain(report);
  EXPECT_EQ(report.streams.at(0).intents, 2U) << "lines that failed are not in the record";
}

TEST_F(JournalTest, StaysUnavailableWhileItCannotTakeBackHalfALine) {
  auto journal = Open();
  files_.write_error = ENOSPC;
  files_.budget = 50;
  files_.truncate_error = EIO;
  EXPECT_THAT(Append(*journal, MakeIntent()), IsErr(Code::kUnavailable));
  files_.write_error = 0;
  reactor_.Advance(20s);
  EXPECT_FALSE(journal->available());
  journal.reset();
  files_.truncate_error = 0;
  journal = Open();  // as after a crash: the torn line is closed
  Sign(*journal);
  const auto report = Verify();
  EXPECT_TRUE(report.ok()) << Explain(report);
  EXPECT_EQ(report.streams.at(0).torn_lines.size(), 1U);
}

TEST_F(JournalTest, CannotBeOpenedWhereItCannotWrite) {
  files_.write_error = ENOSPC;
  EXPECT_THAT(TryOpen(), IsErr(Code::kUnavailable, "AuditUnavailable"));
  files_.write_error = 0;
  EXPECT_THAT(TryOpen(), IsOk());
}

// ---- torn lines -------------------------------------------------------------------------

TEST_F(JournalTest, ClosesALineTornAtAnyOctet) {
  {
    auto journal = Open();
    Sign(*journal);
  }
  const auto whole = text();
  const auto last = whole.rfind('\n', whole.size() - 2) + 1;
  for (std::size_t end = last; end < whole.size(); ++end) {
    Crash(whole.substr(0, end));
    {
      auto journal = Open();
      ASSERT_NE(journal, nullptr) << end;
      Sign(*journal);
    }
    EXPECT_EQ(text().substr(0, end), whole.substr(0, end)) << "nothing is cut away";
    const auto report = Verify();
    ASSERT_TRUE(report.ok()) << end << ": " << Explain(report);
    const bool torn = end > last && end < whole.size() - 1;  // whole but for its newline: not torn
    ASSERT_EQ(report.streams[0].torn_lines.size(), torn ? 1U : 0U) << end;
    EXPECT_EQ(report.streams[0].open, 0U);
  }
}

TEST_F(JournalTest, ClosesAFirstLineTornAtAnyOctet) {
  Open();
  const auto whole = text();
  for (std::size_t end = 0; end < whole.size(); ++end) {
    Crash(whole.substr(0, end));
    Sign(*Open());
    const auto report = Verify();
    ASSERT_TRUE(report.ok()) << end << ": " << Explain(report);
  }
}

TEST_F(JournalTest, ClosesWhatCrashesDuringRecoveryLeft) {
  {
    auto journal = Open();
    Sign(*journal);
  }
  const auto whole = text();
  const auto torn = whole.substr(0, whole.size() - 20);
  Crash(torn);
  Open();
  const auto recovered = text();
  for (std::size_t end = torn.size() + 1; end < recovered.size(); ++end) {
    Crash(recovered.substr(0, end));
    Sign(*Open());
    const auto report = Verify();
    ASSERT_TRUE(report.ok()) << end << ": " << Explain(report);
    // The line torn first, and perhaps one that was to close it.
    ASSERT_GE(report.streams[0].torn_lines.size(), 1U) << end;
    ASSERT_LE(report.streams[0].torn_lines.size(), 2U) << end;
  }
}

TEST_F(JournalTest, ClosesAHoleOfZeros) {
  Sign(*Open());
  const auto whole = text();
  folder_.Write(kName, whole + std::string(3 << 20, '\0'));
  Sign(*Open());
  const auto report = Verify();
  EXPECT_TRUE(report.ok()) << Explain(report);
  EXPECT_EQ(report.streams[0].torn_lines.at(0).bytes, 3U << 20);
}

// ---- rotation ---------------------------------------------------------------------------

TEST_F(JournalTest, RotatesBySizeAndKeepsTheChain) {
  for (const auto durability : {audit::Durability::kProcess, audit::Durability::kFsync}) {
    durability_ = durability;
    segment_bytes_ = 4096;
    {
      auto journal = Open();
      for (int i = 0; i < 40; ++i) Sign(*journal, i % 2 == 0 ? "controller" : "socket");
      journal->Append(MakeIntent(), [](const base::Status&) {});
    }
    EXPECT_GT(audit::Segments::Find(file()).size(), 5U);
    const auto report = Verify();
    ASSERT_TRUE(report.ok()) << Explain(report);
    EXPECT_EQ(report.streams.size(), 1U);
  }
}

TEST_F(JournalTest, KnowsEverythingFromItsLastSegment) {
  segment_bytes_ = 4096;
  std::string waiting;
  {
    auto journal = Open();
    journal->Event("keyGenerated", {{"policy", "old"}, {"keyID", "ef"}}, {});
    waiting = Sign(*journal, "controller");
    for (int i = 0; i < 30; ++i) Sign(*journal);
  }
  for (const auto& segment : audit::Segments::Find(file())) std::filesystem::remove(segment);  // archived elsewhere
  auto journal = Open();
  EXPECT_THAT(journal->KeysEverNamed("old"), ElementsAre("ef"));
  ASSERT_EQ(journal->unsettled().size(), 1U);
  EXPECT_EQ(journal->unsettled()[0].operation, waiting);
  EXPECT_EQ(journal->today().at(0).count, 31U);
}

TEST_F(JournalTest, FinishesARotationThatACrashInterrupted) {
  segment_bytes_ = 4096;
  {
    auto journal = Open();
    while (audit::Segments::Find(file()).size() < 3) Sign(*journal);
  }
  const auto full = audit::Segments::Find(file()).back();
  // Between the two renames: FILE is gone, FILE.next is whole.
  std::filesystem::rename(file(), file().string() + ".next");
  Sign(*Open());
  EXPECT_TRUE(Verify().ok()) << Explain(Verify());
  EXPECT_FALSE(std::filesystem::exists(file().string() + ".next"));
  // Before the first rename: FILE.next is there and counts for nothing.
  folder_.Write(std::string(kName) + ".next", "{\"stream\":\"half");
  Sign(*Open());
  EXPECT_TRUE(Verify().ok()) << Explain(Verify());
  EXPECT_FALSE(std::filesystem::exists(file().string() + ".next"));
}

TEST_F(JournalTest, GoesOnAfterTheLastFullSegmentWhenFileAndNoteAreLost) {
  segment_bytes_ = 4096;
  {
    auto journal = Open();
    while (audit::Segments::Find(file()).size() < 2) Sign(*journal);
  }
  for (const std::string left : {"", "{\"stream\":\"00", "absent"}) {
    Crash(left);
    if (left == "absent") std::filesystem::remove(file());
    const auto journal = Open();
    ASSERT_NE(journal, nullptr) << left;
    Sign(*journal);
    const auto report = Verify();
    EXPECT_THAT(Explain(report), HasSubstr("it is not known how many"));
    EXPECT_FALSE(report.ok());
    EXPECT_FALSE(report.streams.at(0).problem) << "what is there is whole";
  }
}

TEST_F(JournalTest, GoesOnInTheOldFileWhileItCannotRotate) {
  segment_bytes_ = 4096;
  for (const int renames : {0, 1}) {
    SCOPED_TRACE(renames);
    auto journal = Open();
    const auto segments = audit::Segments::Find(file()).size();
    bool failed = false;
    for (int i = 0; i < 40 && !failed; ++i) {
      files_.renames_until_error = renames;
      failed = !Append(*journal, MakeIntent());
    }
    ASSERT_TRUE(failed);
    files_.renames_until_error = -1;
    reactor_.Advance(1s);
    ASSERT_TRUE(journal->available());
    EXPECT_EQ(audit::Segments::Find(file()).size(), segments);
    Sign(*journal);
    EXPECT_EQ(audit::Segments::Find(file()).size(), segments) << "not tried again at once";
    EXPECT_TRUE(Verify().ok()) << Explain(Verify());
    reactor_.Advance(61s);
    Sign(*journal);
    EXPECT_EQ(audit::Segments::Find(file()).size(), segments + 1);
    EXPECT_TRUE(Verify().ok()) << Explain(Verify());
  }
}

}  // namespace
}  // namespace signet::testing
