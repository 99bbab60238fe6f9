#include "cli/socket.hpp"

#include <fmt/format.h>

#include <filesystem>

#include "encoding/json.hpp"
#include "kube/answer.hpp"

namespace signet::cli {
namespace {

using base::Code;
using nlohmann::json;

constexpr std::chrono::milliseconds kDeadline{30'000};

std::string Text(const json& object, const char* member) {
  const auto found = object.is_object() ? object.find(member) : object.end();
  return object.is_object() && found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

base::Error ProblemError(const http::ClientResponse& response) {
  base::Error error;
  const auto problem = encoding::ParseJson(response.body);
  if (problem && problem->is_object()) {
    error.reason = Text(*problem, "code");
    error.message = Text(*problem, "detail");
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

}  // namespace

std::string FindSocket(const Context& context, const std::string& flag) {
  if (!flag.empty()) return flag;
  if (!context.environment.socket.empty()) return context.environment.socket;
  std::error_code ignored;
  return std::filesystem::is_socket(kUsualSocket, ignored) ? kUsualSocket : "";
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
  if (Text(key, "policy") != policy) {
    return base::MakeError(Code::kInternal, "",
                           fmt::format("the answer is not about the key of {}: {}", policy, kNotOurs));
  }
  return key;
}

base::Result<json> GetKeys(const http::UnixClient& client) {
  return Call(client, {"GET", "/v1/keys", {{"Accept", "application/json"}}, ""}, kDeadline);
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
