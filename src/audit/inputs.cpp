#include "audit/inputs.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <set>

#include "audit/chain.hpp"

namespace signet::audit {
namespace {

using base::Code;
using base::MakeError;
using std::filesystem::path;

constexpr int kListings = 5;  // a record at work may rotate between two looks at the folder
constexpr int kLinesToIdentify = 64;
constexpr std::uint64_t kBytesToIdentify = 1U << 20U;
constexpr std::string_view kBeginning = "{\"stream\":\"";

enum class Why : std::uint8_t { kNamed, kInFolder, kBeside };

struct Candidate {
  path file;
  Why why = Why::kNamed;
  friend bool operator==(const Candidate&, const Candidate&) = default;
};

struct Listing {
  std::vector<Candidate> candidates;
  std::set<path> bases;  ///< files that may have a note beside them
};

bool IsThere(const path& file) {
  std::error_code ignored;
  return std::filesystem::exists(std::filesystem::symlink_status(file, ignored));
}

path FolderOf(const path& file) { return file.has_parent_path() ? file.parent_path() : path("."); }

/// FILE.next becomes FILE when a rotation is finished. While FILE is there, it counts for nothing.
bool IsUnfinished(const path& file) {
  const auto name = file.string();
  return name.ends_with(".next") && IsThere(name.substr(0, name.size() - 5));
}

base::Status ListFolder(const path& folder, Listing& listing) {
  std::error_code error;
  std::filesystem::directory_iterator it(folder, error);
  for (const std::filesystem::directory_iterator end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (!it->is_regular_file(ignored)) continue;
    const auto name = it->path().string();
    if (name.ends_with(".head")) listing.bases.insert(name.substr(0, name.size() - 5));
    listing.candidates.push_back({it->path(), Why::kInFolder});
  }
  if (error) return MakeError(Code::kUnavailable, fmt::format("cannot list {}: {}", folder.string(), error.message()));
  return {};
}

/// Files whose names go on from this one's, whatever comes after: the check of their lines decides.
void ListBeside(const path& file, Listing& listing) {
  const auto name = file.filename().string();
  std::error_code error;
  std::filesystem::directory_iterator it(FolderOf(file), error);
  for (const std::filesystem::directory_iterator end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    const auto other = it->path().filename().string();
    if (other == name || !other.starts_with(name) || !it->is_regular_file(ignored)) continue;
    listing.candidates.push_back({file.has_parent_path() ? it->path() : path(other), Why::kBeside});
  }
}

base::Result<Listing> List(const std::vector<path>& paths) {
  Listing listing;
  for (const auto& one : paths) {
    std::error_code error;
    const auto status = std::filesystem::status(one, error);
    if (std::filesystem::is_directory(status)) {
      TRY_VOID(ListFolder(one, listing));
    } else if (std::filesystem::is_regular_file(status)) {
      listing.candidates.push_back({one, Why::kNamed});
      listing.bases.insert(one);
      ListBeside(one, listing);
    } else if (std::filesystem::exists(status)) {
      return MakeError(Code::kInvalidArgument,
                       fmt::format("{} is neither a file nor a folder: write the lines to a file first", one.string()));
    } else {
      return MakeError(Code::kNotFound, fmt::format("{}: no such file or folder", one.string()));
    }
  }
  std::erase_if(listing.candidates, [](const Candidate& one) { return IsUnfinished(one.file); });
  std::stable_sort(listing.candidates.begin(), listing.candidates.end(),
                   [](const auto& a, const auto& b) { return a.why != b.why ? a.why < b.why : a.file < b.file; });
  return listing;
}

struct Opened {
  Candidate candidate;
  std::shared_ptr<base::UniqueFd> fd;
  std::uint64_t size = 0;
};

/// Each file once, whatever names it has; nullopt: a file has moved meanwhile.
base::Result<std::optional<std::vector<Opened>>> OpenEach(const std::vector<Candidate>& candidates) {
  std::vector<Opened> opened;
  std::set<std::pair<::dev_t, ::ino_t>> seen;
  for (const auto& candidate : candidates) {
    auto fd = std::make_shared<base::UniqueFd>(::open(candidate.file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct ::stat info {};
    if (!fd->valid() || ::fstat(fd->get(), &info) != 0) {
      if (errno == ENOENT) return std::optional<std::vector<Opened>>();
      if (candidate.why == Why::kBeside || candidate.file.string().ends_with(".lock")) continue;
      return base::ErrnoError(Code::kUnavailable, "cannot read " + candidate.file.string(), errno);
    }
    if (!seen.emplace(info.st_dev, info.st_ino).second) continue;
    opened.push_back({candidate, std::move(fd), static_cast<std::uint64_t>(info.st_size)});
  }
  return std::optional(std::move(opened));
}

struct Head {
  std::string stream;
  std::uint64_t seq = 0;
};

std::optional<Head> HeadOf(std::string_view text) {
  Line line;
  if (!line.Parse(text)) return std::nullopt;
  const auto stream = line.Plain("stream");
  const auto seq = line.Number("seq");
  if (!stream || !seq || !line.Find("prev") || !line.Find("type")) return std::nullopt;
  return Head{std::string(*stream), *seq};
}

/// The file's first line of a record; torn ones may come before it.
std::optional<Head> FirstOf(int fd) {
  std::array<char, kBeginning.size()> start{};
  const auto got = ::pread(fd, start.data(), start.size(), 0);
  const bool ours =
      got == static_cast<ssize_t>(start.size()) && std::string_view(start.data(), start.size()) == kBeginning;
  LineReader reader(fd, ours ? UINT64_MAX : kBytesToIdentify);
  for (int i = 0; i < kLinesToIdentify; ++i) {
    std::string_view text;
    const auto next = reader.Read(text);
    if (next != LineReader::Next::kLine && next != LineReader::Next::kUnterminated) break;
    if (auto head = HeadOf(text)) return head;
  }
  return std::nullopt;
}

/// The seq of the last whole line; 0 where the end of the file does not tell.
std::uint64_t LastSeqOf(int fd, std::uint64_t size) {
  for (std::uint64_t back = 1U << 16U; size > 0; back *= 16) {
    const auto from = size > back ? size - back : 0;
    LineReader reader(fd, size, from);
    std::uint64_t last = 0;
    std::string_view text;
    // From inside a line, the first piece is none.
    if (from > 0 && reader.Read(text) != LineReader::Next::kLine) return 0;
    for (auto next = reader.Read(text); next == LineReader::Next::kLine; next = reader.Read(text)) {
      if (const auto head = HeadOf(text)) last = head->seq;
    }
    if (last > 0 || from == 0 || back > kMaxLineBytes) return last;
  }
  return 0;
}

bool IsCompressed(int fd) {
  static constexpr std::array<std::string_view, 5> kMagic = {"\x1f\x8b", "\x28\xb5\x2f\xfd",
                                                             "\xfd"
                                                             "7zXZ",
                                                             "BZh", "\x04\x22\x4d\x18"};
  std::array<char, 8> start{};
  const auto got = ::pread(fd, start.data(), start.size(), 0);
  const std::string_view text(start.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  return std::any_of(kMagic.begin(), kMagic.end(), [&](auto magic) { return text.starts_with(magic); });
}

/// FILE.lock and FILE.head are no part of the record.
bool IsBeside(const Opened& file) {
  const auto name = file.candidate.file.string();
  return (name.ends_with(".lock") || name.ends_with(".head")) && !FirstOf(file.fd->get());
}

class Sorter {
 public:
  explicit Sorter(const std::vector<Opened>& files) : files_(files) {}

  Inputs Run() {
    for (const auto& file : files_) {
      if (!IsBeside(file)) Take(file);
    }
    return std::move(inputs_);
  }

 private:
  void Take(const Opened& file) {
    const auto head = FirstOf(file.fd->get());
    if (!head) return TakeOther(file);
    const bool beside = file.candidate.why == Why::kBeside;
    // What is beside a FILE belongs to it by its stream. Candidates that were asked for come first.
    if (beside && !inputs_.streams.contains(head->stream) && !asked_for_unreadable_) return;
    InputFile input{file.candidate.file, file.fd, !beside, head->stream, head->seq, 0};
    input.last_seq = LastSeqOf(file.fd->get(), file.size);
    inputs_.streams[head->stream].push_back(std::move(input));
  }

  void TakeOther(const Opened& file) {
    const bool compressed = IsCompressed(file.fd->get());
    const auto& name = file.candidate.file;
    const char* what = compressed       ? "compressed, so not read: unpack it to have it checked"
                       : file.size == 0 ? "empty"
                                        : "not a record: no line of it can be read";
    if (MustBeRecord(file.candidate)) {
      asked_for_unreadable_ = true;
      inputs_.problems.push_back({name.string(), 1, what});
    } else if (compressed || file.candidate.why != Why::kBeside) {
      inputs_.skipped.push_back({name.string(), 0, what});
    }
  }

  /// Named, and not merely a neighbour that a pattern of the shell has named, too; or where a record is written.
  [[nodiscard]] bool MustBeRecord(const Candidate& candidate) const {
    if (candidate.why == Why::kBeside) return false;
    if (IsThere(candidate.file.string() + ".head") || !Segments::Find(candidate.file).empty()) return true;
    if (candidate.why == Why::kInFolder) return false;
    return std::none_of(files_.begin(), files_.end(), [&](const Opened& other) {
      const auto name = other.candidate.file.filename().string();
      return other.candidate.why == Why::kNamed && FolderOf(other.candidate.file) == FolderOf(candidate.file) &&
             candidate.file.filename().string().size() > name.size() &&
             candidate.file.filename().string().starts_with(name);
    });
  }

  const std::vector<Opened>& files_;
  Inputs inputs_;
  bool asked_for_unreadable_ = false;
};

}  // namespace

base::Result<Inputs> CollectInputs(const std::vector<path>& paths) {
  for (int attempt = 1;; ++attempt) {
    TRY(const auto listing, List(paths));
    std::vector<NotedEnd> notes;
    for (const auto& base : listing.bases) {
      if (auto note = Segments::ReadNote(base)) notes.push_back({base, *std::move(note)});
    }
    TRY(auto opened, OpenEach(listing.candidates));
    TRY(const auto again, List(paths));
    const bool settled = opened && again.candidates == listing.candidates;
    if (!settled && attempt < kListings) continue;
    if (!opened) return MakeError(Code::kAborted, "the files move while they are read: try again");
    Inputs inputs = Sorter(*opened).Run();
    inputs.notes = std::move(notes);
    return inputs;
  }
}

}  // namespace signet::audit
