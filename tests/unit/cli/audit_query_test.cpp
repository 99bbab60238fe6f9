#include <gmock/gmock.h>

#include "cli/audit_rows.hpp"
#include "support/journal_fixture.hpp"

namespace signet::testing {
namespace {

using audit::Outcome;
using audit::Release;
using audit::Released;
using audit::Result;
using cli::AuditFilter;
using cli::CollectRows;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class AuditQueryTest : public JournalFixture {
 protected:
  std::vector<cli::AuditRow> Rows(const AuditFilter& filter = {}) {
    const auto found = CollectRows(Verify(), filter);
    EXPECT_THAT(found, IsOk());
    return found ? found->rows : std::vector<cli::AuditRow>();
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
    EXPECT_THAT(cli::ToCsv(rows), HasSubstr(",ci/build-7,5a29e13d,node-1,job-7/1\r\n"));
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
  const auto found = CollectRows(report, {});
  ASSERT_THAT(found, IsOk());
  for (const auto& row : found->rows) EXPECT_LE(row.seq, report.streams.front().last_seq);
  EXPECT_LT(found->rows.size(), 3U);
}

TEST_F(AuditQueryTest, WritesCsvThatSpreadsheetsDoNotRun) {
  cli::AuditRow row;
  row.artifact = "=cmd|'x'";
  row.principal = "say \"hi\", there";
  const auto csv = cli::ToCsv({row});
  EXPECT_THAT(csv, StartsWith("time,operation,result,"));
  EXPECT_THAT(csv, HasSubstr("\"say \"\"hi\"\", there\""));
  EXPECT_THAT(csv, HasSubstr(",'=cmd|'x',"));
  EXPECT_THAT(csv, ::testing::EndsWith("\r\n"));
}

}  // namespace
}  // namespace signet::testing
