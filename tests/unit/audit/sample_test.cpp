// A record with every type of line: held to docs/audit-record.schema.json by tests/lint/check_audit_schema.py.
#include <cstdlib>

#include "audit/journal.hpp"
#include "support/journal_fixture.hpp"

namespace signet::testing {
namespace {

using audit::Outcome;
using audit::Release;
using audit::Released;
using audit::Result;
using ::testing::IsSubsetOf;
using namespace std::chrono_literals;

using JournalSampleTest = JournalFixture;

TEST_F(JournalSampleTest, HasEveryTypeOfLine) {
  segment_bytes_ = 6000;
  {
    auto journal = Open();
    journal->Event("keyGenerated", {{"policy", "release"}, {"keyID", std::string(64, 'b')}}, {});
    journal->Event("policyChange",
                   {{"policy", "release"},
                    {"uid", "5a29e13d-8337-46ce-b8ad-6a471bb29015"},
                    {"verb", "UPDATE"},
                    {"user", "alice"},
                    {"oldHash", std::string(64, 'a')},
                    {"newHash", std::string(64, 'b')}},
                   {});
    Sign(*journal);
    Sign(*journal, "controller");  // stays unsettled
    const auto settled = Sign(*journal, "controller");
    Append(*journal, Release{settled, Released::kYes, {}}).has_value();
    Append(*journal, Release{Sign(*journal, "controller"), Released::kUnknown, "DeliveryUnknown"}).has_value();
    for (const auto result : {Result::kFailed, Result::kDiscarded}) {
      auto intent = MakeIntent("gateway");
      intent.message = true;
      intent.peer_gid = 7;
      intent.peer_pid = 8;
      intent.artifact_media_type = "application/json";
      intent.pod = {"ci", "build-7", "5a29e13d-8337-46ce-b8ad-6a471bb29015", result == Result::kFailed ? "node-1" : ""};
      intent.idempotency_key = "job-7/1";
      intent.artifact_annotations = {{"org.opencontainers.image.revision", "4f2c"}, {"z", std::string(4096, 'x')}};
      ASSERT_THAT(Append(*journal, intent), IsOk());
      const std::string hash = result == Result::kDiscarded ? std::string(64, 'd') : "";
      ASSERT_THAT(Append(*journal, Outcome{intent.operation, result, hash, "PolicyChanged", "job-7/1"}), IsOk());
    }
    files_.write_error = ENOSPC;
    EXPECT_FALSE(Append(*journal, MakeIntent()));
    files_.write_error = 0;
    reactor_.Advance(61s);  // the rotation that failed is tried again after a minute
    for (int i = 0; i < 2000; ++i) journal->Note({"socket", "p" + std::to_string(i), "release", "NotAllowed", 1});
    reactor_.Advance(10s);
    Append(*journal, MakeIntent()).has_value();  // open when the process dies, and in the next segment's checkpoint
  }
  folder_.Write(kName, text() + "{\"stream\":\"");
  Open();
  std::filesystem::remove(file());
  Sign(*Open());
  const auto types = Types();
  EXPECT_THAT((std::vector<std::string>{"stream", "segment", "recovered", "resumed", "intent", "outcome", "release",
                                        "refused", "keyGenerated", "policyChange"}),
              IsSubsetOf(types));
  if (const char* target = std::getenv("SIGNET_AUDIT_SAMPLE")) {
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
      std::filesystem::copy(entry.path(), std::filesystem::path(target) / entry.path().filename());
    }
  }
}

}  // namespace
}  // namespace signet::testing
