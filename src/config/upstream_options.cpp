#include "config/upstream_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "config/reader.hpp"

namespace signet::config {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kMostUrls = 16;
constexpr milliseconds kShortestAttempt{100};
constexpr milliseconds kLongestAttempt{60'000};
constexpr milliseconds kLongestWait{300'000};

bool IsHost(std::string_view text) {
  return !text.empty() && text.size() <= 253 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  });
}

}  // namespace

void ReadUpstream(Reader section, UpstreamOptions& out) {
  section.Texts("urls", out.urls);
  section.Text("caFile", out.ca_file);
  section.Text("caPem", out.ca_pem);
  section.Text("serverName", out.server_name);
  section.Text("tokenFile", out.token_file);
  section.Timespan("attemptTimeout", out.attempt_timeout, kShortestAttempt, kLongestAttempt);
  section.Timespan("maxWait", out.max_wait, kShortestAttempt, kLongestWait);
  std::size_t readiness = out.strict ? 1 : 0;
  section.Choice("readiness", readiness, {"sticky", "strict"});
  out.strict = readiness == 1;
  section.Text("endWithPod", out.end_with_pod);
}

base::Result<bool> ParseReadiness(std::string_view text) {
  if (text == "sticky") return false;
  if (text == "strict") return true;
  return ConfigError(fmt::format("readiness \"{}\": must be sticky or strict", text));
}

base::Result<http::UpstreamTarget> ParseGatewayUrl(std::string_view url) {
  const auto bad = [url](std::string_view why) {
    return ConfigError(fmt::format("--gateway \"{}\": {}; write https://HOST or https://HOST:PORT", url, why));
  };
  constexpr std::string_view kScheme = "https://";
  if (!url.starts_with(kScheme)) return bad("is no https URL");
  std::string_view rest = url.substr(kScheme.size());
  if (rest.ends_with('/')) rest.remove_suffix(1);
  http::UpstreamTarget target;
  std::string_view port;
  if (rest.starts_with('[')) {
    const auto end = rest.find(']');
    if (end == std::string_view::npos) return bad("has a bracket that does not close");
    target.host = rest.substr(1, end - 1);
    if (!http::IsAddress(target.host)) return bad("has no address in its brackets");
    port = rest.substr(end + 1);
  } else {
    const auto colon = std::min(rest.find(':'), rest.size());
    target.host = rest.substr(0, colon);
    if (!IsHost(target.host)) return bad("names no host alone");
    port = rest.substr(colon);
  }
  if (port.empty()) return target;
  const char* const end = port.data() + port.size();
  const auto parsed = std::from_chars(port.data() + 1, end, target.port);
  if (port.front() != ':' || port.size() < 2 || parsed.ec != std::errc{} || parsed.ptr != end || target.port == 0) {
    return bad("has no port between 1 and 65535");
  }
  return target;
}

base::Status Validate(const UpstreamOptions& options) {
  if (options.urls.size() > kMostUrls) {
    return ConfigError(fmt::format("--gateway: at most {} of them; one name may have many addresses", kMostUrls));
  }
  for (const std::string& url : options.urls) {
    if (const auto target = ParseGatewayUrl(url); !target) return target.error();
  }
  if (options.ca_file.empty() && options.ca_pem.empty())
    return ConfigError("no CA file: give --gateway-ca FILE or gateway.caFile");
  if (options.token_file.empty()) return ConfigError("no token file: give --token-file FILE or gateway.tokenFile");
  if (!options.server_name.empty() && !IsHost(options.server_name) && !http::IsAddress(options.server_name)) {
    return ConfigError(
        fmt::format("--gateway-server-name \"{}\": must be a host name or an address", options.server_name));
  }
  if (options.attempt_timeout < kShortestAttempt || options.attempt_timeout > kLongestAttempt) {
    return ConfigError("--attempt-timeout: must be between 100ms and 60s");
  }
  if (options.max_wait < options.attempt_timeout || options.max_wait > kLongestWait) {
    return ConfigError("--max-wait: must be at least --attempt-timeout, at most 5m");
  }
  // It becomes the value of a header field.
  if (!options.end_with_pod.empty() && !IsHost(options.end_with_pod)) {
    return ConfigError(fmt::format("--end-with-pod \"{}\": must be this container's name", options.end_with_pod));
  }
  return {};
}

}  // namespace signet::config
