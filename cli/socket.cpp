#include "cli/socket.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "encoding/json.hpp"
#include "kube/answer.hpp"

namespace signet::cli {
namespace {

using base::Code;
using encoding::TextAt;
using nlohmann::json;

constexpr std::chrono::milliseconds kDeadline{30'000};

base::Error ProblemError(const http::ClientResponse& response) {
  base::Error error;
  const auto problem = encoding::ParseJson(response.body);
  if (problem && problem->is_object()) {
    error.reason = TextAt(*problem, "code");
    error.message = TextAt(*problem, "detail");
  }
  if (error.message.empty()) error.message = fmt::format("the socket answered with HTTP status {}", response.status);
  error.code = response.retry_after.count() > 0 ? Code::kUnavailable
               : response.status == 403         ? Code::kPermissionDenied
               : response.status == 404         ? Code::kNotFound
               : response.status >= 500         ? Code::kInternal
                                                : Code::kInvalidArgument;
  error.native = {"http", response.status};
  return error;
}

struct Member {
  const char* name;
  bool required;
  bool (*fits)(const json&);
  const char* what;
};
bool IsText(const json& value) { return value.is_string(); }
bool IsBool(const json& value) { return value.is_boolean(); }
bool IsNumber(const json& value) { return value.is_number_integer(); }
bool IsTexts(const json& value) {
  return value.is_array() && !value.empty() && std::all_of(value.begin(), value.end(), IsText);
}

/// What the protocol promises of a key (docs/openapi.yaml, Key). Other members are those of a later version.
base::Status CheckKey(const http::UnixClient& client, const json& key) {
  static constexpr std::array<Member, 10> kMembers = {{{"policy", true, IsText, "a text"},
                                                       {"algorithms", true, IsTexts, "a list of names"},
                                                       {"ready", true, IsBool, "true or false"},
                                                       {"suspended", true, IsBool, "true or false"},
                                                       {"keyID", false, IsText, "a text"},
                                                       {"algorithm", false, IsText, "a text"},
                                                       {"size", false, IsNumber, "a whole number"},
                                                       {"publicKey", false, IsText, "a text"},
                                                       {"reason", false, IsText, "a text"},
                                                       {"message", false, IsText, "a text"}}};
  const auto bad = [&](std::string what) {
    return base::MakeError(Code::kInternal, "BadAnswer", fmt::format("{}: {}: {}", client.path(), what, kNotOurs));
  };
  if (!key.is_object()) return bad("a key in the answer is no object");
  for (const auto& [name, required, fits, what] : kMembers) {
    const auto found = key.find(name);
    if (found == key.end() && !required) continue;
    const std::string policy = TextAt(key, "policy");
    const std::string place = policy.empty() ? "a key" : "the key of policy " + policy;
    if (found == key.end()) return bad(fmt::format("{} in the answer has no member {}", place, name));
    if (!fits(*found)) return bad(fmt::format("{} in the answer has a member {} that is not {}", place, name, what));
  }
  return {};
}

}  // namespace

std::string FindSocket(const Context& context, const std::string& flag) {
  std::error_code ignored;
  const std::string found = !flag.empty()                                       ? flag
                            : !context.environment.socket.empty()               ? context.environment.socket
                            : std::filesystem::is_socket(kUsualSocket, ignored) ? kUsualSocket
                                                                                : "";
  if (!found.empty()) *context.asked = "the socket " + found;
  return found;
}

base::Result<json> Call(const http::UnixClient& client, const http::ClientRequest& request,
                        std::chrono::milliseconds deadline, std::chrono::seconds* retry_after) {
  TRY(const auto response, client.Send(request, deadline));
  if (retry_after != nullptr) *retry_after = response.retry_after;
  if (response.status != 200) return ProblemError(response);
  auto body = encoding::ParseJson(response.body);
  if (body && body->is_object()) return std::move(*body);
  return base::MakeError(Code::kInternal, "BadAnswer",
                         fmt::format("{} does not speak Signet's protocol", client.path()));
}

base::Result<json> GetKey(const http::UnixClient& client, std::string_view policy) {
  TRY(json key,
      Call(client, {"GET", "/v1/keys/" + kube::Escape(policy), {{"Accept", "application/json"}}, ""}, kDeadline));
  if (TextAt(key, "policy") != policy) {
    return base::MakeError(Code::kInternal, "",
                           fmt::format("the answer is not about the key of {}: {}", policy, kNotOurs));
  }
  TRY_VOID(CheckKey(client, key));
  return key;
}

base::Result<json> GetKeys(const http::UnixClient& client) {
  TRY(json answer, Call(client, {"GET", "/v1/keys", {{"Accept", "application/json"}}, ""}, kDeadline));
  const auto keys = answer.find("keys");
  if (keys == answer.end() || !keys->is_array()) {
    return base::MakeError(Code::kInternal, "BadAnswer",
                           fmt::format("{}: the answer has no list of keys: {}", client.path(), kNotOurs));
  }
  for (const json& key : *keys) TRY_VOID(CheckKey(client, key));
  return answer;
}

ExitCode FailOfSocket(const Context& context, const base::Error& error) {
  if (error.native.source != "http") {
    const bool absent = error.code == Code::kNotFound || error.code == Code::kPermissionDenied;
    return Fail(context, absent ? ExitCode::kConfiguration : ExitCode::kFailed, error);
  }
  const auto status = error.native.number;
  const bool denied = status == 403 || status == 409 || status == 422 || status == 500 || status == 504;
  const std::string line = error.reason.empty() ? error.message : fmt::format("{}: {}", error.reason, error.message);
  return Fail(context, denied ? ExitCode::kDenied : ExitCode::kFailed, line);
}

}  // namespace signet::cli
