#include "policy/approval_statement.hpp"

#include <fmt/format.h>

#include "encoding/text.hpp"

namespace signet::policy {
namespace {

void Member(std::string& out, std::string_view name, std::string_view value) {
  out += out.empty() ? '{' : ',';
  encoding::AppendJsonString(out, name);
  out += ':';
  encoding::AppendJsonString(out, value);
}

}  // namespace

std::string Render(const ApprovalStatement& statement) {
  std::string out;
  Member(out, "type", "signet-approval/v1");
  Member(out, "cluster", statement.cluster);
  Member(out, "namespace", statement.request_namespace);
  Member(out, "request", statement.request_name);
  Member(out, "requestUID", statement.request_uid);
  Member(out, "digest", statement.digest);
  Member(out, "algorithm", statement.algorithm);
  Member(out, "artifact", statement.artifact_name);
  Member(out, "mediaType", statement.artifact_media_type);
  Member(out, "policy", statement.policy_name);
  Member(out, "policyUID", statement.policy_uid);
  out += fmt::format(",\"policyGeneration\":{}", statement.policy_generation);
  Member(out, "decision", api::Name(statement.decision));
  Member(out, "issuedAt", base::FormatTimeSeconds(statement.issued_at));
  Member(out, "expiresAt", base::FormatTimeSeconds(statement.expires_at));
  out += "}\n";
  return out;
}

}  // namespace signet::policy
