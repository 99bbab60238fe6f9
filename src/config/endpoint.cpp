#include "config/endpoint.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <array>
#include <charconv>

#include "api/scalars.hpp"
#include "config/reader.hpp"

namespace signet::config {
namespace {

constexpr std::string_view kScheme = "https://";

std::optional<std::uint16_t> PortOf(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return port;
}

}  // namespace

std::optional<std::string> AddressOf(const std::string& text) {
  std::array<unsigned char, sizeof(in6_addr)> octets{};
  std::array<char, INET6_ADDRSTRLEN> out{};
  for (const int family : {AF_INET, AF_INET6}) {
    if (::inet_pton(family, text.c_str(), octets.data()) != 1) continue;
    if (::inet_ntop(family, octets.data(), out.data(), out.size()) != nullptr) return std::string(out.data());
  }
  return std::nullopt;
}

std::optional<HostPort> SplitHostPort(std::string_view text) {
  HostPort out;
  std::string_view rest;
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    out.host = text.substr(1, end - 1);
    rest = text.substr(end + 1);
  } else {
    const auto colon = text.find(':');
    out.host = text.substr(0, colon);
    rest = colon == std::string_view::npos ? std::string_view() : text.substr(colon);
  }
  if (out.host.empty()) return std::nullopt;
  if (rest.empty()) return out;
  out.port = rest.front() == ':' ? PortOf(rest.substr(1)) : std::nullopt;
  if (!out.port) return std::nullopt;
  return out;
}

base::Result<HostPort> ParseUrl(std::string_view flag, const std::string& url) {
  const auto refuse = [&] {
    return ConfigError(fmt::format("{} \"{}\": must be https://HOST[:PORT], without a path", flag, url));
  };
  if (!url.starts_with(kScheme)) return refuse();
  const auto parts = SplitHostPort(std::string_view(url).substr(kScheme.size()));
  if (!parts || parts->port == 0) return refuse();
  if (!AddressOf(parts->host) && !api::IsDnsSubdomain(parts->host)) return refuse();
  return *parts;
}

base::Result<ServiceName> ParseService(std::string_view flag, const std::string& text) {
  const auto slash = text.find('/');
  const auto parts =
      slash == std::string::npos ? std::nullopt : SplitHostPort(std::string_view(text).substr(slash + 1));
  ServiceName out;
  if (parts) out = {text.substr(0, slash), parts->host, parts->port.value_or(kHttpsPort)};
  if (!parts || out.port == 0 || !api::IsDnsLabel(out.ns) || !api::IsDnsLabel(out.name)) {
    return ConfigError(fmt::format("{} \"{}\": must be NAMESPACE/NAME or NAMESPACE/NAME:PORT", flag, text));
  }
  return out;
}

bool IsWildcard(const std::string& address) { return address == "0.0.0.0" || address == "::"; }

std::string JoinHostPort(const std::string& host, std::uint16_t port) {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

}  // namespace signet::config
