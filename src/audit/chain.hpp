// audit/chain.hpp - reads lines and holds them to the chain: stream, seq, prev, torn lines.
//
// A line that is not JSON is torn: it counts as evidence of a crash only if the next record names
// its length and hash; an edited line is never that, because the lines after it still point to what
// it was. Lines that are JSON must be the next record exactly.
//
// Thread-safety: none. Blocking: LineReader reads its file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "audit/line.hpp"
#include "audit/record.hpp"
#include "base/result.hpp"

namespace signet::audit {

inline constexpr std::size_t kMaxLineBytes = 64U << 20U;  ///< a checkpoint of a very busy gateway
inline constexpr std::size_t kMaxTornBytes = 64U << 20U;  ///< a power cut may leave a hole as long as a write-back

class LineReader {
 public:
  enum class Next : std::uint8_t { kLine, kUnterminated, kEnd, kTooLong, kError };
  /// Reads `fd` (the caller's) from `offset` up to `limit`.
  explicit LineReader(int fd, std::uint64_t limit = UINT64_MAX, std::uint64_t offset = 0)
      : fd_(fd), limit_(limit), file_offset_(offset), consumed_(offset) {}
  /// `line` has no newline and is valid until the next call. kError: errno is in error().
  Next Read(std::string_view& line);
  /// Where in the file the next line begins.
  [[nodiscard]] std::uint64_t offset() const { return consumed_; }
  [[nodiscard]] int error() const { return error_; }

 private:
  bool Fill();

  int fd_;
  std::uint64_t limit_;
  std::uint64_t file_offset_ = 0;
  std::uint64_t consumed_ = 0;
  std::string buffer_;
  std::size_t start_ = 0;
  std::size_t searched_ = 0;
  std::size_t size_ = 0;
  bool end_ = false;
  int error_ = 0;
};

class Chain {
 public:
  enum class Step : std::uint8_t {
    kRecord,  ///< line() is the next record
    kTorn,    ///< not JSON; the next record must close it
    kBad,     ///< why() says what is wrong
  };

  /// From the beginning of a stream, or after `position`.
  Chain() = default;
  explicit Chain(Position position) : position_(std::move(position)), known_(true) {}

  /// The next line is the first of a file. A file that begins with `segment` is accepted as the first one read
  /// only when `may_continue`; then the line before it is taken on trust.
  void BeginFile(bool may_continue) {
    first_in_file_ = true;
    may_continue_ = may_continue;
  }
  /// From now on a file that begins with `segment` may leave lines out; missing() says which.
  void AllowGaps() { gaps_ = true; }
  Step Take(std::string_view text);

  [[nodiscard]] const Line& line() const { return line_; }
  [[nodiscard]] const std::string& why() const { return why_; }
  [[nodiscard]] const Position& position() const { return position_; }
  /// Lines taken as torn since the last record.
  [[nodiscard]] bool torn() const { return torn_lines_ > 0; }
  [[nodiscard]] const std::string& torn_octets() const { return torn_octets_; }
  [[nodiscard]] Torn PendingTorn() const;
  /// seq of the first line that is missing before line(), up to the one before line(); 0: none is.
  [[nodiscard]] std::uint64_t missing_from() const { return missing_from_; }
  /// What the record before the first one read must hash to.
  [[nodiscard]] const HashText& first_prev() const { return first_prev_; }

 private:
  Step Bad(std::string why);
  void GoTo(std::uint64_t next_seq, std::string_view prev);
  bool CheckLinks();
  bool CheckPlace();
  bool CheckTorn();

  Position position_;
  bool known_ = false;
  bool first_in_file_ = true;
  bool may_continue_ = false;
  bool gaps_ = false;
  std::uint64_t missing_from_ = 0;
  HashText first_prev_ = kNoHash;
  Line line_;
  std::string why_;
  std::string torn_octets_;
  std::uint64_t torn_lines_ = 0;
};

}  // namespace signet::audit
