#include "audit/scan.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>

#include "base/unique_fd.hpp"

namespace signet::audit {
namespace {

using base::Code;
using base::MakeError;

base::Error Corrupt(const std::filesystem::path& name, std::uint64_t line, std::string_view why) {
  return MakeError(
      Code::kInvalidArgument, "AuditCorrupt",
      fmt::format("{}:{}: {}; look with `signet audit verify`, then move the files away: a new stream begins",
                  name.string(), line, why));
}

/// Could `octets` be what a crash left of the very first line? Keeps us from appending to somebody else's file.
bool IsOurs(std::string_view octets) {
  static constexpr std::string_view kBeginning = "{\"stream\":\"";
  if (octets.find_first_not_of('\0') == std::string_view::npos) return true;
  return octets.substr(0, kBeginning.size()) == kBeginning.substr(0, octets.size());
}

}  // namespace

base::Result<Scanned> ScanFile(int fd, const std::filesystem::path& name, std::uint64_t limit) {
  Scanned scanned;
  LineReader reader(fd, limit);
  Chain chain;
  chain.BeginFile(true);
  std::uint64_t number = 0;
  for (;;) {
    std::string_view text;
    const auto next = reader.Read(text);
    if (next == LineReader::Next::kEnd) break;
    ++number;
    if (next == LineReader::Next::kTooLong) return Corrupt(name, number, "the line is too long");
    if (next == LineReader::Next::kError) {
      auto error = base::ErrnoError(Code::kUnavailable, "cannot read " + name.string(), reader.error());
      error.reason = "AuditUnavailable";
      return error;
    }
    scanned.needs_newline = next == LineReader::Next::kUnterminated;
    switch (chain.Take(text)) {
      case Chain::Step::kBad:
        return Corrupt(name, number, chain.why());
      case Chain::Step::kTorn:
        break;
      case Chain::Step::kRecord:
        if (chain.line().Plain("type") == kTypeSegment && chain.line().Find("checkpoint") != nullptr) {
          if (auto restored = scanned.ledger.Restore(chain.line().Find("checkpoint")->raw); !restored) {
            return Corrupt(name, number, restored.error().message);
          }
        }
        if (auto applied = scanned.ledger.Apply(chain.line()); !applied) {
          return Corrupt(name, number, applied.error().message);
        }
        break;
    }
  }
  if (chain.position().seq == 0 && chain.torn() && !IsOurs(chain.torn_octets())) {
    return Corrupt(name, 1, "not a record of Signet");
  }
  scanned.torn = chain.PendingTorn();
  if (chain.torn() && scanned.torn.bytes == 0) return Corrupt(name, number, "an empty line");
  scanned.position = chain.position();
  scanned.needs_opening = scanned.position.seq == 0;
  return scanned;
}

base::Result<Scanned> ScanSegments(const Segments& segments, const std::filesystem::path& file) {
  Scanned scanned;
  if (segments.exists()) {
    TRY(scanned, ScanFile(segments.fd(), file));
    if (scanned.position.seq > 0) return scanned;
  }
  const auto full = segments.LastFull();
  if (!full) return scanned;
  // FILE is absent or has no whole line: the stream goes on where the newest full segment ends.
  const base::UniqueFd fd(::open(full->c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return base::ErrnoError(Code::kUnavailable, "cannot read " + full->string(), errno);
  TRY(auto before, ScanFile(fd.get(), *full));
  if (before.torn.bytes > 0 || before.position.seq == 0) return Corrupt(*full, 1, "the end of a full segment is torn");
  before.torn = scanned.torn;
  before.needs_newline = scanned.needs_newline;
  before.needs_opening = true;
  return before;
}

}  // namespace signet::audit
