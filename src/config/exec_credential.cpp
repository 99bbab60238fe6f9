#include "config/exec_credential.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "base/clock.hpp"
#include "encoding/text.hpp"
#include "kube/read_file.hpp"
#include "store/manifest.hpp"

namespace signet::config {
namespace {

using nlohmann::json;

base::Error Invalid(std::string message) {
  return base::MakeError(base::Code::kInvalidArgument, "CredentialInvalid", std::move(message));
}

base::Result<std::string> Text(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return std::string();
  if (!found->is_string()) return Invalid(fmt::format("status.{} is no text", key));
  return found->get<std::string>();
}

base::Secret SecretOf(const std::string& text) { return base::Secret(base::ToBytes(base::AsBytes(text))); }

}  // namespace

base::Result<FetchedCredential> ParseExecCredential(std::string_view printed, std::string_view api_version) {
  const auto documents = store::ParseYaml(printed, "");
  if (!documents) return Invalid("what it printed is neither JSON nor YAML");
  if (documents->size() != 1 || !documents->front().value.is_object()) {
    return Invalid("it did not print one ExecCredential");
  }
  const json& object = documents->front().value;
  if (object.value("kind", json()) != "ExecCredential") return Invalid("it printed something else than ExecCredential");
  if (object.value("apiVersion", json()) != api_version) {
    return Invalid(fmt::format("it answers in another version than the kubeconfig's apiVersion, {}", api_version));
  }
  const auto status = object.find("status");
  if (status == object.end() || !status->is_object()) return Invalid("what it printed has no status");
  TRY(const std::string token, Text(*status, "token"));
  TRY(std::string certificate, Text(*status, "clientCertificateData"));
  TRY(const std::string key, Text(*status, "clientKeyData"));
  TRY(const std::string expires, Text(*status, "expirationTimestamp"));
  if (certificate.empty() != key.empty()) return Invalid("status holds a certificate without its key, or the reverse");
  if (token.empty() && certificate.empty()) return Invalid("status holds neither token nor client certificate");
  FetchedCredential out;
  if (!expires.empty()) {
    const auto time = base::ParseTime(expires);
    if (!time) return Invalid("status.expirationTimestamp is no time of RFC 3339");
    out.expires = *time;
  }
  out.credential = {SecretOf(token), std::move(certificate), SecretOf(key)};
  return out;
}

base::Result<std::string> MakeExecInfo(const kube::ClusterConfig& config, bool interactive) {
  const kube::ExecPlugin& plugin = *config.exec;
  json info = {
      {"kind", "ExecCredential"}, {"apiVersion", plugin.api_version}, {"spec", {{"interactive", interactive}}}};
  if (plugin.provide_cluster_info) {
    std::string ca = config.ca_data;
    if (ca.empty()) {
      TRY(ca, kube::ReadFile(config.ca_file));
    }
    json cluster = {{"server", config.server},
                    {"certificate-authority-data", encoding::ToBase64(base::AsBytes(ca))},
                    {"config", plugin.cluster_config.empty() ? json() : json::parse(plugin.cluster_config)}};
    if (!config.tls_server_name.empty()) cluster["tls-server-name"] = config.tls_server_name;
    if (!config.proxy_url.empty()) cluster["proxy-url"] = config.proxy_url;
    info["spec"]["cluster"] = std::move(cluster);
  }
  return info.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace signet::config
