// cli/socket.hpp - talking to a sidecar: docs/protocol.md from the other side.
//
// Thread-safety: none. Blocking: up to the deadline.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "cli/context.hpp"
#include "http/client.hpp"

namespace signet::cli {

inline constexpr const char* kUsualSocket = "/run/signet/signet.sock";
inline constexpr const char* kNotOurs = "what answers there does not speak Signet's protocol";

/// The flag's value, else SIGNET_SOCKET, else the usual one if it is there, else "".
std::string FindSocket(const Context& context, const std::string& flag);

/// A problem of the server (docs/errors.md) becomes an Error: reason is its code, message its detail, native {"http",
/// status}; kUnavailable where it comes with Retry-After.
base::Result<nlohmann::json> Call(const http::UnixClient& client, const http::ClientRequest& request,
                                  std::chrono::milliseconds deadline, std::chrono::seconds* retry_after = nullptr);

/// GET /v1/keys/{policy} as JSON, and GET /v1/keys. Each key has the members that docs/openapi.yaml requires of a Key,
/// and those of its members that are there have the right type; kInternal "BadAnswer" otherwise.
base::Result<nlohmann::json> GetKey(const http::UnixClient& client, std::string_view policy);
base::Result<nlohmann::json> GetKeys(const http::UnixClient& client);

/// kDenied for a refusal that is final, kConfiguration where there is no socket, kFailed else.
ExitCode FailOfSocket(const Context& context, const base::Error& error);

}  // namespace signet::cli
