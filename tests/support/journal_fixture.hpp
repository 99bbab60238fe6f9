// tests/support/journal_fixture.hpp - a journal in a folder of its own, and a file system that fails on demand.
#pragma once

#include <gtest/gtest.h>

#include <cerrno>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "audit/journal.hpp"
#include "audit/line_copier.hpp"
#include "audit/operation_id.hpp"
#include "audit/segments.hpp"
#include "audit/verify.hpp"
#include "fakes/manual_reactor.hpp"
#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::testing {

/// The real one, until told otherwise.
class FaultyFileSystem final : public audit::FileSystem {
 public:
  std::int64_t Write(int fd, std::string_view data) override {
    ++writes;
    if (write_error != 0 && budget == 0) return -write_error;
    if (write_error != 0) data = data.substr(0, budget);
    if (chunk > 0) data = data.substr(0, chunk);
    const auto written = FileSystem::Write(fd, data);
    if (write_error != 0 && written > 0) budget -= static_cast<std::size_t>(written);
    return written;
  }
  int Sync(int fd) override {
    ++syncs;
    return sync_error != 0 ? -sync_error : FileSystem::Sync(fd);
  }
  int Truncate(int fd, std::uint64_t size) override {
    return truncate_error != 0 ? -truncate_error : FileSystem::Truncate(fd, size);
  }
  int Rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    if (renames_until_error >= 0 && renames_until_error-- == 0) return -EACCES;
    return FileSystem::Rename(from, to);
  }
  int RenameNew(const std::filesystem::path& from, const std::filesystem::path& to) override {
    if (renames_until_error >= 0 && renames_until_error-- == 0) return -EACCES;
    return FileSystem::RenameNew(from, to);
  }

  int write_error = 0;  ///< errno after `budget` more octets
  std::size_t budget = 0;
  std::size_t chunk = 0;  ///< at most so many octets a call
  int sync_error = 0;
  int truncate_error = 0;
  int renames_until_error = -1;
  int writes = 0;
  int syncs = 0;
};

class JournalFixture : public ::testing::Test {
 protected:
  static constexpr const char* kName = "audit.jsonl";

  [[nodiscard]] std::filesystem::path file() const { return folder_.path() / kName; }
  [[nodiscard]] std::string text() const { return folder_.Read(kName); }

  base::Result<std::unique_ptr<audit::Journal>> TryOpen() {
    audit::Journal::Options options;
    options.file = file();
    options.durability = durability_;
    options.segment_bytes = segment_bytes_;
    options.file_system = &files_;
    options.copy = copy_;
    return audit::Journal::Open(options, reactor_, clock_);
  }
  std::unique_ptr<audit::Journal> Open() {
    auto journal = TryOpen();
    EXPECT_THAT(journal, IsOk());
    return journal ? std::move(*journal) : nullptr;
  }

  /// What a kill in the middle of a write leaves: `left` in the file, and no note of lines after it.
  void Crash(const std::string& left) const {
    folder_.Write(kName, left);
    folder_.Write(std::string(kName) + ".head", "");
  }
  audit::Intent MakeIntent(const std::string& door = "socket") {
    audit::Intent intent;
    intent.operation = ids_.Next();
    intent.door = door;
    intent.principal = "system:serviceaccount:ci:builder";
    intent.identity = "asserted";
    intent.peer_uid = 1000;
    intent.policy = "release";
    intent.policy_uid = "3f0c";
    intent.policy_generation = 3;
    intent.policy_hash = std::string(64, 'a');
    intent.key_id = std::string(64, 'b');
    intent.algorithm = "ECDSAWithSHA256";
    intent.digest = "sha256:" + std::string(64, 'c');
    intent.artifact_name = "registry.example.com/payments/\"api\":1 \xC3\xA9";
    if (door == "controller") {
      intent.request_namespace = "ci";
      intent.request_name = "req";
      intent.request_uid = "uid-1";
    }
    return intent;
  }
  /// Appends and waits for the journal's word.
  template <class Record>
  base::Status Append(audit::Journal& journal, const Record& record) {
    std::optional<base::Status> status;
    journal.Append(record, [&](const base::Status& s) { status = s; });
    EXPECT_FALSE(status.has_value()) << "the callback ran before the call returned";
    reactor_.RunUntil([&] { return status.has_value(); });
    return status.value_or(base::MakeError(base::Code::kInternal, "no answer"));
  }
  std::string Sign(audit::Journal& journal, const std::string& door = "socket") {
    const auto intent = MakeIntent(door);
    EXPECT_THAT(Append(journal, intent), IsOk());
    EXPECT_THAT(Append(journal, audit::Outcome{intent.operation, audit::Result::kSigned, std::string(64, 'd'), {}}),
                IsOk());
    return intent.operation;
  }

  [[nodiscard]] audit::VerifyReport Verify(std::vector<std::string> heads = {}) const {
    audit::VerifyOptions options;
    options.paths = {file()};
    options.heads = std::move(heads);
    auto report = audit::Verify(options);
    EXPECT_THAT(report, IsOk());
    return report ? *std::move(report) : audit::VerifyReport{};
  }
  /// All records of all segments, in order; every line must be JSON unless torn.
  [[nodiscard]] std::vector<nlohmann::json> Records() const {
    std::vector<nlohmann::json> records;
    auto paths = audit::Segments::Find(file());
    paths.push_back(file());
    for (const auto& path : paths) {
      std::istringstream lines(folder_.Read(path.filename().string()));
      for (std::string line; std::getline(lines, line);) {
        auto record = nlohmann::json::parse(line, nullptr, false);
        if (!record.is_discarded()) records.push_back(std::move(record));
      }
    }
    return records;
  }
  [[nodiscard]] std::vector<std::string> Types() const {
    std::vector<std::string> types;
    for (const auto& record : Records()) types.push_back(record.at("type"));
    return types;
  }

  TempFolder folder_;
  FakeClock clock_;
  ManualReactor reactor_{clock_};
  FaultyFileSystem files_;
  audit::OperationIds ids_{clock_};
  audit::Durability durability_ = audit::Durability::kProcess;
  std::uint64_t segment_bytes_ = 64ULL << 20;
  std::shared_ptr<audit::LineCopier> copy_;
};

inline std::string Explain(const audit::VerifyReport& report) {
  std::string text;
  for (const auto& stream : report.streams) {
    for (const auto& gap : stream.missing) text += gap.problem.file + ": " + gap.problem.why + "\n";
    if (stream.problem) {
      text += stream.problem->file + ":" + std::to_string(stream.problem->line) + ": " + stream.problem->why + "\n";
    }
  }
  for (const auto& problem : report.problems) text += problem.file + ": " + problem.why + "\n";
  return text;
}

}  // namespace signet::testing
