// audit/scan.hpp - what the last process left: read at start, and again after a failed write.
//
// Thread-safety: none. Blocking: reads one segment (a second for 64 MiB on a slow disk).
#pragma once

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
};

/// One file up to `limit`, from its first record (`stream`, or `segment` with a checkpoint).
/// @return kInvalidArgument reason AuditCorrupt, naming file and line
base::Result<Scanned> ScanFile(int fd, const std::filesystem::path& name, std::uint64_t limit = UINT64_MAX);

/// FILE, and the newest full segment where FILE does not tell: where the stream stands.
base::Result<Scanned> ScanSegments(const Segments& segments, const std::filesystem::path& file);

}  // namespace signet::audit
