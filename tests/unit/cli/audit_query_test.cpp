#include <gmock/gmock.h>

#include "audit/record.hpp"
#include "cli/audit_rows.hpp"
#include "crypto/digest.hpp"
#include "encoding/text.hpp"
#include "support/journal_fixture.hpp"

namespace signet::testing {
namespace {

using audit::Outcome;
using audit::Release;
using audit::Released;
using audit::Result;
using cli::AuditFilter;
using ::testing::HasSubstr;
using ::testing::StartsWith;

using namespace std::chrono_literals;

class AuditQueryTest : public JournalFixture {
 protected:
  std::vector<cli::AuditRow> Rows(const AuditFilter& filter = {}, std::size_t window = cli::LateFacts::kWindow) {
    cli::LateFacts late(window);
    audit::VerifyOptions options;
    options.paths = {folder_.path()};
    options.observe = [&late](const std::string& stream, const audit::Line& line) { late.Observe(stream, line); };
    const auto report = audit::Verify(options);
    EXPECT_THAT(report, IsOk());
    std::vector<cli::AuditRow> rows;
    const auto found = cli::EachRow(*report, late, filter, [&rows](const cli::AuditRow& row) {
      rows.push_back(row);
      return true;
    });
    EXPECT_THAT(found, IsOk());
    return rows;
  }
};

TEST_F(AuditQueryTest, JoinsIntentOutcomeAndRelease) {
  auto journal = Open();
  Sign(*journal);
  const auto released = Sign(*journal, "controller");
  ASSERT_THAT(Append(*journal, Release{released, Released::kYes, {}}), IsOk());
  const auto dropped = Sign(*journal, "controller");
  ASSERT_THAT(Append(*journal, Release{dropped, Released::kNo, "Interrupted"}), IsOk());
  ASSERT_THAT(Append(*journal, MakeIntent()), IsOk());
  const auto lost = Sign(*journal, "controller");
  ASSERT_THAT(Append(*journal, Release{lost, Released::kUnknown, "DeliveryUnknown"}), IsOk());
  const auto rows = Rows();
  ASSERT_EQ(rows.size(), 5U);
  EXPECT_EQ(rows[0].result, "signed");
  EXPECT_EQ(rows[0].signature_sha256, std::string(64, 'd'));
  EXPECT_EQ(rows[1].released, "true");
  EXPECT_EQ(rows[1].request, "ci/req");
  EXPECT_EQ(rows[2].result, "discarded");
  EXPECT_EQ(rows[2].reason, "Interrupted");
  EXPECT_EQ(rows[3].result, "open");
  EXPECT_EQ(rows[4].result, "signed");
  EXPECT_EQ(rows[4].released, "unknown");
  EXPECT_TRUE(ToJson(rows[4]).at("released").is_null());
}

TEST_F(AuditQueryTest, FindsTheRecordOfASignatureByItsMalleableTwin) {
  auto journal = Open();
  Sign(*journal);
  // (r, s) and (r, n-s) on P-256, with s = 1: SEC 2 section 2.4.2 gives n.
  const auto original = *encoding::FromHex("3006020105020101");
  const auto twin =
      *encoding::FromHex("3026020105022100ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632550");
  const auto intent = MakeIntent();
  ASSERT_THAT(Append(*journal, intent), IsOk());
  ASSERT_THAT(Append(*journal, Outcome{intent.operation, Result::kSigned, crypto::Sha256Hex(original), {}}), IsOk());
  for (const auto& given : {original, twin}) {
    AuditFilter filter;
    filter.signatures = cli::SignatureHashes(given);
    const auto rows = Rows(filter);
    ASSERT_EQ(rows.size(), 1U);
    EXPECT_EQ(rows[0].operation, intent.operation);
  }
  AuditFilter other;
  other.signatures = cli::SignatureHashes(*encoding::FromHex("3006020105020102"));
  EXPECT_TRUE(Rows(other).empty());
}

TEST_F(AuditQueryTest, ShowsTheArtifactsAnnotationsAndHowManyThereWasNoRoomFor) {
  auto journal = Open();
  auto intent = MakeIntent();
  intent.artifact_annotations = {{"a", "1"}, {"b", std::string(audit::kMaxAnnotationBytes, 'x')}, {"c\x1b", "\"3\""}};
  ASSERT_THAT(Append(*journal, intent), IsOk());
  Sign(*journal);
  const auto rows = Rows();
  ASSERT_EQ(rows.size(), 2U);
  const auto shown = ToJson(rows[0]);
  EXPECT_EQ(shown.at("artifactAnnotations"), (nlohmann::json{{"a", "1"}, {"c\x1b", "\"3\""}}));
  EXPECT_EQ(shown.at("artifactAnnotationsOmitted"), 1);
  EXPECT_FALSE(ToJson(rows[1]).contains("artifactAnnotations"));
  EXPECT_TRUE(Verify().ok());
}

TEST_F(AuditQueryTest, Filters) {
  auto journal = Open();
  Sign(*journal);
  Sign(*journal, "controller");
  const auto matching = [this](auto change) {
    AuditFilter filter;
    change(filter);
    return Rows(filter).size();
  };
  EXPECT_EQ(matching([](AuditFilter& filter) { filter.policy = "release"; }), 2U);
  EXPECT_EQ(matching([](AuditFilter& filter) { filter.policy = "other"; }), 0U);
  EXPECT_EQ(matching([](AuditFilter& filter) { filter.digest = "sha256:cccc"; }), 2U);
  EXPECT_EQ(matching([](AuditFilter& filter) { filter.request = "ci/req"; }), 1U);
  EXPECT_EQ(matching([](AuditFilter& filter) { filter.result = "failed"; }), 0U);
  const auto later = clock_.Now() + std::chrono::hours(1);
  EXPECT_EQ(matching([&](AuditFilter& filter) { filter.since = later; }), 0U);
  EXPECT_EQ(matching([&](AuditFilter& filter) { filter.until = later; }), 2U);
}

TEST_F(AuditQueryTest, FindsAPodAndACallWithItsRetries) {
  auto journal = Open();
  Sign(*journal);  // as records without these fields are
  for (int i = 0; i < 2; ++i) {
    auto intent = MakeIntent("gateway");
    intent.pod = {"ci", "build-7", "5a29e13d", "node-1"};
    intent.idempotency_key = "job-7/1";
    ASSERT_THAT(Append(*journal, intent), IsOk());
  }
  for (const auto* pod : {"ci/build-7", "5a29e13d"}) {
    AuditFilter filter;
    filter.pod = pod;
    const auto rows = Rows(filter);
    ASSERT_EQ(rows.size(), 2U) << pod;
    EXPECT_EQ(rows[0].pod_uid, "5a29e13d");
    EXPECT_EQ(ToJson(rows[0])["node"], "node-1");
    EXPECT_EQ(ToJson(rows[0])["idempotencyKey"], "job-7/1");
    EXPECT_THAT(cli::ToTable(rows, 200), HasSubstr("ci/build-7"));
    EXPECT_THAT(cli::ToCsv(rows[0]), HasSubstr(",ci/build-7,5a29e13d,node-1,job-7/1\r\n"));
  }
  AuditFilter retries;
  retries.idempotency_key = "job-7/1";
  EXPECT_EQ(Rows(retries).size(), 2U);
  retries.pod = "ci/build-8";
  EXPECT_TRUE(Rows(retries).empty());
  EXPECT_EQ(Rows().size(), 3U);
  EXPECT_TRUE(Verify().ok());
}

TEST_F(AuditQueryTest, ReadsAllSegments) {
  segment_bytes_ = 4096;
  auto journal = Open();
  for (int i = 0; i < 30; ++i) Sign(*journal);
  EXPECT_EQ(Rows().size(), 30U);
}

TEST_F(AuditQueryTest, ShowsNothingAfterABreak) {
  {
    auto journal = Open();
    for (int i = 0; i < 3; ++i) Sign(*journal);
  }
  auto broken = text();
  const auto second = broken.find("intent", broken.find("outcome"));
  broken.replace(broken.find("release", second), 7, "RELEASE");
  folder_.Write(kName, broken);
  const auto report = Verify();
  EXPECT_FALSE(report.ok());
  const auto rows = Rows();
  for (const auto& row : rows) EXPECT_LE(row.seq, report.streams.front().last_seq);
  EXPECT_LT(rows.size(), 3U);
}

TEST_F(AuditQueryTest, JoinsWhatComesLongAfterTheIntentInBoundedMemory) {
  segment_bytes_ = 4096;
  auto journal = Open();
  const auto early = MakeIntent("controller");
  ASSERT_THAT(Append(*journal, early), IsOk());
  const auto waiting = Sign(*journal, "controller");
  for (int i = 0; i < 20; ++i) Sign(*journal, i % 2 == 0 ? "controller" : "socket");
  ASSERT_THAT(Append(*journal, Outcome{early.operation, Result::kSigned, std::string(64, 'e'), {}}), IsOk());
  ASSERT_THAT(Append(*journal, Release{early.operation, Released::kNo, "Interrupted"}), IsOk());
  ASSERT_THAT(Append(*journal, Release{waiting, Released::kYes, {}}), IsOk());
  const auto whole = Rows();
  ASSERT_EQ(whole.size(), 22U);
  EXPECT_EQ(whole[0].result, "discarded");
  EXPECT_EQ(whole[1].released, "true");
  for (const std::size_t window : {1U, 2U, 3U, 21U, 22U, 1000U}) {
    const auto rows = Rows({}, window);
    ASSERT_EQ(rows.size(), whole.size()) << window;
    for (std::size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(ToJson(rows[i]), ToJson(whole[i])) << window;
  }
  AuditFilter discarded;
  discarded.result = "discarded";
  EXPECT_EQ(Rows(discarded, 2).size(), 1U);
}

TEST_F(AuditQueryTest, MergesStreamsByTime) {
  auto journal = Open();
  audit::Journal::Options options;
  options.file = folder_.path() / "other.jsonl";
  auto other = audit::Journal::Open(options, reactor_, clock_);
  ASSERT_THAT(other, IsOk());
  for (int i = 0; i < 6; ++i) {
    clock_.Advance(1s);
    Sign(i % 2 == 0 ? *journal : **other);
  }
  const auto rows = Rows();
  ASSERT_EQ(rows.size(), 6U);
  for (std::size_t i = 1; i < rows.size(); ++i) EXPECT_LT(rows[i - 1].time, rows[i].time);
}

TEST_F(AuditQueryTest, WritesCsvThatSpreadsheetsDoNotRun) {
  cli::AuditRow row;
  row.artifact = "=cmd|'x'";
  row.principal = "say \"hi\", there";
  const auto csv = cli::CsvHeader() + cli::ToCsv(row);
  EXPECT_THAT(csv, StartsWith("time,operation,result,"));
  EXPECT_THAT(csv, HasSubstr("\"say \"\"hi\"\", there\""));
  EXPECT_THAT(csv, HasSubstr(",'=cmd|'x',"));
  EXPECT_THAT(csv, ::testing::EndsWith("\r\n"));
}

}  // namespace
}  // namespace signet::testing
