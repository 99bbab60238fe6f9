#include "kube/cluster_config.hpp"

#include <sys/stat.h>

#include <fstream>
#include <sstream>
#include <utility>

namespace signet::kube {
namespace {

base::Error Refuse(std::string message) {
  return base::MakeError(base::Code::kInvalidArgument, "ConfigInvalid", std::move(message));
}

bool Exists(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0;
}

}  // namespace

base::Status Validate(const ClusterConfig& config) {
  constexpr std::string_view kScheme = "https://";
  if (!config.server.starts_with(kScheme) || config.server.size() == kScheme.size()) {
    return Refuse("the API server's address must be https://host:port");
  }
  if (config.server.find_first_of("@?# \t\r\n", kScheme.size()) != std::string::npos) {
    return Refuse("the API server's address must be https://host:port, without user, query and fragment");
  }
  if (config.ca_file.empty() == config.ca_data.empty()) {
    return Refuse("name one CA for the API server: a file or its content");
  }
  if (!config.token_file.empty() && !config.token.empty()) return Refuse("a token and a token file are both set");
  const bool certificate = !config.client_certificate_file.empty() || !config.client_certificate_data.empty();
  const bool key = !config.client_key_file.empty() || !config.client_key_data.empty();
  if (certificate != key) return Refuse("a client certificate needs its key, and the key its certificate");
  if (!config.client_certificate_file.empty() && !config.client_certificate_data.empty()) {
    return Refuse("the client certificate is set as a file and as data");
  }
  if (!config.client_key_file.empty() && !config.client_key_data.empty()) {
    return Refuse("the client key is set as a file and as data");
  }
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
