// cli/audit_rows.hpp - the record as one row per operation: intent, outcome and release joined.
//
// Reads what audit::Verify has found good, and nothing beyond it, in bounded memory: a row waits for its outcome while
// kWindow operations of its stream begin. What comes later still (a release can take hours) is kept by LateFacts, which
// has looked at every line before.
//
// Thread-safety: none.
// Blocking:      reads the files once more.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "audit/line.hpp"
#include "audit/verify.hpp"
#include "base/bytes.hpp"
#include "base/clock.hpp"
#include "base/result.hpp"

namespace signet::cli {

struct AuditFilter {
  std::string policy, principal, key_id, digest, artifact;  ///< exact; "": any. key_id and digest: a beginning will do
  std::string result;                                       ///< signed, failed, discarded, unknown, open
  std::string request;                                      ///< NAMESPACE/NAME
  std::string pod;                                          ///< NAMESPACE/NAME, or the uid
  std::string idempotency_key;
  std::set<std::string> signatures;             ///< hashes; one of them; empty: any
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
  std::string annotations;  ///< the artifact's, as JSON; empty: none
  std::uint64_t annotations_omitted = 0;
  std::string stream;
  std::uint64_t policy_generation = 0;
  std::uint64_t seq = 0;  ///< of the intent
};

/// What the lines after its intent say of an operation.
struct AuditFacts {
  std::string result, released, reason, signature_sha256;
  void Take(const audit::Line& line);
};

/// Observes every line (VerifyOptions::observe) and keeps those that come too late for the window.
class LateFacts {
 public:
  static constexpr std::size_t kWindow = 16384;  ///< operations, 30 MiB of rows where all match
  explicit LateFacts(std::size_t window = kWindow) : window_(window) {}
  void Observe(const std::string& stream, const audit::Line& line);
  [[nodiscard]] const AuditFacts* Find(const std::string& operation) const;
  [[nodiscard]] std::size_t window() const { return window_; }

 private:
  std::size_t window_;
  std::string stream_;
  std::deque<std::string> order_;
  std::unordered_set<std::string> recent_;
  std::unordered_map<std::string, AuditFacts> late_;
};

struct AuditCounts {
  std::uint64_t lines = 0;       ///< read
  std::uint64_t operations = 0;  ///< intents among them, before the filter
  std::uint64_t rows = 0;        ///< that matched
};

/// Gives `take` each row that matches, streams merged by the time of the intent; false ends it.
base::Result<AuditCounts> EachRow(const audit::VerifyReport& report, const LateFacts& late, const AuditFilter& filter,
                                  const std::function<bool(const AuditRow&)>& take);

/// The hashes under which the record may name this signature: its own, and those of the forms and malleable twins of an
/// ECDSA signature.
std::set<std::string> SignatureHashes(base::ByteView signature);

nlohmann::json ToJson(const AuditRow& row);
/// RFC 4180: the header, and a row. Cells that a spreadsheet would take for a formula begin with a quote character.
std::string CsvHeader();
std::string ToCsv(const AuditRow& row);
std::string ToTable(const std::vector<AuditRow>& rows, int columns);

}  // namespace signet::cli
