#include "audit/file_journal.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "audit/line_copier.hpp"
#include "crypto/digest.hpp"
#include "encoding/text.hpp"
#include "obs/log.hpp"

namespace signet::audit {
namespace {

using namespace std::chrono_literals;
using base::Code;
using base::MakeError;

constexpr auto kRefusalInterval = 10s;
constexpr auto kHeadInterval = 1s;  // not per batch: a label that changes costs more than a line
constexpr std::chrono::milliseconds kFirstRetry = 100ms;
constexpr std::chrono::milliseconds kLongestRetry = 5s;
constexpr auto kRotationPause = 60s;  // after a rotation that failed the file grows on meanwhile
constexpr std::size_t kKeptCapacity = 1U << 20U;

constexpr std::array<std::string_view, 8> kReservedTypes = {kTypeStream, kTypeSegment, kTypeRecovered, kTypeResumed,
                                                            kTypeIntent, kTypeOutcome, kTypeRelease,   kTypeRefused};
constexpr std::array<std::string_view, 8> kReservedFields = {"stream", "seq",       "prev",      "time",
                                                             "type",   "operation", "tornBytes", "tornSha256"};

template <std::size_t N>
bool Contains(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

base::Error Unavailable() {
  return MakeError(Code::kUnavailable, "AuditUnavailable",
                   "the audit record cannot be written, so nothing is signed; the log of this process says why");
}

Position StartOf(const Scanned& scanned) {
  if (scanned.position.seq > 0) return scanned.position;
  Position start;
  start.stream = encoding::ToHex(crypto::RandomBytes(16));
  return start;
}

}  // namespace

void FileJournal::Batch::Clear() {
  repair = false;
  rotate = false;
  data.clear();
  if (data.capacity() > kKeptCapacity) data.shrink_to_fit();
  dones.clear();
}

FileJournal::FileJournal(Options options, base::Reactor& reactor, const base::Clock& clock, Segments segments,
                         Scanned scanned)
    : options_(std::move(options)),
      reactor_(reactor),
      clock_(clock),
      segments_(std::move(segments)),
      scanned_(std::move(scanned)),
      writer_(clock, StartOf(scanned_)),
      ledger_(std::move(scanned_.ledger)),
      backoff_(kFirstRetry),
      records_(obs::GetCounter("signet_audit_records_total", "Lines written to the audit record")),
      failures_(obs::GetCounter("signet_audit_write_failures_total", "Batches that could not be written")),
      available_gauge_(obs::GetGauge("signet_audit_available", "1 while the audit record can be written")),
      sequence_gauge_(obs::GetGauge("signet_audit_sequence", "seq of the last line of the audit record")) {}

FileJournal::~FileJournal() {
  *alive_ = false;
  reactor_.Cancel(head_timer_);
  reactor_.Cancel(refusal_timer_);
  reactor_.Cancel(retry_timer_);
  if (committer_) committer_->Wait();
  if (busy_) {                       // Finish has not seen it
    if (!in_flight_.status) return;  // nothing may follow a batch that failed
    Copy(in_flight_.data);
  }
  if (!available_) return;
  WriteRefusals();
  if (pending_.data.empty()) return;
  pending_.end = writer_.position();
  Commit(pending_);
  if (pending_.status) Copy(pending_.data);
}

base::Status FileJournal::Begin() {
  full_segments_ = segments_.full();
  const bool torn = scanned_.torn.bytes > 0;
  const auto damage = scanned_.damage;
  std::string data;
  if (damage == Damage::kGrown) TRY_VOID(segments_.Cut(scanned_.good_bytes));
  if (segments_.exists() && scanned_.needs_newline) data += '\n';
  if (scanned_.needs_opening && writer_.position().seq == 0) {
    writer_.Stream(data, scanned_.torn);
  } else if (scanned_.needs_opening) {
    std::string checkpoint;
    ledger_.AppendCheckpoint(checkpoint);
    full_segments_ = segments_.FreeAfter(full_segments_);
    writer_.Segment(data, full_segments_, checkpoint, scanned_.torn);
    header_bytes_ = data.size();
    writer_.Recovered(data, {}, damage == Damage::kNone ? "FileMissing" : Name(damage));
  } else if (torn) {
    writer_.Recovered(data, scanned_.torn, "TornLine");
  } else if (damage == Damage::kGrown) {
    writer_.Recovered(data, {}, Name(damage));
  }
  const auto left_open = ledger_.OpenIntents();
  for (const auto& operation : left_open) {
    writer_.Outcome(data, {operation, Result::kUnknown, {}, "Interrupted"});
    ledger_.OnOutcome(operation, Result::kUnknown, {});
  }
  const bool sync = options_.durability == Durability::kFsync;
  if (damage != Damage::kNone && damage != Damage::kGrown) {
    segments_.SetDamage(damage);
    TRY_VOID(segments_.Replace(data, full_segments_, sync));
  } else if (!data.empty()) {
    TRY_VOID(segments_.exists() ? segments_.Append(data, sync) : segments_.Rotate(data, full_segments_, sync));
  }
  Copy(data);
  file_bytes_ = segments_.size();
  committed_ = writer_.position();
  segments_.WriteNote(committed_);
  ledger_.KeepChanges();
  unsettled_ = ledger_.Unsettled();
  today_ = ledger_.Counts(base::FormatTime(clock_.Now()).substr(0, 10));
  if (torn || !left_open.empty()) {
    obs::Warn("audit record recovered", {{"tornBytes", scanned_.torn.bytes}, {"unknownOperations", left_open.size()}});
  }
  if (damage != Damage::kNone) {
    obs::Err("the audit record is not what the last process left; see `signet audit verify`",
             {{"reason", Name(damage)}, {"file", options_.file.string()}, {"nextSeq", scanned_.position.seq + 1}});
  }
  scanned_ = {};
  if (sync) committer_ = std::make_unique<Committer>();
  available_gauge_.Set(1);
  sequence_gauge_.Set(static_cast<double>(committed_.seq));
  PublishHead();
  return {};
}

void FileJournal::Publish() {
  sequence_gauge_.Set(static_cast<double>(committed_.seq));
  if (head_timer_ != 0) return;
  head_timer_ = reactor_.After(kHeadInterval, [this, alive = alive_] {
    if (*alive) PublishHead();
  });
}

void FileJournal::PublishHead() {
  head_timer_ = 0;
  obs::SetInfo("signet_audit_head", "Hash of the last line of the audit record, at most 1 s old", "head", head());
}

// ---- appending -------------------------------------------------------------------------

void FileJournal::Post(void (FileJournal::*handler)()) {
  reactor_.Post([this, alive = alive_, handler] {
    if (*alive) (this->*handler)();
  });
}

void FileJournal::Reject(Done done, base::Error error) {
  if (!done) return;
  reactor_.Post([done = std::move(done), error = std::move(error)] { done(error); });
}

bool FileJournal::Accepts(Done& done) {
  if (available_) {
    StartBatch();
    return true;
  }
  Reject(std::move(done), Unavailable());
  return false;
}

void FileJournal::StartBatch() {
  if (!pending_.data.empty() || file_bytes_ <= options_.segment_bytes || file_bytes_ <= 2 * header_bytes_) return;
  if (clock_.Steady() < rotate_not_before_) return;
  std::string checkpoint;
  ledger_.AppendCheckpoint(checkpoint);
  full_segments_ = segments_.FreeAfter(full_segments_);
  writer_.Segment(pending_.data, full_segments_, checkpoint, {});
  pending_.rotate = true;
  pending_.number = full_segments_;
  header_bytes_ = pending_.data.size();
  file_bytes_ = 0;
}

void FileJournal::Queue(Done done) {
  if (done) pending_.dones.push_back(std::move(done));
  if (flush_posted_ || busy_) return;
  flush_posted_ = true;
  Post(&FileJournal::Flush);
}

void FileJournal::Append(const Intent& record, Done done) {
  if (!Accepts(done)) return;
  writer_.Intent(pending_.data, record);
  ledger_.OnIntent(record, writer_.date());
  Queue(std::move(done));
}

void FileJournal::Append(const Outcome& record, Done done) {
  if (!Accepts(done)) return;
  if (!ledger_.OnOutcome(record.operation, record.result, record.signature_sha256)) {
    Reject(std::move(done), MakeError(Code::kFailedPrecondition, "the operation is not open: " + record.operation));
    return;
  }
  writer_.Outcome(pending_.data, record);
  Queue(std::move(done));
}

void FileJournal::Append(const Release& record, Done done) {
  if (!Accepts(done)) return;
  if (!ledger_.OnRelease(record.operation, record.released)) {
    Reject(std::move(done),
           MakeError(Code::kFailedPrecondition, "the operation does not wait for its release: " + record.operation));
    return;
  }
  writer_.Release(pending_.data, record);
  Queue(std::move(done));
}

void FileJournal::Event(std::string_view type, const std::map<std::string, std::string>& fields, Done done) {
  const bool reserved =
      type.empty() || Contains(kReservedTypes, type) ||
      std::any_of(fields.begin(), fields.end(), [](auto& f) { return Contains(kReservedFields, f.first); });
  if (reserved) {
    Reject(std::move(done), MakeError(Code::kInvalidArgument, "the record uses that type or field itself"));
    return;
  }
  if (!Accepts(done)) return;
  writer_.Event(pending_.data, type, fields);
  const auto policy = fields.find("policy");
  const auto key = fields.find("keyID");
  if (policy != fields.end() && key != fields.end() && !policy->second.empty() && !key->second.empty()) {
    ledger_.OnKey(policy->second, key->second);
  }
  Queue(std::move(done));
}

// ---- writing ---------------------------------------------------------------------------

void FileJournal::Flush() {
  flush_posted_ = false;
  if (busy_ || pending_.data.empty()) return;
  std::swap(pending_, in_flight_);
  in_flight_.end = writer_.position();
  in_flight_.changes = ledger_.changes();
  file_bytes_ += in_flight_.data.size();
  busy_ = true;
  if (!committer_) {
    Commit(in_flight_);
    Finish();
    return;
  }
  committer_->Submit([this] {
    Commit(in_flight_);
    Post(&FileJournal::Finish);
  });
}

void FileJournal::Commit(Batch& batch) {
  const bool sync = options_.durability == Durability::kFsync;
  if (batch.repair && batch.rotate) {
    batch.status = segments_.Replace(batch.data, batch.number, sync);
  } else {
    batch.status = batch.repair ? segments_.Repair() : base::Status();
    if (batch.status) {
      batch.status =
          batch.rotate ? segments_.Rotate(batch.data, batch.number, sync) : segments_.Append(batch.data, sync);
    }
  }
  if (batch.status) segments_.WriteNote(batch.end);
}

void FileJournal::Finish() {
  busy_ = false;
  if (!in_flight_.status) {
    Fail();
    return;
  }
  records_.Add(static_cast<double>(in_flight_.end.seq - committed_.seq));
  committed_ = in_flight_.end;
  ledger_.Settle(in_flight_.changes);
  full_segments_ = std::max(full_segments_, segments_.full());
  Copy(in_flight_.data);
  Publish();
  if (in_flight_.repair) {
    available_ = true;
    available_gauge_.Set(1);
    backoff_ = kFirstRetry;
    obs::Info("audit record available again", {{"seq", committed_.seq}});
    if (!refusals_.empty()) ArmRefusals();
  }
  std::swap(finished_, in_flight_.dones);
  in_flight_.Clear();
  Flush();  // what came in while the disk was at work
  auto finished = std::exchange(finished_, {});
  for (const auto& done : finished) done({});
  finished.clear();
  finished_ = std::move(finished);
}

/// Lines that are in the record, and only those.
void FileJournal::Copy(std::string_view lines) {
  if (!options_.copy) return;
  // Begin() closes a last line that lacked its newline.
  while (lines.starts_with('\n')) lines.remove_prefix(1);
  options_.copy->Add(lines);
}

void FileJournal::Fail() {
  const base::Error error = in_flight_.status.error();
  failure_ = error.message;
  failures_.Add();
  available_gauge_.Set(0);
  if (available_) {
    obs::Err("audit record cannot be written: nothing is signed", {{"error", base::Describe(error)}});
  }
  if (in_flight_.rotate && !in_flight_.repair) rotate_not_before_ = clock_.Steady() + kRotationPause;
  available_ = false;
  writer_.Rewind(committed_);
  full_segments_ = segments_.full();
  file_bytes_ = segments_.size();
  ledger_.Undo();
  auto waiting = std::exchange(in_flight_.dones, {});
  std::move(pending_.dones.begin(), pending_.dones.end(), std::back_inserter(waiting));
  in_flight_.Clear();
  pending_.Clear();
  ArmRetry();
  for (const auto& done : waiting) done(Unavailable());
}

void FileJournal::ArmRetry() {
  retry_timer_ = reactor_.After(backoff_, [this, alive = alive_] {
    if (*alive) Retry();
  });
  backoff_ = std::min(backoff_ * 2, kLongestRetry);
}

void FileJournal::Retry() {
  retry_timer_ = 0;
  const auto damage = segments_.damage();
  if (damage == Damage::kNone) {
    writer_.Resumed(pending_.data, failure_);
  } else {
    if (damage != Damage::kGrown) {
      std::string checkpoint;
      ledger_.AppendCheckpoint(checkpoint);
      full_segments_ = segments_.FreeAfter(segments_.full());
      writer_.Segment(pending_.data, full_segments_, checkpoint, {});
      pending_.number = full_segments_;
      header_bytes_ = pending_.data.size();
      file_bytes_ = 0;
      pending_.rotate = true;
    }
    writer_.Recovered(pending_.data, {}, Name(damage));
  }
  pending_.repair = true;
  Flush();
}

// ---- refusals --------------------------------------------------------------------------

void FileJournal::Note(const Refusal& refusal) {
  refusals_.Add(refusal);
  ArmRefusals();
}

void FileJournal::ArmRefusals() {
  if (refusal_timer_ != 0 || !available_) return;
  refusal_timer_ = reactor_.After(kRefusalInterval, [this, alive = alive_] {
    if (!*alive) return;
    refusal_timer_ = 0;
    if (available_) WriteRefusals();
  });
}

void FileJournal::WriteRefusals() {
  if (refusals_.empty()) return;
  StartBatch();
  refusals_.Drain([this](const Refusal& refusal, bool overflow) { writer_.Refusal(pending_.data, refusal, overflow); });
  Queue({});
}

base::Result<std::unique_ptr<Journal>> Journal::Open(Options options, base::Reactor& reactor,
                                                     const base::Clock& clock) {
  options.segment_bytes = std::clamp<std::uint64_t>(options.segment_bytes, 4096, 1ULL << 40U);
  auto& file_system = options.file_system != nullptr ? *options.file_system : FileSystem::System();
  TRY(auto segments, Segments::Open(options.file, file_system));
  TRY(auto scanned, ScanSegments(segments, options.file));
  segments.Reserve(scanned.segment);
  auto journal =
      std::make_unique<FileJournal>(std::move(options), reactor, clock, std::move(segments), std::move(scanned));
  TRY_VOID(journal->Begin());
  return std::unique_ptr<Journal>(std::move(journal));
}

}  // namespace signet::audit
