#include "audit/verify.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "audit/chain.hpp"
#include "audit/extract.hpp"
#include "audit/inputs.hpp"
#include "audit/ledger.hpp"
#include "encoding/json.hpp"

namespace signet::audit {
namespace {

using base::Code;
using base::MakeError;

constexpr int kLooksAtTheEnd = 10;  // the last line of a record at work may be half written
constexpr std::chrono::milliseconds kBetweenLooks{20};

/// A line that must be in the record: a noted head, or the last line of a copy.
struct Expected {
  HashText head{};
  std::string file;
  std::string why;
};
using Expectations = std::multimap<std::uint64_t, Expected>;

/// One stream's lines, in order, over all its files.
class StreamVerifier {
 public:
  StreamVerifier(StreamReport& report, const VerifyOptions& options) : report_(report), options_(options) {
    chain_.AllowGaps();
  }

  void BeginFile(const std::string& name, std::shared_ptr<base::UniqueFd> fd) {
    report_.files.push_back(name);
    report_.opened.push_back(std::move(fd));
    file_ = name;
    line_number_ = 0;
    chain_.BeginFile(true);
  }
  void Expect(std::uint64_t seq, Expected expected) { expected_.emplace(seq, std::move(expected)); }

  /// False: something is wrong; stop.
  bool Take(std::string_view text) {
    ++line_number_;
    switch (chain_.Take(text)) {
      case Chain::Step::kBad:
        if (torn_at_ == 0) return Fail(chain_.why());
        line_number_ = torn_at_;  // the line that was no record is the wrong one
        file_ = torn_file_;
        return Fail(torn_why_ + ", and no record after it closes it as a torn line");
      case Chain::Step::kTorn:
        if (torn_at_ == 0) {
          torn_at_ = line_number_;
          torn_file_ = file_;
          torn_why_ = chain_.why();
        }
        return true;
      case Chain::Step::kRecord:
        return TakeRecord();
    }
    return false;
  }
  /// A line that the lines before have had already, in a file that overlaps with another.
  void Pass() { ++line_number_; }

  bool TakeUnterminated() {
    ++line_number_;
    return Fail(
        "the last line is torn: it has no end. The process was killed while it wrote (its next start closes the "
        "line), or the file was cut");
  }

  /// After the last file.
  bool EndFile() {
    if (doubtful_) return Fail(kDoubtful);
    if (torn_at_ == 0) return true;
    line_number_ = torn_at_;
    file_ = torn_file_;
    return Fail(torn_why_);
  }

  void End() {
    report_.stream = chain_.position().stream;
    report_.last_seq = chain_.position().seq;
    report_.head = View(chain_.position().head);
    for (auto& head : report_.heads) head.records_after = report_.last_seq - head.seq;
    report_.open = ledger_.OpenIntents().size();
    report_.unsettled = ledger_.Unsettled().size();
  }

  bool Fail(std::string why) {
    report_.problem = Problem{file_, line_number_, std::move(why)};
    return false;
  }

  [[nodiscard]] const Position& position() const { return chain_.position(); }
  [[nodiscard]] bool after_found() const { return after_found_; }
  [[nodiscard]] const std::vector<Problem>& unexpected() const { return unexpected_; }

 private:
  static constexpr const char* kDoubtful = "the checkpoint of the segment does not follow from the lines before";

  bool TakeRecord() {
    const Line& line = chain_.line();
    const auto type = *line.Plain("type");
    if (type == kTypeSegment && !TakeCheckpoint(line)) return false;
    if (auto applied = ledger_.Apply(line); !applied) return Fail(applied.error().message);
    if (torn_at_ > 0) {
      if (chain_.missing_from() == 0) {
        report_.torn_lines.push_back({file_, line_number_, line.Number("tornBytes").value_or(0)});
      }
      torn_at_ = 0;
    }
    if (type == kTypeRecovered && line.Plain("reason") != "TornLine") TakeLoss(line);
    if (type != kTypeSegment && std::exchange(doubtful_, false) && type != kTypeRecovered) return Fail(kDoubtful);
    if (report_.records++ == 0) {
      report_.first_seq = chain_.position().seq;
      report_.first_time = *line.Plain("time");
    }
    report_.last_time = *line.Plain("time");
    Compare(chain_.position().seq, chain_.position().head);
    Count(line, type);
    if (options_.observe) options_.observe(chain_.position().stream, line);
    return true;
  }

