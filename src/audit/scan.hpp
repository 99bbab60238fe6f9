// audit/scan.hpp - what the last process left, read at start.
//
// Thread-safety: none. Blocking: reads one segment (a second for 64 MiB on a slow disk).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "audit/chain.hpp"
#include "audit/ledger.hpp"
#include "audit/record.hpp"
#include "audit/segments.hpp"
#include "base/result.hpp"

namespace signet::audit {

struct Scanned {
  Position position;  ///< seq 0: no record yet
  Ledger ledger;
  Torn torn;                   ///< octets after the last record
  bool needs_newline = false;  ///< the file does not end with one
  bool needs_opening = true;   ///< FILE has no whole line yet: `stream` or `segment` comes next
  /// kGrown: what comes after good_bytes is not this record's. Others but kNone: lines up to `position` are missing.
  Damage damage = Damage::kNone;
  std::uint64_t good_bytes = 0;  ///< where the last record ends
  std::uint64_t segment = 0;     ///< the number in the `segment` line of the file, if it has one
};

/// One file up to `limit`, from its first record (`stream`, or `segment` with a checkpoint).
/// Lines that do not fit are the end of the record if `note` shows that nothing of it comes after them.
/// @return kInvalidArgument reason AuditCorrupt, naming file and line
base::Result<Scanned> ScanFile(int fd, const std::filesystem::path& name, const std::optional<Note>& note);

/// FILE, and the newest full segment where FILE does not tell: where the stream stands. The note of the last process
/// tells whether lines are missing.
base::Result<Scanned> ScanSegments(const Segments& segments, const std::filesystem::path& file);

}  // namespace signet::audit
