#include "kube/answer.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "encoding/json.hpp"

namespace signet::kube {
namespace {

using base::Code;
using encoding::TextAt;
using nlohmann::json;

constexpr std::size_t kMaxMessage = 512;

Code CodeOf(int status, std::string_view reason) {
  switch (status) {
    case 400:
    case 413:
    case 422:
      return Code::kInvalidArgument;
    case 401:
      return Code::kUnauthenticated;
    case 403:
      return Code::kPermissionDenied;
    case 404:
      return Code::kNotFound;
    case 405:
    case 406:
    case 415:
      return Code::kUnimplemented;
    case 408:
    case 429:
      return Code::kUnavailable;
    case 409:
      return reason == "AlreadyExists" ? Code::kAlreadyExists : Code::kAborted;
    case 410:
    case 412:
      return Code::kAborted;
    default:
      // Redirects are not followed: they would carry the token elsewhere.
      return status >= 500 ? Code::kUnavailable : Code::kInternal;
  }
}

}  // namespace

base::Error ErrorOf(int http_status, const json& body, std::string_view what) {
  base::Error error;
  error.reason = TextAt(body, "reason");
  error.code = CodeOf(http_status, error.reason);
  std::string message = TextAt(body, "message");
  if (message.empty()) message = "no explanation";
  if (message.size() > kMaxMessage) message.resize(kMaxMessage);
  error.message = fmt::format("{}: {}", what, message);
  error.native = {"http", http_status};
  return error;
}

base::Error ErrorOfText(int http_status, std::string_view body, std::string_view what) {
  auto parsed = encoding::ParseObject(body);
  return ErrorOf(http_status, parsed ? *parsed : json(), what);
}

base::Result<json> ObjectOf(const HttpResponse& response, std::string_view what) {
  if (response.status < 200 || response.status > 299) return ErrorOfText(response.status, response.body, what);
  auto parsed = encoding::ParseObject(response.body);
  if (!parsed || !parsed->is_object()) {
    return base::MakeError(Code::kInternal, "BadAnswer", fmt::format("{}: the answer is not a JSON object", what));
  }
  return *std::move(parsed);
}

std::string Escape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto octet = static_cast<unsigned char>(c);
    const bool unreserved = (octet >= 'a' && octet <= 'z') || (octet >= 'A' && octet <= 'Z') ||
                            (octet >= '0' && octet <= '9') || octet == '-' || octet == '.' || octet == '_' ||
                            octet == '~';
    if (unreserved) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", octet);
    }
  }
  return out;
}

base::Result<std::string> PathOf(const Resource& resource, std::string_view ns, std::string_view name, Scope scope) {
  const auto refuse = [&](std::string_view why) {
    return base::MakeError(Code::kInvalidArgument, "BadRequest", fmt::format("{}: {}", resource.plural, why));
  };
  const auto is_segment = [](std::string_view text) { return !text.empty() && text != "." && text != ".."; };
  std::string path = resource.group.empty() ? fmt::format("/api/{}", resource.version)
                                            : fmt::format("/apis/{}/{}", resource.group, resource.version);
  if (!ns.empty()) {
    if (!resource.namespaced) return refuse("a cluster-scoped object has no namespace");
    if (!is_segment(ns)) return refuse("that is no namespace");
    path += "/namespaces/" + Escape(ns);
  } else if (resource.namespaced && scope == Scope::kObject) {
    return refuse("a namespaced object needs its namespace");
  }
  path += "/" + resource.plural;
  if (!name.empty() || scope == Scope::kObject) {
    if (!is_segment(name)) return refuse("that is no name");
    path += "/" + Escape(name);
  }
  return path;
}

}  // namespace signet::kube
