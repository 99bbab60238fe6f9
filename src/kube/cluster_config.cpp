#include "kube/cluster_config.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <utility>

#include "kube/config_error.hpp"
#include "kube/proxy.hpp"
#include "kube/server_address.hpp"

namespace signet::kube {
namespace {

bool Exists(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0;
}

/// Values become header fields: a line end would start another one.
bool IsHeaderValue(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c < 0 || c >= ' ') && c != 0x7f; });
}

base::Status CheckImpersonation(const Impersonation& wanted) {
  if (wanted.user.empty()) {
    if (wanted.uid.empty() && wanted.groups.empty() && wanted.extra.empty()) return {};
    return ConfigInvalid(
        "impersonating a group, a uid or extra fields needs a user as well: name one with --as, or `as`");
  }
  std::vector<std::string_view> values{wanted.user, wanted.uid};
  for (const auto& group : wanted.groups) {
    if (group.empty()) return ConfigInvalid("a group to impersonate has an empty name");
    values.emplace_back(group);
  }
  for (const auto& [key, texts] : wanted.extra) {
    if (key.empty()) return ConfigInvalid("an extra field to impersonate (as-user-extra) has an empty name");
    values.insert(values.end(), texts.begin(), texts.end());
  }
  if (std::all_of(values.begin(), values.end(), IsHeaderValue)) return {};
  return ConfigInvalid("a user, group, uid or extra field to impersonate holds a control character");
}

}  // namespace

base::Status Validate(const ClusterConfig& config) {
  TRY_VOID(ParseServer(config.server));
  if (!config.proxy_url.empty()) TRY_VOID(ParseProxy(config.proxy_url));
  if (config.ca_file.empty() == config.ca_data.empty()) {
    return ConfigInvalid("name one CA for the API server: a file or its content");
  }
  if (!config.token_file.empty() && !config.token.empty())
    return ConfigInvalid("a token and a token file are both set");
  const bool certificate = !config.client_certificate_file.empty() || !config.client_certificate_data.empty();
  const bool key = !config.client_key_file.empty() || !config.client_key_data.empty();
  if (certificate != key) return ConfigInvalid("a client certificate needs its key, and the key its certificate");
  if (!config.client_certificate_file.empty() && !config.client_certificate_data.empty()) {
    return ConfigInvalid("the client certificate is set as a file and as data");
  }
  if (!config.client_key_file.empty() && !config.client_key_data.empty()) {
    return ConfigInvalid("the client key is set as a file and as data");
  }
  TRY_VOID(CheckImpersonation(config.impersonation));
  return {};
}

base::Result<ClusterConfig> InClusterConfig(std::string_view service_account_folder, std::string_view host,
                                            std::string_view port) {
  if (host.empty() || port.empty()) {
    return base::MakeError(base::Code::kNotFound, "NotInCluster",
                           "not in a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set");
  }
  const std::string folder(service_account_folder);
  ClusterConfig config;
  const bool ipv6 = host.find(':') != std::string_view::npos && host.front() != '[';
  config.server =
      std::string("https://") + (ipv6 ? "[" : "") + std::string(host) + (ipv6 ? "]" : "") + ":" + std::string(port);
  config.ca_file = folder + "/ca.crt";
  config.token_file = folder + "/token";
  for (const auto& path : {config.ca_file, config.token_file}) {
    if (!Exists(path)) {
      return base::MakeError(base::Code::kNotFound, "NotInCluster",
                             path + " is missing: the pod has no service account token mounted");
    }
  }
  std::ifstream file(folder + "/namespace");
  std::getline(file, config.namespace_name);
  TRY_VOID(Validate(config));
  return config;
}

}  // namespace signet::kube