  /// Holds a line to what was noted of it elsewhere.
  void Compare(std::uint64_t seq, const HashText& hash) {
    for (const auto& head : options_.heads) {
      if (head == View(hash)) report_.heads.push_back({head, seq, 0});
    }
    if (options_.after == View(hash)) after_found_ = true;
    if (expected_.empty()) return;
    const auto [begin, end] = expected_.equal_range(seq);
    for (auto it = begin; it != end; ++it) {
      if (it->second.head != hash) unexpected_.push_back({it->second.file, 0, it->second.why});
    }
  }

  void TakeLoss(const Line& line) {
    report_.lost_files.push_back({file_, line_number_, 0});
    if (line.Plain("reason") != "FileMissing") return;
    report_.missing.push_back(
        {{file_, line_number_,
          "a start found the file being written gone or empty: the lines in it are missing, and it is not known how "
          "many there were"},
         0,
         0});
  }

  bool TakeCheckpoint(const Line& line) {
    const auto* checkpoint = line.Find("checkpoint");
    if (checkpoint == nullptr) return Fail("checkpoint is missing");
    if (chain_.missing_from() > 0) {
      TakeGap();
      auto restored = ledger_.Restore(checkpoint->raw);
      return restored.has_value() || Fail(restored.error().message);
    }
    std::string mine;
    ledger_.AppendCheckpoint(mine);
    if (mine == checkpoint->raw) return true;
    const auto expected = encoding::ParseJson(mine);
    const auto found = encoding::ParseJson(checkpoint->raw);
    if (expected && found && *expected == *found) return true;
    // A start that found FILE gone or changed knows less than the files, when they are found again: it says so next.
    doubtful_ = true;
    auto restored = ledger_.Restore(checkpoint->raw);
    return restored.has_value() || Fail(restored.error().message);
  }

  void TakeGap() {
    const auto from = chain_.missing_from();
    const auto to = chain_.position().seq - 1;
    if (report_.records == 0) {
      Compare(to, chain_.first_prev());
      if (after_found_) return;
      std::string why = options_.after
                            ? fmt::format("it goes on from {}, not from {}", View(chain_.first_prev()), *options_.after)
                            : "";
      if (why.empty()) {
        why = fmt::format(
            "the start is cut: seq 1 to {} are missing; give the segments before it, or their head with --after", to);
      }
      report_.missing.push_back({{file_, line_number_, std::move(why)}, from, to});
      return;
    }
    report_.missing.push_back({{file_, line_number_,
                                from == to ? fmt::format("seq {} is missing before this line", from)
                                           : fmt::format("seq {} to {} are missing before this line", from, to)},
                               from,
                               to});
  }

  void Count(const Line& line, std::string_view type) {
    if (type == kTypeIntent) ++report_.intents;
    if (type == kTypeRefused) report_.refused += line.Number("count").value_or(0);
    if (type == kTypeRelease && ReleasedOf(line) == Released::kYes) ++report_.released;
    if (type == kTypeRelease && ReleasedOf(line) == Released::kUnknown) ++report_.delivery_unknown;
    if (type != kTypeOutcome) return;
    const auto result = line.Plain("result");
    if (result == Name(Result::kSigned)) ++report_.signed_;
    if (result == Name(Result::kFailed)) ++report_.failed;
    if (result == Name(Result::kDiscarded)) ++report_.discarded;
    if (result == Name(Result::kUnknown)) ++report_.unknown;
  }

