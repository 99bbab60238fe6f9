// api/approval.hpp - SigningApproval: one person's yes or no to one SigningRequest.
//
// Values here have passed ApprovalFromJson with its checks; nothing here does I/O.
//
// Thread-safety: values.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "api/types.hpp"
#include "base/result.hpp"

namespace signet::api {

inline constexpr std::size_t kMaxSshSignature = 16 * 1024;  ///< octets, armoured

enum class Decision : std::uint8_t { kApprove, kDeny };
/// "Approve", "Deny".
std::string_view Name(Decision decision);

/// The revision of the policy that the approver saw.
struct PolicyRevision {
  std::string uid;
  std::int64_t generation = 0;
};

/// The approver's own signature over the approval statement (policy/approval_statement.hpp).
struct ApprovalSignature {
  base::TimePoint issued_at{};
  base::TimePoint expires_at{};  ///< later than issued_at
  std::string signature;         ///< armoured, as `ssh-keygen -Y sign` makes it
};

struct SigningApprovalSpec {
  std::string request_name;
  std::string request_uid;
  Decision decision = Decision::kApprove;
  std::string comment;
  std::optional<PolicyRevision> policy;  ///< stamped by admission where the client left it out
  std::optional<ApprovalSignature> signed_by_approver;
  std::optional<UserInfo> approver;  ///< stamped by admission
  std::optional<Stamp> stamp;
};

struct SigningApproval {
  ObjectMeta metadata;
  SigningApprovalSpec spec;
};

/// Strict, as FromJson of the other kinds. kInvalidArgument, reason "Invalid".
base::Result<SigningApproval> ApprovalFromJson(const nlohmann::json& object);

}  // namespace signet::api
