// config/endpoint.hpp - addresses, URLs and Services as flags and files write them.
//
// Thread-safety: pure functions.
// Errors:        kInvalidArgument, reason "ConfigInvalid", message names the flag.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace signet::config {

inline constexpr std::uint16_t kHttpsPort = 443;

struct HostPort {
  std::string host;  ///< without brackets
  std::optional<std::uint16_t> port;
};

/// "host", "host:port", "[v6]:port". Nothing: none of these.
std::optional<HostPort> SplitHostPort(std::string_view text);
/// The address as inet_ntop writes it; nothing: not an address.
std::optional<std::string> AddressOf(const std::string& text);
/// "0.0.0.0" and "::": every address of the machine, so none to name.
bool IsWildcard(const std::string& address);
/// "host:port", "[v6]:port".
std::string JoinHostPort(const std::string& host, std::uint16_t port);

/// https://HOST[:PORT], without a path.
base::Result<HostPort> ParseUrl(std::string_view flag, const std::string& url);

struct ServiceName {
  std::string ns, name;
  std::uint16_t port = kHttpsPort;
};
/// NAMESPACE/NAME[:PORT]
base::Result<ServiceName> ParseService(std::string_view flag, const std::string& text);

}  // namespace signet::config
