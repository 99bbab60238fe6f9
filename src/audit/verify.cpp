#include "audit/verify.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "audit/chain.hpp"
#include "audit/ledger.hpp"
#include "audit/segments.hpp"
#include "base/unique_fd.hpp"
#include "encoding/json.hpp"

namespace signet::audit {
namespace {

using base::Code;
using base::MakeError;

constexpr int kListings = 5;        // a record at work may rotate between two looks at the folder
constexpr int kLooksAtTheEnd = 10;  // ... and its last line may be half written
constexpr std::chrono::milliseconds kBetweenLooks{20};
constexpr int kLinesToIdentify = 64;

/// One stream's lines, in order, over all its files.
class StreamVerifier {
 public:
  StreamVerifier(StreamReport& report, const std::vector<std::string>& heads, const std::optional<std::string>& after)
      : report_(report), heads_(heads), after_(after) {}

  void BeginFile(const std::string& name) {
    report_.files.push_back(name);
    file_ = name;
    line_number_ = 0;
    chain_.BeginFile(report_.records == 0 && after_.has_value());
  }

  /// False: something is wrong; stop.
  bool Take(std::string_view text) {
    ++line_number_;
    switch (chain_.Take(text)) {
      case Chain::Step::kBad:
        if (torn_at_ > 0) line_number_ = torn_at_;  // the line that was no record is the wrong one
        return Fail(torn_at_ > 0 ? torn_why_ + ", and no record after it closes it as a torn line" : chain_.why());
      case Chain::Step::kTorn:
        if (torn_at_ == 0) {
          torn_at_ = line_number_;
          torn_why_ = chain_.why();
        }
        return true;
      case Chain::Step::kRecord:
        return TakeRecord();
    }
    return false;
  }

  bool TakeUnterminated() {
    ++line_number_;
    return Fail(
        "the last line is torn: it has no end. The process was killed while it wrote (its next start closes the "
        "line), or the file was cut");
  }

