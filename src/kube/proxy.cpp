#include "kube/proxy.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

#include "kube/config_error.hpp"

namespace signet::kube {
namespace {

std::string Lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

std::string_view Trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::optional<std::string> PercentDecode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    unsigned value = 0;
    const std::string_view digits = text.substr(i + 1, 2);
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (digits.size() != 2 || read.ptr != digits.data() + 2) return std::nullopt;
    out += static_cast<char>(value);
    i += 2;
  }
  return out;
}

/// An address as IPv6 has it; IPv4 in its mapped form, so that both are compared alike.
using Address = std::array<std::uint8_t, 16>;
constexpr std::size_t kMapped = 12;

std::optional<Address> ParseAddress(const std::string& text) {
  Address out{};
  if (::inet_pton(AF_INET, text.c_str(), out.data() + kMapped) == 1) {
    out[10] = out[11] = 0xff;
    return out;
  }
  if (::inet_pton(AF_INET6, text.c_str(), out.data()) == 1) return out;
  return std::nullopt;
}

bool IsLoopback(const Address& address) {
  constexpr Address kIpv6{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  constexpr Address kIpv4{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127};
  return address == kIpv6 || std::equal(kIpv4.begin(), kIpv4.begin() + 13, address.begin());
}

bool IsIpv4(const Address& address) {
  constexpr Address kIpv4{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return std::equal(kIpv4.begin(), kIpv4.begin() + kMapped, address.begin());
}

/// "10.0.0.0/8", "fd00::/8"; nullopt: `entry` is no network.
std::optional<bool> InNetwork(const std::string& entry, const std::optional<Address>& address) {
  const auto slash = entry.find('/');
  if (slash == std::string::npos) return std::nullopt;
  const auto network = ParseAddress(entry.substr(0, slash));
  unsigned bits = 0;
  const char* end = entry.data() + entry.size();
  const auto read = std::from_chars(entry.data() + slash + 1, end, bits);
  if (!network || read.ec != std::errc() || read.ptr != end) return std::nullopt;
  const bool ipv4 = entry.find(':') == std::string::npos;
  if (bits > (ipv4 ? 32U : 128U)) return std::nullopt;
  if (!address || IsIpv4(*address) != ipv4) return false;
  if (ipv4) bits += kMapped * 8;
  const std::size_t whole = bits / 8;
  if (!std::equal(network->begin(), network->begin() + static_cast<std::ptrdiff_t>(whole), address->begin())) {
    return false;
  }
  const auto mask = static_cast<std::uint8_t>(0xff00U >> (bits % 8));
  return bits % 8 == 0 || (((*network)[whole] ^ (*address)[whole]) & mask) == 0;
}

/// Whether one entry of NO_PROXY is about this server.
bool Covers(const std::string& entry, const std::string& host, const std::string& port) {
  if (entry == "*") return true;
  const auto address = ParseAddress(host);
  if (const auto inside = InNetwork(entry, address)) return *inside;
  std::string name = entry;
  std::string only_port;
  const bool bare_ipv6 = ParseAddress(entry).has_value();
  if (!bare_ipv6 && !SplitHostPort(entry, name, only_port)) return false;
  if (!only_port.empty() && only_port != port) return false;
  if (const auto listed = ParseAddress(name)) return address == listed;
  if (name.starts_with("*.")) name.erase(0, 1);
  if (name.starts_with('.')) return host.ends_with(name);
  return host == name || host.ends_with("." + name);
}

}  // namespace

base::Result<Proxy> ParseProxy(std::string_view url) {
  constexpr const char* kForm = "the proxy's URL must be http://host:port, https://host:port or socks5://host:port";
  Proxy out;
  const auto at = url.find("://");
  if (at == std::string_view::npos) return ConfigInvalid(kForm);
  const std::string scheme = Lower(url.substr(0, at));
  std::string_view rest = url.substr(at + 3);
  if (scheme == "http") {
    out.kind = Proxy::Kind::kHttp;
  } else if (scheme == "https") {
    out.kind = Proxy::Kind::kHttps;
  } else if (scheme == "socks5" || scheme == "socks5h") {  // Go leaves names to the proxy in both
    out.kind = Proxy::Kind::kSocks5;
  } else {
    return ConfigInvalid(kForm);
  }
  rest = rest.substr(0, rest.find_first_of("/?#"));
  if (const auto sign = rest.rfind('@'); sign != std::string_view::npos) {
    const std::string_view identity = rest.substr(0, sign);
    const auto colon = std::min(identity.find(':'), identity.size());
    const auto user = PercentDecode(identity.substr(0, colon));
    const auto password = PercentDecode(colon == identity.size() ? "" : identity.substr(colon + 1));
    if (!user || !password) return ConfigInvalid("user or password in the proxy's URL are not percent-encoded");
    out.user = *user;
    out.password = *password;
    rest.remove_prefix(sign + 1);
  }
  const auto is_plain = [](char c) { return c > ' ' && c != 0x7f && c != '\\' && c != '%'; };
  if (!SplitHostPort(rest, out.host, out.port) || !std::all_of(rest.begin(), rest.end(), is_plain)) {
    return ConfigInvalid(kForm);
  }
  constexpr std::size_t kMaxSocksText = 255;  // RFC 1929
  if (out.user.size() > kMaxSocksText || out.password.size() > kMaxSocksText) {
    return ConfigInvalid("user or password in the proxy's URL are longer than 255 bytes");
  }
  if (out.port.empty()) {
    out.port = out.kind == Proxy::Kind::kHttp ? "80" : out.kind == Proxy::Kind::kHttps ? "443" : "1080";
  }
  return out;
}

base::Result<std::string> ProxyFor(const ServerAddress& server, const ProxyEnvironment& environment) {
  const std::string_view named = Trim(environment.https_proxy);
  if (named.empty()) return std::string();
  const std::string host = Lower(server.host);
  const auto address = ParseAddress(host);
  if (host == "localhost" || (address && IsLoopback(*address))) return std::string();
  for (std::size_t at = 0; at <= environment.no_proxy.size();) {
    const std::size_t end = std::min(environment.no_proxy.find(',', at), environment.no_proxy.size());
    const std::string entry = Lower(Trim(std::string_view(environment.no_proxy).substr(at, end - at)));
    if (!entry.empty() && Covers(entry, host, server.port)) return std::string();
    at = end + 1;
  }
  // As Go does: what has no scheme that it knows gets http.
  std::string url(named);
  if (!ParseProxy(url) && url.find("://") == std::string::npos) url = "http://" + url;
  if (const auto parsed = ParseProxy(url); !parsed) {
    return ConfigInvalid("the environment's HTTPS_PROXY: " + parsed.error().message);
  }
  return url;
}

base::Status UseProxyOf(const ProxyEnvironment& environment, ClusterConfig& config) {
  if (!config.proxy_url.empty()) return {};
  TRY(const auto server, ParseServer(config.server));
  TRY(config.proxy_url, ProxyFor(server, environment));
  return {};
}

}  // namespace signet::kube
