// audit/file_journal.hpp - the Journal over segment files.
//
// Lines are composed straight into the batch of this turn of the loop; the batch is one write. With
// `process` it happens on the loop, with `fsync` on the committer's thread while the next batch
// fills. A failed batch leaves nothing behind: the file is cut back to the last good line, every
// waiting line fails, and a `resumed` record, tried again and again, opens the journal again. Where
// FILE itself was removed, replaced or cut, a new segment with a `recovered` record takes its place.
//
// Thread-safety: loop thread; the batch in flight and segments_ belong to the committer meanwhile.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "audit/committer.hpp"
#include "audit/journal.hpp"
#include "audit/ledger.hpp"
#include "audit/record.hpp"
#include "audit/refusals.hpp"
#include "audit/scan.hpp"
#include "audit/segments.hpp"
#include "obs/metrics.hpp"

namespace signet::audit {

class FileJournal final : public Journal {
 public:
  FileJournal(Options options, base::Reactor& reactor, const base::Clock& clock, Segments segments, Scanned scanned);
  ~FileJournal() override;

  /// Writes what has to come before anything else: the first line of a stream or file, the end of a torn line, the
  /// outcome of every operation left open.
  base::Status Begin();

  void Append(const Intent& record, Done done) override;
  void Append(const Outcome& record, Done done) override;
  void Append(const Release& record, Done done) override;
  void Note(const Refusal& refusal) override;
  void Event(std::string_view type, const std::map<std::string, std::string>& fields, Done done) override;

  [[nodiscard]] bool available() const override { return available_; }
  [[nodiscard]] const std::string& stream() const override { return committed_.stream; }
  [[nodiscard]] std::string head() const override { return std::string(View(committed_.head)); }
  [[nodiscard]] std::uint64_t sequence() const override { return committed_.seq; }
  [[nodiscard]] const std::vector<OpenOperation>& unsettled() const override { return unsettled_; }
  [[nodiscard]] const std::vector<DayCount>& today() const override { return today_; }
  [[nodiscard]] std::vector<std::string> KeysEverNamed(std::string_view policy) const override {
    return ledger_.Keys(policy);
  }

 private:
  struct Batch {
    bool repair = false;
    bool rotate = false;
    std::uint64_t number = 0;  ///< of the segment that a rotation makes of FILE
    std::size_t changes = 0;   ///< of the ledger
    std::string data;
    std::vector<Done> dones;
    Position end;
    base::Status status;
    void Clear();
  };

  bool Accepts(Done& done);
  void Reject(Done done, base::Error error);
  void StartBatch();
  void Queue(Done done);
  void Post(void (FileJournal::*handler)());
  void Flush();
  void Commit(Batch& batch);
  void Finish();
  void Copy(std::string_view lines);
  void Fail();
  void ArmRetry();
  void Retry();
  void WriteRefusals();
  void ArmRefusals();
  void Publish();
  void PublishHead();

  Options options_;
  base::Reactor& reactor_;
  const base::Clock& clock_;
  Segments segments_;
  Scanned scanned_;  ///< until Begin
  LineWriter writer_;
  Ledger ledger_;
  Position committed_;
  Batch pending_;
  Batch in_flight_;
  bool busy_ = false;  ///< in_flight_ is being written
  bool flush_posted_ = false;
  bool available_ = true;
  std::uint64_t file_bytes_ = 0;  ///< of FILE, with everything composed
  std::uint64_t header_bytes_ = 0;
  std::uint64_t full_segments_ = 0;
  base::SteadyPoint rotate_not_before_{};
  std::chrono::milliseconds backoff_;
  std::string failure_;
  Refusals refusals_;
  base::Reactor::Id refusal_timer_ = 0;
  base::Reactor::Id retry_timer_ = 0;
  base::Reactor::Id head_timer_ = 0;
  std::vector<Done> finished_;  ///< reused, so that a flush allocates nothing
  std::vector<OpenOperation> unsettled_;
  std::vector<DayCount> today_;
  obs::Counter& records_;
  obs::Counter& failures_;
  obs::Gauge& available_gauge_;
  obs::Gauge& sequence_gauge_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::unique_ptr<Committer> committer_;  ///< last: its thread ends before what it uses
};

}  // namespace signet::audit
