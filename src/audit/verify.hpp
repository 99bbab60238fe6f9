// audit/verify.hpp - holds a record to its own chain: what `signet audit verify` and the fuzzer run.
//
// Found: edits, swaps, repetitions and deletions of lines, a cut start, a missing segment, lines of
// another stream, outcomes without intent, a checkpoint that does not follow from the lines before.
// Lines missing before a `segment` are reported and reading goes on after them.
// Not provable without a head noted elsewhere (FILE.head holds one, against accidents): that the end was not cut. Not
// provable at all by the
// files alone: that nobody who may write all of them has built the whole chain anew.
//
// Thread-safety: pure functions. Blocking: reads the files once, a few MB of memory whatever their size.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "audit/line.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace signet::audit {

struct VerifyOptions {
  /// Files and folders. A FILE stands for itself and for the files of its stream beside it whose names begin with its
  /// name; a folder for every file in it.
  std::vector<std::filesystem::path> paths;
  std::vector<std::string> heads;    ///< hashes noted elsewhere; each must be in one of the records
  std::optional<std::string> after;  ///< a record must go on from a line with this hash (archived segments)
  /// Called with each good line, stream after stream, in order of seq; empty: not.
  std::function<void(const std::string& stream, const Line&)> observe;
};

/// The first line that is wrong.
struct Problem {
  std::string file;
  std::uint64_t line = 0;
  std::string why;
};

struct TornLine {
  std::string file;
  std::uint64_t line = 0;  ///< the line that closes it
  std::uint64_t bytes = 0;
};

struct FoundHead {
  std::string hash;
  std::uint64_t seq = 0;
  std::uint64_t records_after = 0;
};

/// Lines that are not there.
struct Gap {
  Problem problem;
  std::uint64_t first_seq = 0, last_seq = 0;  ///< 0, 0: not known which
};

/// One stream: what one process, and those that went on with its file, wrote.
struct StreamReport {
  std::string stream;
  std::vector<std::string> files;
  std::vector<std::shared_ptr<base::UniqueFd>> opened;  ///< the same files, wherever a rotation has moved them since
  std::uint64_t records = 0;
  std::uint64_t first_seq = 0, last_seq = 0;
  std::string head;  ///< hex hash of the last good line
  std::string first_time, last_time;
  std::uint64_t intents = 0, signed_ = 0, failed = 0, discarded = 0, unknown = 0, released = 0, refused = 0;
  std::uint64_t open = 0;              ///< intents without outcome: at work, or the process was killed
  std::uint64_t delivery_unknown = 0;  ///< settled without knowing: the request went before anybody could look
  std::uint64_t unsettled = 0;         ///< signed for the controller door, delivery not recorded yet
  std::vector<TornLine> torn_lines;
  std::vector<TornLine> lost_files;  ///< the file being written was gone or changed; `missing` says which lines are
  std::vector<Gap> missing;
  std::vector<FoundHead> heads;
  std::optional<Problem> problem;  ///< nothing after it was read
  /// The first thing that is wrong; nullptr: nothing.
  [[nodiscard]] const Problem* First() const;
};

struct VerifyReport {
  std::vector<StreamReport> streams;
  std::vector<Problem> problems;  ///< files of no stream, heads that are nowhere, changed copies
  std::vector<Problem> skipped;   ///< files that are no part of a record; nothing wrong
  [[nodiscard]] bool ok() const { return First() == nullptr; }
  [[nodiscard]] const Problem* First() const;
  [[nodiscard]] std::uint64_t records() const;
};

/// @return kNotFound / kUnavailable when a path cannot be read; everything wrong inside is in the report
base::Result<VerifyReport> Verify(const VerifyOptions& options);

/// One file's text, from the start of its stream.
StreamReport VerifyText(std::string_view text);

}  // namespace signet::audit
