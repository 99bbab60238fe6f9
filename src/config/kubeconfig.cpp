#include "config/kubeconfig.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "config/options.hpp"
#include "encoding/text.hpp"

namespace signet::config {
namespace {

using nlohmann::json;

/// Looks things up in one file and says which file in every message.
class Kubeconfig {
 public:
  Kubeconfig(const json& document, const std::string& path)
      : document_(document), path_(path), folder_(std::filesystem::path(path).parent_path()) {}

  [[nodiscard]] base::Error Invalid(std::string_view what) const {
    return base::MakeError(base::Code::kInvalidArgument, "KubeconfigInvalid", fmt::format("{}: {}", path_, what));
  }

  /// The object under `member` of the entry called `name` in the list `list`.
  [[nodiscard]] base::Result<const json*> Entry(const char* list, const char* member, std::string_view name) const {
    const auto found = document_.find(list);
    if (found == document_.end() || !found->is_array()) return Invalid(fmt::format("has no {}", list));
    for (const json& entry : *found) {
      if (!entry.is_object() || entry.value("name", json()) != name) continue;
      const auto inner = entry.find(member);
      if (inner != entry.end() && inner->is_object()) return &*inner;
      return Invalid(fmt::format("{} \"{}\" holds no {}", list, name, member));
    }
    return Invalid(fmt::format("has no {} called \"{}\"", list, name));
  }
  [[nodiscard]] base::Result<std::string> Text(const json& object, const char* key) const {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) return std::string();
    if (!found->is_string()) return Invalid(fmt::format("{}: must be a text", key));
    return found->get<std::string>();
  }
  [[nodiscard]] base::Result<std::string> File(const json& object, const char* key) const {
    TRY(std::string name, Text(object, key));
    if (name.empty()) return name;
    return (folder_ / name).string();  // which is `name` where that is absolute
  }
  [[nodiscard]] base::Result<base::Bytes> Data(const json& object, const char* key) const {
    TRY(const std::string text, Text(object, key));
    auto bytes = encoding::FromBase64(text);
    if (!bytes) return Invalid(fmt::format("{}: {}", key, bytes.error().message));
    return std::move(*bytes);
  }
  [[nodiscard]] bool Has(const json& object, const char* key) const {
    const auto found = object.find(key);
    return found != object.end() && !found->is_null() && *found != "" && *found != false;
  }

 private:
  const json& document_;
  const std::string& path_;
  const std::filesystem::path folder_;
};

base::Status ReadCluster(const Kubeconfig& file, const json& cluster, kube::ClusterConfig& out) {
  if (file.Has(cluster, "insecure-skip-tls-verify")) {
    return file.Invalid("insecure-skip-tls-verify is refused: name the server's CA in certificate-authority");
  }
  for (const char* key : {"tls-server-name", "proxy-url"}) {
    if (file.Has(cluster, key)) return file.Invalid(fmt::format("{} is not supported", key));
  }
  TRY(out.server, file.Text(cluster, "server"));
  if (out.server.empty()) return file.Invalid("the cluster names no server");
  TRY(out.ca_file, file.File(cluster, "certificate-authority"));
  TRY(const auto data, file.Data(cluster, "certificate-authority-data"));
  out.ca_data = base::AsText(data);
  if (!out.ca_data.empty()) out.ca_file.clear();  // data wins, as in client-go
  if (out.ca_data.empty() && out.ca_file.empty()) {
    return file.Invalid(
        "the cluster names no certificate-authority; the system's roots are not trusted for an API server");
  }
  return {};
}

base::Status ReadUser(const Kubeconfig& file, const json& user, kube::ClusterConfig& out) {
  for (const char* key : {"exec", "auth-provider"}) {
    if (file.Has(user, key)) {
      return file.Invalid(
          fmt::format("the user's {} plugin is not run by Signet: use a client certificate, token or tokenFile "
                      "(kubectl create token NAME makes one)",
                      key));
    }
  }
  for (const char* key : {"username", "password", "as", "as-uid", "as-groups", "as-user-extra"}) {
    if (file.Has(user, key)) return file.Invalid(fmt::format("the user's {} is not supported", key));
  }
  TRY(out.token_file, file.File(user, "tokenFile"));
  TRY(const std::string token, file.Text(user, "token"));
  if (out.token_file.empty() && !token.empty()) out.token = base::Secret(base::ToBytes(base::AsBytes(token)));
  TRY(out.client_certificate_file, file.File(user, "client-certificate"));
  TRY(out.client_key_file, file.File(user, "client-key"));
  TRY(const auto certificate, file.Data(user, "client-certificate-data"));
  TRY(auto key, file.Data(user, "client-key-data"));
  if (!certificate.empty()) {
    out.client_certificate_data = base::AsText(certificate);
    out.client_certificate_file.clear();
  }
  if (!key.empty()) {
    out.client_key_data = base::Secret(std::move(key));
    out.client_key_file.clear();
  }
  return {};
}

}  // namespace

base::Result<kube::ClusterConfig> LoadKubeconfig(const std::string& path, std::string_view context) {
  auto document = LoadConfigFile(path);
  if (!document) return base::MakeError(base::Code::kInvalidArgument, "KubeconfigInvalid", document.error().message);
  const Kubeconfig file(*document, path);
  if (!document->is_object()) return file.Invalid("not a kubeconfig");
  TRY(const std::string current, file.Text(*document, "current-context"));
  const std::string chosen = context.empty() ? current : std::string(context);
  if (chosen.empty()) return file.Invalid("has no current-context: choose one with --context");
  TRY(const json* entry, file.Entry("contexts", "context", chosen));
  kube::ClusterConfig out;
  TRY(out.namespace_name, file.Text(*entry, "namespace"));
  TRY(const std::string cluster_name, file.Text(*entry, "cluster"));
  TRY(const json* cluster, file.Entry("clusters", "cluster", cluster_name));
  TRY_VOID(ReadCluster(file, *cluster, out));
  TRY(const std::string user_name, file.Text(*entry, "user"));
  if (!user_name.empty()) {
    TRY(const json* user, file.Entry("users", "user", user_name));
    TRY_VOID(ReadUser(file, *user, out));
  }
  if (const auto valid = kube::Validate(out); !valid) return file.Invalid(valid.error().message);
  return out;
}

}  // namespace signet::config
