// cli/audit_rows.hpp - the record as one row per operation: intent, outcome and release joined.
//
// Reads what audit::Verify has found good, and nothing beyond it.
//
// Thread-safety: none.
// Blocking:      reads the files once more; the rows that match are kept in memory.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "audit/verify.hpp"
#include "base/clock.hpp"
#include "base/result.hpp"

namespace signet::cli {

struct AuditFilter {
  std::string policy, principal, key_id, digest, artifact;  ///< exact; "": any. key_id and digest: a beginning will do
  std::string result;                                       ///< signed, failed, discarded, unknown, open
  std::string request;                                      ///< NAMESPACE/NAME
  std::string pod;                                          ///< NAMESPACE/NAME, or the uid
  std::string idempotency_key;
  std::optional<base::TimePoint> since, until;  ///< of the intent, [since, until)
};

struct AuditRow {
  std::string time, operation, door, principal, identity, policy, key_id, algorithm, digest, artifact, media_type;
  std::string request;  ///< NAMESPACE/NAME
  std::string request_uid;
  std::string pod;  ///< NAMESPACE/NAME
  std::string pod_uid, node, idempotency_key;
  std::string result = "open";  ///< the outcome's; discarded when the release says it never was delivered
  std::string released;         ///< "true", "false" or "unknown", where a release is on record
  std::string reason;
  std::string signature_sha256;
  std::string stream;
  std::uint64_t policy_generation = 0;
  std::uint64_t seq = 0;  ///< of the intent
};

struct AuditRows {
  std::vector<AuditRow> rows;
  std::uint64_t lines = 0;       ///< read
  std::uint64_t operations = 0;  ///< intents among them, before the filter
};

/// @return kAborted when the files changed so often that they could not be read
base::Result<AuditRows> CollectRows(const audit::VerifyReport& report, const AuditFilter& filter);

nlohmann::json ToJson(const AuditRow& row);
/// RFC 4180, with a header; cells that a spreadsheet would take for a formula begin with a quote character.
std::string ToCsv(const std::vector<AuditRow>& rows);
std::string ToTable(const std::vector<AuditRow>& rows, int columns);

}  // namespace signet::cli
