// audit/journal.hpp - the append-only, hash-chained record of one process.
//
// JSON lines {"stream","seq","prev","time","type",...}: `prev` is the hex SHA-256 of
// the line before (without its newline), 64 zeros for the first line of a stream.
// One process, one file, one exclusive lock. docs/audit-record.schema.json is the
// schema; docs/audit.md the explanation.
//
// Thread-safety: call on the reactor's thread; callbacks run there.
// Blocking:      durability `process` writes to the page cache on the loop (a few µs); `fsync`
//                runs write + fdatasync on a thread of its own and commits in groups.
// Errors:        a failed write makes the journal unavailable (kUnavailable, reason
//                AuditUnavailable) until a retry succeeds: no record, no signature.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/reactor.hpp"
#include "base/result.hpp"
#include "identity/pod.hpp"

namespace signet::audit {

class FileSystem;
class LineCopier;

enum class Durability : std::uint8_t { kProcess, kFsync };

/// What is about to be signed, for whom: written before the HSM is asked.
struct Intent {
  std::string operation;  ///< operation id, 26 characters (ULID), shared by intent and outcome
  std::string door;       ///< "socket", "controller", "gateway"
  std::string principal;
  std::string identity;  ///< "asserted", "admission", "tokenReview"
  std::optional<std::uint32_t> peer_uid;
  std::optional<std::uint32_t> peer_gid;
  std::optional<std::int32_t> peer_pid;
  std::string policy;
  std::string policy_uid;
  std::int64_t policy_generation = 0;
  std::string policy_hash;  ///< hex SHA-256 of the canonical spec
  std::string key_id;
  std::string algorithm;
  std::string digest;  ///< "sha256:<hex>" of the digest, or of the message for message schemes
  bool message = false;
  std::string artifact_name;  ///< a claim; may be empty
  std::string artifact_media_type;
  std::map<std::string, std::string> artifact_annotations;   ///< claims; the record keeps 4096 bytes of them
  std::string request_namespace, request_name, request_uid;  ///< controller only
  /// Who said yes: the SigningApprovals that counted.
  struct Approved {
    std::string approval, approver;
    std::string signed_by;  ///< fingerprint of the approver's own key; empty: not signed
  };
  std::vector<Approved> approvals;
  identity::PodIdentity pod;    ///< gateway only; without a uid: none
  std::string idempotency_key;  ///< of the call: retries carry the same one; may be empty
};

enum class Result : std::uint8_t { kSigned, kFailed, kDiscarded, kUnknown };

/// What became of it. `signature_sha256` is set for kSigned and kDiscarded.
struct Outcome {
  std::string operation;
  Result result = Result::kFailed;
  std::string signature_sha256;      ///< hex SHA-256 of the released signature octets (DER for ECDSA)
  std::string reason;                ///< CamelCase for everything but kSigned
  std::string idempotency_key = {};  ///< the intent's; empty in outcomes that a later process writes
};

enum class Released : std::uint8_t {
  kYes,      ///< the object's status carried it
  kNo,       ///< discarded: the object was decided otherwise, deleted, or a crash came between
  kUnknown,  ///< it may have been published: the object went before anybody could look
};

/// Controller door: the signature reached the object's status (or will never).
struct Release {
  std::string operation;
  Released released = Released::kYes;
  std::string reason;  ///< CamelCase for everything but kYes
};

/// Refusals, aggregated per principal, policy and reason (one record with a count per 10 s).
struct Refusal {
  std::string door, principal, policy, reason;
  std::uint64_t count = 1;
};

/// An operation the last process left open, found when the journal was opened.
struct OpenOperation {
  std::string operation, door, policy, request_namespace, request_name, request_uid;
  std::string signature_sha256;
  bool has_outcome = false;  ///< true: signed, but neither released nor discarded (controller door)
};

class Journal {
 public:
  struct Options {
    std::filesystem::path file;
    Durability durability = Durability::kProcess;
    std::uint64_t segment_bytes = 64ULL << 20;  ///< rotate above this size; [4096, 2^40]
    FileSystem* file_system = nullptr;          ///< nothing: the operating system's; tests inject faults
    std::shared_ptr<LineCopier> copy = {};      ///< gets every line that is in the record; nothing: no copy
  };
  /// Reads the existing segments: checks the tail, closes a torn last line with a `recovered`
  /// record, gives every intent without outcome the outcome `unknown`.
  /// @return kFailedPrecondition reason AuditLocked: another process holds the file (exit 3)
  ///         kInvalidArgument    reason AuditCorrupt: the file is not a record of ours
  ///         kUnavailable        reason AuditUnavailable: cannot be written
  static base::Result<std::unique_ptr<Journal>> Open(Options options, base::Reactor& reactor, const base::Clock& clock);
  virtual ~Journal() = default;  ///< writes what is queued, then closes; callbacks still waiting are dropped

  using Done = std::function<void(base::Status)>;
  /// Each appends one line; `done` runs when it is as durable as configured. Lines appended in one
  /// turn of the loop share one write. On an error the line is not in the record.
  /// kFailedPrecondition: an outcome for an operation that is not open, or a release of one that does not wait for it.
  virtual void Append(const Intent& record, Done done) = 0;
  virtual void Append(const Outcome& record, Done done) = 0;
  virtual void Append(const Release& record, Done done) = 0;
  /// Counted now, written at the end of its 10 s interval and when the journal closes.
  virtual void Note(const Refusal& refusal) = 0;
  /// Any other event of the process ("started", "policyChanged", "keyGenerated", ...). `fields` are strings.
  virtual void Event(std::string_view type, const std::map<std::string, std::string>& fields, Done done) = 0;

  [[nodiscard]] virtual bool available() const = 0;
  /// Names this record: 32 random hex digits, the same for as long as its file lives.
  [[nodiscard]] virtual const std::string& stream() const = 0;
  [[nodiscard]] virtual std::string head() const = 0;        ///< hex hash of the last line
  [[nodiscard]] virtual std::uint64_t sequence() const = 0;  ///< its seq
  /// Operations of the controller door that are signed and not yet settled, found at Open.
  [[nodiscard]] virtual const std::vector<OpenOperation>& unsettled() const = 0;
  /// Signatures intended per policy (and per policy and principal) on the UTC day of `now`, as found at Open: for
  /// perDay quotas.
  struct DayCount {
    std::string policy, principal;
    std::uint64_t count = 0;
  };
  [[nodiscard]] virtual const std::vector<DayCount>& today() const = 0;
  /// keyIDs that the record ever named for a policy (key generation asks: was there ever a key?).
  [[nodiscard]] virtual std::vector<std::string> KeysEverNamed(std::string_view policy) const = 0;
};

}  // namespace signet::audit
