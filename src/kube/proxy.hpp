// kube/proxy.hpp - the proxy in front of an API server: which one, and whether at all.
//
// Sources:       golang.org/x/net/http/httpproxy, whose rules are kept to.
// Thread-safety: no shared state.
// Errors:        kInvalidArgument, reason "ConfigInvalid"; messages never repeat a URL, as it may hold a password.
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "kube/cluster_config.hpp"
#include "kube/server_address.hpp"

namespace signet::kube {

struct Proxy {
  enum class Kind { kHttp, kHttps, kSocks5 };
  Kind kind = Kind::kHttp;
  std::string host;
  std::string port;
  std::string user, password;  ///< percent-decoded
};

/// "http://user:password@host:port", https and socks5 alike. Default ports: 80, 443, 1080.
base::Result<Proxy> ParseProxy(std::string_view url);

/// HTTPS_PROXY (else https_proxy) and NO_PROXY (else no_proxy), as main() has read them.
struct ProxyEnvironment {
  std::string https_proxy;
  std::string no_proxy;
};

/// The URL of the proxy that the environment names for `server`; empty: none. Never one for loopback.
/// @return kInvalidArgument HTTPS_PROXY is needed and is no URL
base::Result<std::string> ProxyFor(const ServerAddress& server, const ProxyEnvironment& environment);

/// Sets config.proxy_url from the environment, unless the configuration names a proxy itself.
base::Status UseProxyOf(const ProxyEnvironment& environment, ClusterConfig& config);

}  // namespace signet::kube
