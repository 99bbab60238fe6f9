#include "kube/server_address.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "kube/config_error.hpp"

namespace signet::kube {
namespace {

bool IsPort(std::string_view text) {
  unsigned port = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), port);
  return read.ec == std::errc() && read.ptr == text.data() + text.size() && port > 0 && port <= 65535;
}

bool IsHostCharacter(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         std::string_view("-._:%").find(c) != std::string_view::npos;
}

}  // namespace

bool IsIpAddress(const std::string& host) {
  std::array<unsigned char, sizeof(in6_addr)> ignored{};
  return ::inet_pton(AF_INET, host.c_str(), ignored.data()) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), ignored.data()) == 1;
}

bool SplitHostPort(std::string_view text, std::string& host, std::string& port) {
  port.clear();
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == std::string_view::npos) return false;
    host = text.substr(1, end - 1);
    if (host.find(':') == std::string::npos) return false;
    text.remove_prefix(end + 1);
    if (text.empty()) return true;
  } else {
    const auto colon = text.find(':');
    host = text.substr(0, colon);
    if (colon == std::string_view::npos) return !host.empty();
    text.remove_prefix(colon);
  }
  // "host:" is the default port to Go.
  if (host.empty() || !text.starts_with(':')) return false;
  port = text.substr(1);
  return port.empty() || IsPort(port);
}

std::string ServerAddress::CertificateName() const {
  std::string name = host.substr(0, host.find('%'));
  if (name.ends_with('.')) name.pop_back();
  return name;
}

base::Result<ServerAddress> ParseServer(std::string_view url) {
  constexpr std::string_view kForm = "the API server's address must be https://host:port";
  constexpr std::string_view kScheme = "https://";
  const auto is_scheme = [](char c, char lower) {
    return c == lower || (c >= 'A' && c <= 'Z' && c - 'A' + 'a' == lower);
  };
  if (url.size() < kScheme.size() || !std::equal(kScheme.begin(), kScheme.end(), url.begin(),
                                                 [&](char lower, char c) { return is_scheme(c, lower); })) {
    return ConfigInvalid(std::string(kForm));
  }
  url.remove_prefix(kScheme.size());
  if (url.find_first_of("@?#\\ \t\r\n") != std::string_view::npos) {
    return ConfigInvalid(std::string(kForm) + ", without user, query and fragment");
  }
  ServerAddress out;
  const auto slash = std::min(url.find('/'), url.size());
  if (!SplitHostPort(url.substr(0, slash), out.host, out.port)) return ConfigInvalid(std::string(kForm));
  if (const auto zone = out.host.find("%25"); zone != std::string::npos && out.IsIpv6()) out.host.erase(zone + 1, 2);
  if (!std::all_of(out.host.begin(), out.host.end(), IsHostCharacter) ||
      (out.host.find('%') != std::string::npos && !out.IsIpv6()) ||
      (out.IsIpv6() && !IsIpAddress(out.CertificateName()))) {
    return ConfigInvalid(std::string(kForm) + ": this is no host name or address");
  }
  out.authority = out.IsIpv6() ? "[" + out.CertificateName() + "]" : out.host;
  if (!out.port.empty()) out.authority += ":" + out.port;
  if (out.port.empty()) out.port = "443";
  out.path = url.substr(slash);
  while (out.path.ends_with('/')) out.path.pop_back();
  return out;
}

}  // namespace signet::kube
