// api/types.hpp - the objects of signet.dev/v1alpha1 as C++ values.
//
// Field names and meaning are those of crds/*.yaml. Values here have passed
// FromJson (json.hpp) with its checks; nothing here does I/O.
//
// Thread-safety: values.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/clock.hpp"
#include "encoding/algorithm.hpp"
#include "encoding/pkcs11_uri.hpp"

namespace signet::api {

using encoding::HashAlgorithm;
using encoding::KeyAlgorithm;
using encoding::SignatureAlgorithm;

inline constexpr std::string_view kGroupName = "signet.dev";
inline constexpr std::string_view kVersion = "v1alpha1";
inline constexpr std::string_view kApiVersion = "signet.dev/v1alpha1";
inline constexpr std::size_t kMaxMessageBytes = 64 * 1024;  ///< decoded

struct ObjectMeta {
  std::string name;
  std::string ns;  ///< empty for cluster-scoped kinds
  std::string uid;
  std::string resource_version;
  std::int64_t generation = 0;
  base::TimePoint creation_time{};
  bool deleting = false;  ///< deletionTimestamp is set
};

/// metav1.Condition.
struct Condition {
  std::string type;
  bool status = false;  ///< "True" or "False"; we never write "Unknown"
  std::string reason;   ///< CamelCase
  std::string message;
  std::int64_t observed_generation = 0;
  base::TimePoint last_transition_time{};
};

// ---- SigningPolicy ---------------------------------------------------------------------

struct LabelSelectorRequirement {
  enum class Operator : std::uint8_t { kIn, kNotIn, kExists, kDoesNotExist };
  std::string key;
  Operator op = Operator::kIn;
  std::vector<std::string> values;
};
struct LabelSelector {
  std::map<std::string, std::string> match_labels;
  std::vector<LabelSelectorRequirement> match_expressions;
};

struct Subject {
  enum class Kind : std::uint8_t { kServiceAccount, kUser, kGroup };
  Kind kind = Kind::kServiceAccount;
  std::string name;                                 ///< glob
  std::string ns;                                   ///< ServiceAccount: exactly one of ns and namespace_selector
  std::optional<LabelSelector> namespace_selector;  ///< never empty
};

struct ArtifactRule {
  std::string name;                      ///< glob over '/' segments
  std::vector<std::string> media_types;  ///< globs; none = any
};

struct TimeOfDay {
  int minutes = 0;  ///< since midnight, [0, 1440]; "24:00" is allowed as an end
};
struct Window {
  std::vector<int> days;  ///< 0 = Sunday ... 6 = Saturday, the day a window starts on; none = every day
  TimeOfDay from;
  TimeOfDay to;           ///< to <= from: ends on the next day
  std::string time_zone;  ///< IANA name; empty = UTC
};

struct Quota {
  enum class Scope : std::uint8_t { kPolicy, kSubject };
  std::optional<std::int64_t> per_second;  ///< [1, 1000000]
  std::optional<std::int64_t> per_day;     ///< [1, 10^9], UTC days
  Scope scope = Scope::kPolicy;
};

struct Approvals {
  int required = 0;
  std::vector<Subject> approvers;
  std::optional<std::chrono::seconds> valid_for;
  bool require_signed = false;  ///< only approvals signed with a key of the approval roots count
};

/// What must be true of the calling pod; only the gateway knows one.
struct PodRule {
  std::vector<std::string> image_digests;  ///< "sha256:<hex>", at least one; every container must run one of them
};

struct KeyGenerate {
  KeyAlgorithm algorithm = KeyAlgorithm::kEcdsa;
  int size = 0;  ///< bits; 0 for Ed25519
};
struct KeySpec {
  encoding::Pkcs11Uri uri;
  std::optional<KeyGenerate> generate;  ///< absent: the key must exist already
};

struct SigningPolicySpec {
  std::string description;
  bool suspend = false;
  bool allow_direct = false;
  KeySpec key;
  std::vector<SignatureAlgorithm> algorithms;  ///< at least one; the first is the default
  std::vector<Subject> subjects;               ///< none = nobody
  std::vector<ArtifactRule> artifacts;         ///< none = anything
  std::vector<Window> windows;                 ///< none = always
  std::optional<Quota> quota;
  std::optional<Approvals> approvals;
  std::optional<PodRule> pod;
  bool verify_signatures = true;
};

/// status.key of a policy: what is known of its key pair.
struct KeyStatus {
  std::string key_id;  ///< lower-case hex SHA-256 of the DER SubjectPublicKeyInfo (64 characters)
  KeyAlgorithm algorithm = KeyAlgorithm::kEcdsa;
  int size = 0;
  std::string public_key;  ///< PEM
  bool sensitive = false;
  bool extractable = false;
  bool never_extractable = false;
  bool local = false;
};

struct SigningPolicyStatus {
  std::int64_t observed_generation = 0;
  std::vector<Condition> conditions;
  std::optional<KeyStatus> key;
};

struct SigningPolicy {
  ObjectMeta metadata;
  SigningPolicySpec spec;
  SigningPolicyStatus status;
};

// ---- SigningRequest --------------------------------------------------------------------

/// OCI style sha256:<hex>.
struct Digest {
  HashAlgorithm hash = HashAlgorithm::kSha256;
  base::Bytes value;  ///< 32, 48 or 64 bytes
};

struct Artifact {
  std::string name;        ///< a claim of the caller, not a boundary
  std::string media_type;  ///< may be empty
  std::map<std::string, std::string> annotations;
};

/// authentication.k8s.io UserInfo.
struct UserInfo {
  std::string username;
  std::string uid;
  std::vector<std::string> groups;
  std::map<std::string, std::vector<std::string>> extra;
};

/// Evidence that Signet's admission webhook saw this spec being created (authn/stamp.hpp). Only the seal counts.
struct Stamp {
  base::TimePoint time{};
  std::string nonce;  ///< 32 lower-case hex digits
  std::string seal;   ///< 64 lower-case hex digits
};

struct SigningRequestSpec {
  std::string policy_name;
  std::optional<Digest> digest;        ///< exactly one of digest and message
  std::optional<base::Bytes> message;  ///< at most kMaxMessageBytes
  std::optional<SignatureAlgorithm> algorithm;
  std::optional<Artifact> artifact;
  std::chrono::seconds expires_after{std::chrono::hours(24)};
  std::optional<std::int64_t> ttl_seconds_after_finished;
  std::optional<UserInfo> requester;
  std::optional<Stamp> stamp;
};

/// One line of status.approvals: a SigningApproval, and what became of it.
struct ApprovalStatus {
  std::string name;      ///< of the SigningApproval
  std::string approver;  ///< username
  std::string decision;  ///< Approve or Deny
  base::TimePoint time{};
  bool counts = false;
  std::string reason;                  ///< why it counts or not, CamelCase
  std::string message;                 ///< the same for people
  std::int64_t policy_generation = 0;  ///< what the approver saw
  std::string signed_by;               ///< SHA256:... of the approver's own key; empty: not signed

  friend bool operator==(const ApprovalStatus&, const ApprovalStatus&) = default;
};

struct SigningRequestStatus {
  std::int64_t observed_generation = 0;
  std::vector<Condition> conditions;
  std::vector<ApprovalStatus> approvals;
  std::string signature;  ///< base64; empty until signed
  std::string algorithm;
  std::string key_id;
  std::string public_key;  ///< PEM
  std::string policy_name;
  std::string policy_uid;
  std::int64_t policy_generation = 0;
  std::string signed_at;    ///< RFC 3339
  std::string finished_at;  ///< RFC 3339
  std::string record;       ///< operation id in the audit record
};

struct SigningRequest {
  ObjectMeta metadata;
  SigningRequestSpec spec;
  SigningRequestStatus status;
};

/// The condition of that type, or nullptr; points into `conditions`.
const Condition* FindCondition(const std::vector<Condition>& conditions, std::string_view type);

}  // namespace signet::api