  StreamReport& report_;
  const VerifyOptions& options_;
  Expectations expected_;
  std::vector<Problem> unexpected_;
  Chain chain_;
  Ledger ledger_;
  std::string file_;
  std::uint64_t line_number_ = 0;
  std::uint64_t torn_at_ = 0;
  std::string torn_file_;
  std::string torn_why_;
  bool after_found_ = false;
  bool doubtful_ = false;  ///< the last line is a `segment` whose checkpoint does not follow
};

/// Reads `reader` along a chain of its own, to the end or to `last_seq`. An error says which line does not fit.
base::Status Follow(Chain& chain, LineReader& reader, std::uint64_t last_seq, const std::function<void()>& each) {
  chain.BeginFile(true);
  while (chain.position().seq < last_seq) {
    std::string_view text;
    const auto next = reader.Read(text);
    if (next == LineReader::Next::kEnd) break;
    if (next == LineReader::Next::kUnterminated) break;  // it was copied while somebody wrote it
    if (next != LineReader::Next::kLine) return MakeError(Code::kInvalidArgument, "it cannot be read to its end");
    each();
    if (chain.Take(text) == Chain::Step::kBad) return MakeError(Code::kInvalidArgument, chain.why());
  }
  return {};
}

/// A copy of lines that other files have: whole if its own chain is, and its last line is one of theirs.
void CheckCopy(const InputFile& copy, StreamVerifier& verifier, VerifyReport& report) {
  Chain chain;
  LineReader reader(copy.fd->get());
  std::uint64_t line = 0;
  const auto followed = Follow(chain, reader, UINT64_MAX, [&line] { ++line; });
  if (followed) {
    verifier.Expect(chain.position().seq, {chain.position().head, copy.path.string(),
                                           "a copy of lines of the record, but they are not the same"});
  } else if (copy.asked_for) {
    report.problems.push_back({copy.path.string(), line, "a changed copy: " + followed.error().message});
  } else {
    report.skipped.push_back({copy.path.string(), line, "a changed copy, not looked at: " + followed.error().message});
  }
}

/// Leaves out lines that files before this one have had. False: they are not the same.
bool PassKnown(StreamVerifier& verifier, const InputFile& input, LineReader& reader) {
  if (input.first_seq == 0 || verifier.position().seq < input.first_seq) return true;
  Chain chain;
  const auto followed = Follow(chain, reader, verifier.position().seq, [&verifier] { verifier.Pass(); });
  if (!followed) return verifier.Fail(followed.error().message);
  if (chain.position().seq < verifier.position().seq) return true;
  return chain.position().head == verifier.position().head ||
         verifier.Fail(fmt::format("seq {} is not the same as in another file", chain.position().seq));
}

bool FeedFile(StreamVerifier& verifier, const InputFile& input, bool last) {
  verifier.BeginFile(input.path.string(), input.fd);
  LineReader reader(input.fd->get());
  if (!PassKnown(verifier, input, reader)) return false;
  int looks = 0;
  for (;;) {
    const auto offset = reader.offset();
    std::string_view text;
    switch (reader.Read(text)) {
      case LineReader::Next::kLine:
        if (!verifier.Take(text)) return false;
        break;
      case LineReader::Next::kUnterminated:
        if (!last) return verifier.Take(text);  // the next file shows what is missing
        if (++looks > kLooksAtTheEnd) return verifier.TakeUnterminated();
        std::this_thread::sleep_for(kBetweenLooks);  // a writer may be in the middle of this very line
        reader = LineReader(input.fd->get(), UINT64_MAX, offset);
        break;
      case LineReader::Next::kTooLong:
        return verifier.Fail("the line is too long");
      case LineReader::Next::kError:
        return verifier.Fail(fmt::format("cannot be read (errno {})", reader.error()));
      case LineReader::Next::kEnd:
        return !last || verifier.EndFile();
    }
  }
}

/// Takes out extracts and converted copies. A file is suspected only if another one has lines of the same numbers.
void SkipExtracts(std::vector<InputFile>& files, VerifyReport& report) {
  const auto overlaps = [&files](const InputFile& one) {
    return std::any_of(files.begin(), files.end(), [&one](const InputFile& other) {
      return &other != &one && other.first_seq <= one.last_seq && one.first_seq <= other.last_seq;
    });
  };
  std::vector<InputFile> rest;
  for (auto& file : files) {
    if (overlaps(file) && IsExtract(file)) {
      report.skipped.push_back(
          {file.path.string(), 0, "an extract or a converted copy of a record: not compared with it"});
    } else {
      rest.push_back(file);
    }
  }
  if (!rest.empty()) files = std::move(rest);
}

/// Files whose lines others have, too, are taken out and returned.
std::vector<InputFile> TakeCopies(std::vector<InputFile>& files) {
  std::stable_sort(files.begin(), files.end(), [](const auto& a, const auto& b) {
    return a.first_seq != b.first_seq ? a.first_seq < b.first_seq : a.last_seq > b.last_seq;
  });
  std::vector<InputFile> copies;
  std::vector<InputFile> rest;
  std::uint64_t covered = 0;
  for (auto& file : files) {
    const bool copy = !rest.empty() && file.last_seq > 0 && file.last_seq <= covered;
    covered = std::max(covered, file.last_seq);
    (copy ? copies : rest).push_back(std::move(file));
  }
  files = std::move(rest);
  return copies;
}

void CheckStream(std::vector<InputFile> files, const std::vector<NotedEnd>& notes, const VerifyOptions& options,
                 VerifyReport& report, bool& after_found) {
  const auto stream = files.front().stream;
  SkipExtracts(files, report);
  const auto copies = TakeCopies(files);
  StreamReport& one = report.streams.emplace_back();
  StreamVerifier verifier(one, options);
  for (const auto& copy : copies) CheckCopy(copy, verifier, report);
  for (const auto& [file, note] : notes) {
    if (note.stream != stream) continue;
    verifier.Expect(note.seq, {note.head, file.string(),
                               fmt::format("its line with seq {} is not the one that was written", note.seq)});
  }
  for (const auto& file : files) {
    if (!FeedFile(verifier, file, &file == &files.back())) break;
  }
  verifier.End();
  if (one.stream.empty()) one.stream = stream;
  after_found = after_found || verifier.after_found();
  report.problems.insert(report.problems.end(), verifier.unexpected().begin(), verifier.unexpected().end());
  for (const auto& [file, note] : notes) {
    if (note.stream != stream || one.problem || one.last_seq >= note.seq) continue;
    one.missing.push_back(
        {{file.string(), 0,
          fmt::format("the end is cut: seq {} to {} were written and are missing", one.last_seq + 1, note.seq)},
         one.last_seq + 1,
         note.seq});
  }
}

}  // namespace

const Problem* StreamReport::First() const {
  if (!missing.empty()) return &missing.front().problem;
  return problem ? &*problem : nullptr;
}

const Problem* VerifyReport::First() const {
  for (const auto& stream : streams) {
    if (const auto* first = stream.First()) return first;
  }
  return problems.empty() ? nullptr : &problems.front();
}

std::uint64_t VerifyReport::records() const {
  std::uint64_t sum = 0;
  for (const auto& stream : streams) sum += stream.records;
  return sum;
}

base::Result<VerifyReport> Verify(const VerifyOptions& options) {
  TRY(auto inputs, CollectInputs(options.paths));
  VerifyReport report;
  report.problems = std::move(inputs.problems);
  report.skipped = std::move(inputs.skipped);
  bool after_found = false;
  for (auto& [stream, files] : inputs.streams) {
    CheckStream(std::move(files), inputs.notes, options, report, after_found);
  }
  for (const auto& [file, note] : inputs.notes) {
    if (inputs.streams.contains(note.stream)) continue;
    report.problems.push_back(
        {file.string(), 0,
         fmt::format("the record that was written here, stream {} up to seq {}, is missing", note.stream, note.seq)});
  }
  if (report.streams.empty() && report.problems.empty()) {
    report.problems.push_back({options.paths.front().string(), 0, "no files: there is no record here"});
  }
  const std::string file = report.streams.empty() ? options.paths.front().string() : report.streams.back().files.back();
  const std::uint64_t records = report.streams.empty() ? 0 : report.streams.back().records;
  if (options.after && !after_found && report.ok()) {
    report.problems.push_back({file, 0,
                               fmt::format("no record here goes on from {}: it is another record, or one of the files "
                                           "in between is missing",
                                           *options.after)});
  }
  for (const auto& head : options.heads) {
    const bool found = std::any_of(report.streams.begin(), report.streams.end(), [&](const auto& stream) {
      return std::any_of(stream.heads.begin(), stream.heads.end(),
                         [&](const auto& known) { return known.hash == head; });
    });
    if (found) continue;
    report.problems.push_back(
        {file, records,
         fmt::format("no line has the head {}: the end was cut after it was noted, or lines before were changed",
                     head)});
  }
  return report;
}

StreamReport VerifyText(std::string_view text) {
  static const VerifyOptions kNoOptions;
  StreamReport report;
  StreamVerifier verifier(report, kNoOptions);
  verifier.BeginFile("text", nullptr);
  bool good = true;
  while (good && !text.empty()) {
    const auto end = text.find('\n');
    if (end == std::string_view::npos) {
      good = verifier.TakeUnterminated();
      break;
    }
    good = verifier.Take(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  if (good) good = verifier.EndFile();
  if (good && report.records == 0) verifier.Fail("no records");
  verifier.End();
  return report;
}

}  // namespace signet::audit
