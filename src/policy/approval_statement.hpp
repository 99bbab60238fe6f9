// policy/approval_statement.hpp - the text that an approver signs.
//
// One JSON object on one line, members in this order, no spaces, UTF-8, a newline at the end:
//   {"type":"signet-approval/v1","cluster":…,"namespace":…,"request":…,"requestUID":…,"digest":…,"algorithm":…,
//    "artifact":…,"mediaType":…,"policy":…,"policyUID":…,"policyGeneration":N,"decision":"Approve",
//    "issuedAt":…,"expiresAt":…}
// artifact and mediaType are "" where the request names none. Times are RFC 3339 in UTC with whole seconds.
// Whoever verifies renders it anew from the facts: nothing in it is ever parsed.
//
// Thread-safety: pure functions.
// Sources:       PROTOCOL.sshsig of OpenSSH (the namespace), docs/approvals.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "api/approval.hpp"
#include "base/clock.hpp"

namespace signet::policy {

inline constexpr std::string_view kApprovalNamespace = "signet-approval@signet.dev";

struct ApprovalStatement {
  std::string cluster;  ///< uid of the namespace kube-system; "directory" for a folder of manifests
  std::string request_namespace, request_name, request_uid;
  std::string digest;     ///< "sha256:<hex>", of the message for requests with one
  std::string algorithm;  ///< resolved: the policy's first where the request names none
  std::string artifact_name, artifact_media_type;
  std::string policy_name, policy_uid;
  std::int64_t policy_generation = 0;
  api::Decision decision = api::Decision::kApprove;
  base::TimePoint issued_at{}, expires_at{};
};

std::string Render(const ApprovalStatement& statement);

}  // namespace signet::policy