  bool EndFile() {
    if (torn_at_ == 0) return true;
    line_number_ = torn_at_;
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

 private:
  bool TakeRecord() {
    const Line& line = chain_.line();
    const auto type = *line.Plain("type");
    if (type == kTypeSegment && !TakeCheckpoint(line)) return false;
    if (auto applied = ledger_.Apply(line); !applied) return Fail(applied.error().message);
    if (torn_at_ > 0) {
      report_.torn_lines.push_back({file_, line_number_, line.Number("tornBytes").value_or(0)});
      torn_at_ = 0;
    }
    if (type == kTypeRecovered && line.Plain("reason") == "FileMissing") {
      report_.lost_files.push_back({file_, line_number_, 0});
    }
    if (report_.records++ == 0) {
      report_.first_seq = chain_.position().seq;
      report_.first_time = *line.Plain("time");
    }
    report_.last_time = *line.Plain("time");
    for (const auto& head : heads_) {
      if (head == View(chain_.position().head)) report_.heads.push_back({head, chain_.position().seq, 0});
    }
    Count(line, type);
    return true;
  }

  bool TakeCheckpoint(const Line& line) {
    const auto* checkpoint = line.Find("checkpoint");
    if (checkpoint == nullptr) return Fail("checkpoint is missing");
    if (report_.records == 0) {
      if (after_ && *after_ != View(chain_.first_prev())) {
        return Fail(fmt::format("it goes on from {}, not from {}", View(chain_.first_prev()), *after_));
      }
      auto restored = ledger_.Restore(checkpoint->raw);
      return restored.has_value() || Fail(restored.error().message);
    }
    std::string mine;
    ledger_.AppendCheckpoint(mine);
    if (mine == checkpoint->raw) return true;
    const auto expected = encoding::ParseJson(mine);
    const auto found = encoding::ParseJson(checkpoint->raw);
    return (expected && found && *expected == *found) || Fail("the checkpoint does not follow from the lines before");
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
  const std::vector<std::string>& heads_;
  const std::optional<std::string>& after_;
  Chain chain_;
  Ledger ledger_;
  std::string file_;
  std::uint64_t line_number_ = 0;
  std::uint64_t torn_at_ = 0;
  std::string torn_why_;
};

struct InputFile {
  std::filesystem::path path;
  std::shared_ptr<base::UniqueFd> fd;
  std::string stream;
  std::uint64_t first_seq = 0;
};

bool IsBeside(const std::filesystem::path& path) {
  const auto name = path.filename().string();
  return name.starts_with('.') || name.ends_with(".lock") || name.ends_with(".next");
}

base::Result<std::vector<std::filesystem::path>> Expand(const std::vector<std::filesystem::path>& paths) {
  std::vector<std::filesystem::path> files;
  for (const auto& path : paths) {
    std::error_code error;
    const auto status = std::filesystem::status(path, error);
    if (std::filesystem::is_directory(status)) {
      std::filesystem::directory_iterator it(path, error);
      for (const std::filesystem::directory_iterator end; !error && it != end; it.increment(error)) {
        if (it->is_regular_file() && !IsBeside(it->path())) files.push_back(it->path());
      }
      if (error)
        return MakeError(Code::kUnavailable, fmt::format("cannot list {}: {}", path.string(), error.message()));
    } else if (std::filesystem::exists(status)) {
      for (auto& segment : Segments::Find(path)) files.push_back(std::move(segment));
      files.push_back(path);
    } else {
      return MakeError(Code::kNotFound, fmt::format("{}: no such file or folder", path.string()));
    }
  }
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  return files;
}

/// Opens everything, and again if a rotation has moved files meanwhile.
base::Result<std::vector<InputFile>> OpenAll(const std::vector<std::filesystem::path>& paths) {
  for (int attempt = 1;; ++attempt) {
    TRY(const auto files, Expand(paths));
    std::vector<InputFile> inputs;
    bool moved = false;
    for (const auto& path : files) {
      auto fd = std::make_shared<base::UniqueFd>(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
      if (!fd->valid() && errno == ENOENT && attempt < kListings) {
        moved = true;
        break;
      }
      if (!fd->valid()) return base::ErrnoError(Code::kUnavailable, "cannot read " + path.string(), errno);
      inputs.push_back({path, std::move(fd), {}, 0});
    }
    TRY(const auto again, Expand(paths));
    if (!moved && (again == files || attempt >= kListings)) return inputs;
  }
}

/// Whose lines are these? By the first line that is JSON; torn ones may come before it.
bool Identify(InputFile& input) {
  LineReader reader(input.fd->get());
  for (int i = 0; i < kLinesToIdentify; ++i) {
    std::string_view text;
    if (reader.Read(text) != LineReader::Next::kLine) return false;
    Line line;
    if (!line.Parse(text)) continue;
    const auto stream = line.Plain("stream");
    const auto seq = line.Number("seq");
    if (!stream || !seq) return false;
    input.stream = *stream;
    input.first_seq = *seq;
    return true;
  }
  return false;
}

bool FeedFile(StreamVerifier& verifier, const InputFile& input) {
  verifier.BeginFile(input.path.string());
  LineReader reader(input.fd->get());
  int looks = 0;
  for (;;) {
    const auto offset = reader.offset();
    std::string_view text;
    switch (reader.Read(text)) {
      case LineReader::Next::kLine:
        if (!verifier.Take(text)) return false;
        break;
      case LineReader::Next::kUnterminated:
        if (++looks > kLooksAtTheEnd) return verifier.TakeUnterminated();
        std::this_thread::sleep_for(kBetweenLooks);  // a writer may be in the middle of this very line
        reader = LineReader(input.fd->get(), UINT64_MAX, offset);
        break;
      case LineReader::Next::kTooLong:
        return verifier.Fail("the line is too long");
      case LineReader::Next::kError:
        return verifier.Fail(fmt::format("cannot be read (errno {})", reader.error()));
      case LineReader::Next::kEnd:
        return verifier.EndFile();
    }
  }
}

}  // namespace

bool VerifyReport::ok() const {
  return problems.empty() &&
         std::none_of(streams.begin(), streams.end(), [](const auto& stream) { return stream.problem.has_value(); });
}

std::uint64_t VerifyReport::records() const {
  std::uint64_t sum = 0;
  for (const auto& stream : streams) sum += stream.records;
  return sum;
}

base::Result<VerifyReport> Verify(const VerifyOptions& options) {
  TRY(auto inputs, OpenAll(options.paths));
  VerifyReport report;
  if (inputs.empty())
    report.problems.push_back({options.paths.front().string(), 0, "no files: there is no record here"});
  std::map<std::string, std::vector<InputFile>> streams;
  for (auto& input : inputs) {
    if (Identify(input)) {
      streams[input.stream].push_back(std::move(input));
    } else {
      report.problems.push_back({input.path.string(), 1, "not a record: no line of it can be read"});
    }
  }
  for (auto& [stream, files] : streams) {
    std::stable_sort(files.begin(), files.end(), [](auto& a, auto& b) { return a.first_seq < b.first_seq; });
    StreamReport& one = report.streams.emplace_back();
    StreamVerifier verifier(one, options.heads, options.after);
    for (const auto& file : files) {
      if (!FeedFile(verifier, file)) break;
    }
    verifier.End();
    if (one.stream.empty()) one.stream = stream;
  }
  for (const auto& head : options.heads) {
    const bool found = std::any_of(report.streams.begin(), report.streams.end(), [&](const auto& stream) {
      return std::any_of(stream.heads.begin(), stream.heads.end(),
                         [&](const auto& known) { return known.hash == head; });
    });
    if (found) continue;
    const std::string file =
        report.streams.empty() ? options.paths.front().string() : report.streams.back().files.back();
    const std::uint64_t records = report.streams.empty() ? 0 : report.streams.back().records;
    report.problems.push_back(
        {file, records,
         fmt::format("no line has the head {}: the end was cut after it was noted, or lines before were changed",
                     head)});
  }
  return report;
}

StreamReport VerifyText(std::string_view text) {
  static const std::vector<std::string> kNoHeads;
  static const std::optional<std::string> kNotAfter;
  StreamReport report;
  StreamVerifier verifier(report, kNoHeads, kNotAfter);
  verifier.BeginFile("text");
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
