#include "frontend/admission_review.hpp"

#include <algorithm>
#include <utility>

#include "api/node.hpp"
#include "api/object_json.hpp"
#include "encoding/json.hpp"
#include "encoding/text.hpp"

namespace signet::frontend {
namespace {

using api::Node;
using base::Result;
using base::Status;
using nlohmann::json;
using Operation = AdmissionReview::Operation;

constexpr std::string_view kApiVersion = "admission.k8s.io/v1";
constexpr std::size_t kMaxReviewText = 1024;

/// Absent and null are the empty string.
Result<std::string> TextOr(const Node& parent, std::string_view member) {
  const auto node = parent.Find(member);
  if (!node || node->value().is_null()) return std::string();
  TRY(const auto text, node->Text(0, kMaxReviewText));
  return std::string(text);
}

Result<std::string> Text(const Node& parent, std::string_view member) {
  TRY(const auto node, parent.Get(member));
  TRY(const auto text, node.Text(1, kMaxReviewText));
  return std::string(text);
}

Status ReadKind(const Node& request, AdmissionReview& out) {
  TRY(const auto kind, request.Get("kind"));
  if (!kind.value().is_object()) return kind.Bad("must be an object");
  TRY(out.group, TextOr(kind, "group"));
  TRY(out.version, Text(kind, "version"));
  TRY(out.kind, Text(kind, "kind"));
  TRY(const auto resource, request.Get("resource"));
  if (!resource.value().is_object()) return resource.Bad("must be an object");
  TRY(out.resource, Text(resource, "resource"));
  TRY(out.sub_resource, TextOr(request, "subResource"));
  return {};
}

Status ReadOperation(const Node& request, AdmissionReview& out) {
  TRY(const auto node, request.Get("operation"));
  TRY(const auto text, node.Text(1, kMaxReviewText));
  for (const auto operation : {Operation::kCreate, Operation::kUpdate, Operation::kDelete, Operation::kConnect}) {
    if (text != Name(operation)) continue;
    out.operation = operation;
    return {};
  }
  return node.Bad("must be CREATE, UPDATE, DELETE or CONNECT");
}

Status ReadUser(const Node& request, AdmissionReview& out) {
  TRY(const auto node, request.Get("userInfo"));
  if (!node.value().is_object()) return node.Bad("must be an object");
  out.user_info = json::object();
  for (const char* member : {"username", "uid", "groups", "extra"}) {
    const auto found = node.Find(member);
    if (found && !found->value().is_null() && !(found->value() == "")) out.user_info[member] = found->value();
  }
  TRY(out.user, api::ReadUserInfo(Node(out.user_info, "request.userInfo")));
  return {};
}

/// False: it is absent, or null.
Result<bool> HasObject(const Node& request, std::string_view member) {
  const auto node = request.Find(member);
  if (!node || node->value().is_null()) return false;
  if (!node->value().is_object()) return node->Bad("must be an object");
  return true;
}

Status ReadRequest(const Node& request, AdmissionReview& out) {
  if (!request.value().is_object()) return request.Bad("must be an object");
  TRY(out.uid, Text(request, "uid"));
  TRY_VOID(ReadKind(request, out));
  TRY_VOID(ReadOperation(request, out));
  TRY(out.ns, TextOr(request, "namespace"));
  TRY(out.name, TextOr(request, "name"));
  TRY_VOID(ReadUser(request, out));
  if (const auto dry_run = request.Find("dryRun"); dry_run && !dry_run->value().is_null()) {
    TRY(out.dry_run, dry_run->Bool());
  }
  TRY(const bool has_object, HasObject(request, "object"));
  TRY(const bool has_old_object, HasObject(request, "oldObject"));
  const bool needs_object = out.operation == Operation::kCreate || out.operation == Operation::kUpdate;
  if (needs_object && !has_object) return request.Bad("has no object");
  if (out.operation == Operation::kUpdate && !has_old_object) return request.Bad("has no oldObject");
  return {};
}

/// A character's end at or before `limit`.
std::string Cut(std::string text, std::size_t limit) {
  if (text.size() <= limit) return text;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0U) == 0x80U) --limit;
  text.resize(limit);
  return text + "...";
}

}  // namespace

std::string_view Name(AdmissionReview::Operation operation) {
  switch (operation) {
    case AdmissionReview::Operation::kCreate:
      return "CREATE";
    case AdmissionReview::Operation::kUpdate:
      return "UPDATE";
    case AdmissionReview::Operation::kDelete:
      return "DELETE";
    case AdmissionReview::Operation::kConnect:
      break;
  }
  return "CONNECT";
}

AdmissionVerdict AdmissionVerdict::Refuse(int code, std::string reason, std::string message) {
  AdmissionVerdict verdict;
  verdict.allowed = false;
  verdict.code = code;
  verdict.reason = std::move(reason);
  verdict.message = std::move(message);
  return verdict;
}

AdmissionVerdict AdmissionVerdict::FromError(const base::Error& error) {
  using base::Code;
  switch (error.code) {
    case Code::kInvalidArgument:
      return Invalid(error.message);
    case Code::kAborted:
    case Code::kAlreadyExists:
      return Conflict(error.message);
    case Code::kUnauthenticated:
    case Code::kPermissionDenied:
    case Code::kNotFound:
    case Code::kFailedPrecondition:
      return Forbid(error.message);
    default:
      return Unavailable(error.message);
  }
}

Result<AdmissionReview> ParseAdmissionReview(std::string_view body) {
  TRY(json document, encoding::ParseObject(body));
  const auto malformed = [](const std::string& message) {
    return base::MakeError(base::Code::kInvalidArgument, "Malformed", message);
  };
  if (!document.is_object() || document.value("kind", json()) != "AdmissionReview" ||
      document.value("apiVersion", json()) != kApiVersion) {
    return malformed("must be an AdmissionReview of admission.k8s.io/v1");
  }
  const Node root(document, "");
  auto request = root.Get("request");
  if (!request) return malformed(request.error().message);
  AdmissionReview out;
  if (auto read = ReadRequest(*request, out); !read) return malformed(read.error().message);
  // Moved, as they are most of the body.
  json& members = document["request"];
  out.object = std::move(members["object"]);
  out.old_object = std::move(members["oldObject"]);
  return out;
}

std::string RenderAdmissionReview(std::string_view uid, const AdmissionVerdict& verdict) {
  json response = {{"uid", uid}, {"allowed", verdict.allowed}};
  const auto dump = [](const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); };
  if (!verdict.allowed) {
    response["status"] = {
        {"code", verdict.code}, {"reason", verdict.reason}, {"message", verdict.message}, {"status", "Failure"}};
  }
  if (verdict.allowed && verdict.patch.is_array()) {
    response["patchType"] = "JSONPatch";
    response["patch"] = encoding::ToBase64(base::AsBytes(dump(verdict.patch)));
  }
  json& warnings = response["warnings"] = json::array();
  for (const auto& warning : verdict.warnings) {
    if (warnings.size() == kMostWarnings) break;
    warnings.push_back(Cut(warning, kWarningOctets));
  }
  if (warnings.empty()) response.erase("warnings");
  return dump({{"apiVersion", kApiVersion}, {"kind", "AdmissionReview"}, {"response", std::move(response)}});
}

}  // namespace signet::frontend
