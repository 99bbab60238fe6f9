#include "audit/chain.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "encoding/text.hpp"

namespace signet::audit {
namespace {

constexpr std::size_t kReadSize = 1U << 20U;

}  // namespace

bool LineReader::Fill() {
  if (start_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + start_, size_ - start_);
    size_ -= start_;
    searched_ -= start_;
    start_ = 0;
  }
  if (buffer_.size() < size_ + kReadSize) buffer_.resize(std::max(size_ + kReadSize, buffer_.size() * 2));
  const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size() - size_, limit_ - file_offset_));
  ssize_t got = 0;
  do {
    got = want == 0 ? 0 : ::pread(fd_, buffer_.data() + size_, want, static_cast<off_t>(file_offset_));
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    error_ = errno;
    return false;
  }
  end_ = got == 0;
  file_offset_ += static_cast<std::uint64_t>(got);
  size_ += static_cast<std::size_t>(got);
  return true;
}

LineReader::Next LineReader::Read(std::string_view& line) {
  for (;;) {
    const auto* found = static_cast<const char*>(std::memchr(buffer_.data() + searched_, '\n', size_ - searched_));
    if (found != nullptr) {
      const auto at = static_cast<std::size_t>(found - buffer_.data());
      line = std::string_view(buffer_).substr(start_, at - start_);
      consumed_ += line.size() + 1;
      start_ = searched_ = at + 1;
      return Next::kLine;
    }
    searched_ = size_;
    if (size_ - start_ > kMaxLineBytes) return Next::kTooLong;
    if (end_) break;
    if (!Fill()) return Next::kError;
  }
  if (start_ == size_) return Next::kEnd;
  line = std::string_view(buffer_).substr(start_, size_ - start_);
  consumed_ += line.size();
  start_ = size_;
  return Next::kUnterminated;
}

Chain::Step Chain::Bad(std::string why) {
  why_ = std::move(why);
  return Step::kBad;
}

Torn Chain::PendingTorn() const {
  if (torn_lines_ == 0) return {};
  return {torn_octets_.size(), HashOf(torn_octets_)};
}

void Chain::GoTo(std::uint64_t next_seq, std::string_view prev) {
  position_.seq = next_seq - 1;
  std::copy(prev.begin(), prev.end(), position_.head.begin());
}

bool Chain::CheckLinks() {
  const auto stream = line_.Plain("stream");
  const auto seq = line_.Number("seq");
  const auto prev = line_.Plain("prev");
  const auto type = line_.Plain("type");
  if (!stream || !encoding::IsLowerHex(*stream, 32) || !seq || !prev || !encoding::IsLowerHex(*prev, 64) || !type) {
    why_ = "not a record: stream, seq, prev or type is missing";
    return false;
  }
  if (!known_) {
    const bool starts = *type == kTypeStream && *seq == 1 && *prev == View(kNoHash);
    const bool continues = *type == kTypeSegment && *seq > 1 && may_continue_;
    if (!starts && !continues) {
      why_ = fmt::format("the start is cut: the first record here is seq {} of type {}, not the first of a stream",
                         *seq, *type);
      if (*type == kTypeSegment) why_ += "; give the segments before it, or their head with --after";
      return false;
    }
    position_.stream = *stream;
    GoTo(*seq, *prev);
    first_prev_ = position_.head;
    known_ = true;
    if (continues) missing_from_ = 1;
  } else if (gaps_ && first_in_file_ && *type == kTypeSegment && *stream == position_.stream &&
             *seq > position_.seq + 1) {
    missing_from_ = position_.seq + 1;
    GoTo(*seq, *prev);
    torn_lines_ = 0;  // what is torn before a gap is part of it
    torn_octets_.clear();
  }
  if (*stream != position_.stream) {
    why_ = fmt::format("stream is {}, not {}: a line of another record", *stream, position_.stream);
  } else if (*seq != position_.seq + 1) {
    why_ = fmt::format("seq is {}, expected {}: lines were removed, repeated or swapped", *seq, position_.seq + 1);
  } else if (*prev != View(position_.head)) {
    why_ = fmt::format("prev does not fit the line before (seq {}): that line was changed", position_.seq);
  } else {
    return true;
  }
  return false;
}

bool Chain::CheckPlace() {
  const auto type = *line_.Plain("type");
  // A `segment` may stand inside a file: in a copy of several files as one. Its checkpoint and links are checked there.
  if (type == kTypeStream && !first_in_file_) {
    why_ = "a record of type stream stands in the middle of a file";
  } else if (type != kTypeStream && type != kTypeSegment && first_in_file_) {
    why_ = fmt::format("the file begins with a record of type {}: its start is cut", type);
  } else if (type == kTypeStream && position_.seq != 0) {
    why_ = "a record of type stream that is not the first";
  } else {
    return true;
  }
  return false;
}

bool Chain::CheckTorn() {
  const auto bytes = line_.Number("tornBytes").value_or(0);
  if (torn_lines_ == 0) {
    if (bytes == 0) return true;
    why_ = fmt::format("it closes {} torn octets that are not there", bytes);
    return false;
  }
  const Torn torn = PendingTorn();
  if (bytes == torn.bytes && bytes > 0 && line_.Plain("tornSha256") == View(torn.hash)) return true;
  why_ = "the line before is not JSON, and this record does not close it as a torn line";
  return false;
}

Chain::Step Chain::Take(std::string_view text) {
  missing_from_ = 0;
  if (auto parsed = line_.Parse(text); !parsed) {
    if (torn_octets_.size() + text.size() > kMaxTornBytes) return Bad("too many octets that are no records");
    if (torn_lines_++ > 0) torn_octets_ += '\n';
    torn_octets_ += text;
    why_ = parsed.error().message;
    return Step::kTorn;
  }
  if (!CheckLinks() || !CheckPlace() || !CheckTorn()) return Step::kBad;
  first_in_file_ = false;
  torn_lines_ = 0;
  torn_octets_.clear();
  ++position_.seq;
  position_.head = HashOf(text);
  return Step::kRecord;
}

}  // namespace signet::audit
