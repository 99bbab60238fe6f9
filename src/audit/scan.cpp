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
  static constexpr std::string_view kFirstLineStart = "{\"stream\":\"";
  if (octets.find_first_not_of('\0') == std::string_view::npos) return true;
  return octets.substr(0, kFirstLineStart.size()) == kFirstLineStart.substr(0, octets.size());
}

/// Does the first line of the file that can be read name this stream?
bool Begins(int fd, const std::string& stream) {
  LineReader reader(fd);
  std::string_view text;
  Line line;
  if (reader.Read(text) != LineReader::Next::kLine || !line.Parse(text)) return false;
  return line.Plain("stream") == stream;
}

/// One line more. An error names what is wrong with it.
base::Status TakeLine(Chain& chain, Ledger& ledger, std::uint64_t& segment, std::string_view text) {
  switch (chain.Take(text)) {
    case Chain::Step::kBad:
      return MakeError(Code::kInvalidArgument, chain.why());
    case Chain::Step::kTorn:
      return {};
    case Chain::Step::kRecord:
      break;
  }
  if (chain.line().Plain("type") == kTypeSegment) segment = chain.line().Number("number").value_or(segment);
  const auto* checkpoint = chain.line().Find("checkpoint");
  if (chain.line().Plain("type") == kTypeSegment && checkpoint != nullptr) TRY_VOID(ledger.Restore(checkpoint->raw));
  return ledger.Apply(chain.line());
}

base::Result<Scanned> ScanNewestFull(const Segments& segments) {
  const auto path = *segments.LastFull();
  const base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return base::ErrnoError(Code::kUnavailable, "cannot read " + path.string(), errno);
  auto scanned = ScanFile(fd.get(), path, std::nullopt);
  if (scanned && (scanned->torn.bytes > 0 || scanned->position.seq == 0)) {
    scanned = Corrupt(path, 1, "the end of a full segment is torn");
  }
  // The note says where the stream goes on; what cannot be read says nothing of keys and counts.
  if (!scanned && segments.note() && scanned.error().reason == "AuditCorrupt") return Scanned{};
  return scanned;
}

/// The lines that FILE held may be beside it under another name: logrotate moves and copies files.
std::optional<Scanned> FindBeside(const std::filesystem::path& file, const Note& note) {
  const auto folder = file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
  std::error_code error;
  std::filesystem::directory_iterator it(folder, error);
  for (const std::filesystem::directory_iterator end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (!it->is_regular_file(ignored) || !it->path().filename().string().starts_with(file.filename().string()))
      continue;
    const base::UniqueFd fd(::open(it->path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.valid() || !Begins(fd.get(), note.stream)) continue;
    auto scanned = ScanFile(fd.get(), it->path(), std::nullopt);
    if (scanned && scanned->position.seq == note.seq && scanned->position.head == note.head) return *std::move(scanned);
  }
  return std::nullopt;
}

}  // namespace

base::Result<Scanned> ScanFile(int fd, const std::filesystem::path& name, const std::optional<Note>& note) {
  Scanned scanned;
  LineReader reader(fd);
  Chain chain;
  chain.BeginFile(true);
  std::uint64_t number = 0;
  const auto complete = [&] {
    return note && scanned.position.stream == note->stream && scanned.position.seq >= note->seq;
  };
  const auto grown = [&scanned]() -> base::Result<Scanned> {
    scanned.damage = Damage::kGrown;
    scanned.needs_newline = scanned.needs_opening = false;
    return std::move(scanned);
  };
  for (;;) {
    std::string_view text;
    const auto next = reader.Read(text);
    if (next == LineReader::Next::kEnd) break;
    ++number;
    if (next == LineReader::Next::kError) {
      auto error = base::ErrnoError(Code::kUnavailable, "cannot read " + name.string(), reader.error());
      error.reason = "AuditUnavailable";
      return error;
    }
    scanned.needs_newline = next == LineReader::Next::kUnterminated;
    const auto taken = next == LineReader::Next::kTooLong ? MakeError(Code::kInvalidArgument, "the line is too long")
                                                          : TakeLine(chain, scanned.ledger, scanned.segment, text);
    if (!taken) {
      if (!complete()) return Corrupt(name, number, taken.error().message);
      return grown();
    }
    if (chain.torn()) continue;
    scanned.position = chain.position();
    scanned.good_bytes = reader.offset();
  }
  if (chain.position().seq == 0 && chain.torn() && !IsOurs(chain.torn_octets())) {
    return Corrupt(name, 1, "not a record of Signet");
  }
  // A crash leaves a piece of a line, never a line end alone.
  const auto torn = chain.PendingTorn();
  if (chain.torn() && torn.bytes == 0) {
    if (scanned.position.seq == 0) return Corrupt(name, number, "an empty line");
    return grown();
  }
  scanned.torn = torn;
  scanned.needs_opening = scanned.position.seq == 0;
  return scanned;
}

base::Result<Scanned> ScanSegments(const Segments& segments, const std::filesystem::path& file) {
  const auto& note = segments.note();
  Scanned scanned;
  bool replaced = segments.damage() == Damage::kReplaced;
  if (segments.exists()) {
    auto read = ScanFile(segments.fd(), file, note);
    if (!read && (!note || read.error().reason != "AuditCorrupt" || Begins(segments.fd(), note->stream))) return read;
    replaced = !read || (note && read->position.seq > 0 && read->position.stream != note->stream);
    if (!replaced) scanned = *std::move(read);
  }
  const bool is_ours = scanned.position.seq > 0;
  const bool has_bytes = segments.size() > 0;
  if (!is_ours && segments.LastFull()) {
    // FILE is absent or has no whole line: the stream goes on where the newest full segment ends.
    TRY(auto before, ScanNewestFull(segments));
    before.torn = scanned.torn;
    before.needs_newline = scanned.needs_newline;
    before.needs_opening = true;
    before.damage = Damage::kNone;
    scanned = std::move(before);
  }
  if (!note || (!replaced && scanned.position.stream == note->stream && scanned.position.seq > note->seq))
    return scanned;
  if (!replaced && scanned.position.stream == note->stream && scanned.position.seq == note->seq) {
    if (scanned.position.head == note->head) return scanned;
    return Corrupt(file, 1, "its last line is not the one that was written");
  }
  if (auto beside = FindBeside(file, *note)) scanned.ledger = std::move(beside->ledger);
  scanned.damage = !has_bytes && !replaced ? Damage::kRemoved : is_ours ? Damage::kTruncated : Damage::kReplaced;
  scanned.position = *note;
  scanned.torn = {};
  scanned.needs_newline = false;
  scanned.needs_opening = true;
  return scanned;
}

}  // namespace signet::audit
