#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "api/approval.hpp"
#include "api/json.hpp"
#include "api/limits.hpp"
#include "api/node.hpp"
#include "api/object_json.hpp"
#include "api/scalars.hpp"

namespace signet::api {
namespace {

using base::Result;
using base::Status;

Result<std::string> ReadUid(const Node& parent) {
  TRY(const auto node, parent.Get("uid"));
  TRY(const auto text, node.Text(1, limits::kUid));
  return std::string(text);
}

Status ReadReference(const Node& spec, SigningApprovalSpec& out) {
  TRY(const auto reference, spec.Get("requestRef"));
  TRY_VOID(reference.OnlyMembers({"name", "uid"}));
  TRY(const auto name, reference.Get("name"));
  TRY(const auto text, name.Text(1, limits::kObjectName));
  if (!IsDnsSubdomain(text))
    return name.Bad(
        "must be the name of a SigningRequest, of lower-case letters, digits, - and ., with a letter or digit at both "
        "ends");
  out.request_name = std::string(text);
  TRY(out.request_uid, ReadUid(reference));
  return {};
}

Result<Decision> ReadDecision(const Node& spec) {
  TRY(const auto node, spec.Get("decision"));
  TRY(const auto text, node.Text(1, 32));
  if (text == Name(Decision::kApprove)) return Decision::kApprove;
  if (text == Name(Decision::kDeny)) return Decision::kDeny;
  return node.Bad("must be Approve or Deny");
}

Result<PolicyRevision> ReadRevision(const Node& node) {
  TRY_VOID(node.OnlyMembers({"uid", "generation"}));
  PolicyRevision out;
  TRY(out.uid, ReadUid(node));
  TRY(const auto generation, node.Get("generation"));
  TRY(out.generation, generation.Integer(1, limits::kGeneration));
  return out;
}

Result<ApprovalSignature> ReadSignature(const Node& node) {
  TRY_VOID(node.OnlyMembers({"issuedAt", "expiresAt", "signature"}));
  ApprovalSignature out;
  TRY(const auto issued, node.Get("issuedAt"));
  TRY(out.issued_at, ReadTimePoint(issued));
  TRY(const auto expires, node.Get("expiresAt"));
  TRY(out.expires_at, ReadTimePoint(expires));
  if (out.expires_at <= out.issued_at) return expires.Bad("must be later than issuedAt");
  TRY(const auto signature, node.Get("signature"));
  TRY(const auto text, signature.Text(1, kMaxSshSignature));
  if (!text.starts_with("-----BEGIN SSH SIGNATURE-----")) {
    return signature.Bad("must be an armoured SSH signature, as ssh-keygen -Y sign makes it");
  }
  out.signature = std::string(text);
  return out;
}

Result<SigningApprovalSpec> ReadApprovalSpec(const Node& spec) {
  TRY_VOID(spec.OnlyMembers({"requestRef", "decision", "comment", "policy", "signed", "approver", "stamp"}));
  SigningApprovalSpec out;
  TRY_VOID(ReadReference(spec, out));
  TRY(out.decision, ReadDecision(spec));
  if (const auto comment = spec.Find("comment")) {
    TRY(const auto text, comment->Text(0, limits::kComment));
    out.comment = std::string(text);
  }
  if (const auto policy = spec.Find("policy")) {
    TRY(out.policy, ReadRevision(*policy));
  }
  if (const auto made = spec.Find("signed")) {
    TRY(out.signed_by_approver, ReadSignature(*made));
    if (!out.policy) return spec.Bad("a signed approval says in policy which revision was approved");
  }
  if (const auto approver = spec.Find("approver")) {
    TRY(out.approver, ReadUserInfo(*approver));
  }
  if (const auto stamp = spec.Find("stamp")) {
    TRY(out.stamp, ReadStamp(*stamp));
  }
  return out;
}

}  // namespace

std::string_view Name(Decision decision) { return decision == Decision::kApprove ? "Approve" : "Deny"; }

Result<SigningApproval> ApprovalFromJson(const nlohmann::json& object) {
  TRY_VOID(CheckEnvelope(object, "SigningApproval"));
  SigningApproval out;
  TRY(out.metadata, MetadataFromJson(object));
  const Node root(object, "");
  TRY(const auto spec, root.Get("spec"));
  TRY(out.spec, ReadApprovalSpec(spec));
  return out;
}

}  // namespace signet::api
