#include "config/kubeconfig.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "config/options.hpp"
#include "encoding/text.hpp"

namespace signet::config {
namespace {

using nlohmann::json;

/// One file. Says which file in every message.
class File {
 public:
  static base::Result<File> Read(const std::string& path) {
    File file(path);
    auto document = LoadConfigFile(path);
    if (!document) return base::MakeError(base::Code::kInvalidArgument, "KubeconfigInvalid", document.error().message);
    file.document_ = std::make_shared<const json>(std::move(*document));
    if (file.document_->is_null()) file.document_ = std::make_shared<const json>(json::object());  // an empty file
    if (!file.document_->is_object()) return file.Invalid("not a kubeconfig");
    return file;
  }

  [[nodiscard]] base::Error Invalid(std::string_view what) const {
    return base::MakeError(base::Code::kInvalidArgument, "KubeconfigInvalid", fmt::format("{}: {}", path_, what));
  }
  [[nodiscard]] const json& document() const { return *document_; }
  [[nodiscard]] const std::string& path() const { return path_; }

  /// The object under `member` of the entry called `name` in the list `list`; nullptr: this file has no such entry.
  [[nodiscard]] base::Result<const json*> Find(const char* list, const char* member, std::string_view name) const {
    const json* out = nullptr;
    const auto found = document_->find(list);
    if (found == document_->end() || found->is_null()) return out;
    if (!found->is_array()) return Invalid(fmt::format("{}: must be a list", list));
    for (const json& entry : *found) {
      if (!entry.is_object() || entry.value("name", json()) != name) continue;
      if (out != nullptr) return Invalid(fmt::format("has two {} called \"{}\"", list, name));
      const auto inner = entry.find(member);
      if (inner == entry.end() || !inner->is_object()) {
        return Invalid(fmt::format("{} \"{}\" holds no {}", list, name, member));
      }
      out = &*inner;
    }
    return out;
  }
  [[nodiscard]] base::Result<std::string> Text(const json& object, const char* key) const {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) return std::string();
    if (!found->is_string()) return Invalid(fmt::format("{}: must be a text", key));
    return found->get<std::string>();
  }
  [[nodiscard]] base::Result<std::string> Path(const json& object, const char* key) const {
    TRY(std::string name, Text(object, key));
    if (name.empty()) return name;
    return (folder_ / name).string();  // which is `name` where that is absolute
  }
  [[nodiscard]] base::Result<base::Bytes> Data(const json& object, const char* key) const {
    TRY(std::string text, Text(object, key));
    std::erase_if(text, [](char c) { return c == '\n' || c == '\r'; });  // as Go's decoder does
    auto bytes = encoding::FromBase64(text);
    if (!bytes) return Invalid(fmt::format("{}: {}", key, bytes.error().message));
    return std::move(*bytes);
  }
  [[nodiscard]] bool Has(const json& object, const char* key) const {
    const auto found = object.find(key);
    return found != object.end() && !found->is_null() && *found != "" && *found != false;
  }

 private:
  explicit File(std::string path) : path_(std::move(path)), folder_(std::filesystem::path(path_).parent_path()) {}

  std::string path_;
  std::filesystem::path folder_;
  std::shared_ptr<const json> document_;
};

/// All files, the most important first.
class Kubeconfig {
 public:
  struct Entry {
    const File* file;
    const json* object;
  };
  static base::Result<Kubeconfig> Read(const std::vector<std::string>& paths) {
    Kubeconfig out;
    for (const auto& path : paths) {
      TRY(auto file, File::Read(path));
      out.files_.push_back(std::move(file));
    }
    return out;
  }
  [[nodiscard]] base::Error Invalid(std::string_view what) const {
    std::string names;
    for (const auto& file : files_) names += (names.empty() ? "" : ":") + file.path();
    return base::MakeError(base::Code::kInvalidArgument, "KubeconfigInvalid", fmt::format("{}: {}", names, what));
  }
  [[nodiscard]] base::Result<Entry> Find(const char* list, const char* member, std::string_view name) const {
    for (const auto& file : files_) {
      TRY(const json* found, file.Find(list, member, name));
      if (found != nullptr) return Entry{&file, found};
    }
    return Invalid(fmt::format("has no {} called \"{}\"", list, name));
  }
  [[nodiscard]] base::Result<std::string> CurrentContext() const {
    for (const auto& file : files_) {
      TRY(std::string context, file.Text(file.document(), "current-context"));
      if (!context.empty()) return context;
    }
    return std::string();
  }

 private:
  std::vector<File> files_;
};

base::Status ReadCluster(const File& file, const json& cluster, kube::ClusterConfig& out) {
  if (file.Has(cluster, "insecure-skip-tls-verify")) {
    return file.Invalid("insecure-skip-tls-verify is refused: name the server's CA in certificate-authority");
  }
  for (const char* key : {"tls-server-name", "proxy-url"}) {
    if (file.Has(cluster, key)) return file.Invalid(fmt::format("{} is not supported", key));
  }
  TRY(out.server, file.Text(cluster, "server"));
  if (out.server.empty()) return file.Invalid("the cluster names no server");
  TRY(out.ca_file, file.Path(cluster, "certificate-authority"));
  TRY(const auto data, file.Data(cluster, "certificate-authority-data"));
  out.ca_data = base::AsText(data);
  if (!out.ca_data.empty()) out.ca_file.clear();  // data wins, as in client-go
  if (out.ca_data.empty() && out.ca_file.empty()) {
    return file.Invalid(
        "the cluster names no certificate-authority; the system's roots are not trusted for an API server");
  }
  return {};
}

base::Status ReadUser(const File& file, const json& user, kube::ClusterConfig& out) {
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
  TRY(out.token_file, file.Path(user, "tokenFile"));
  TRY(const std::string token, file.Text(user, "token"));
  if (out.token_file.empty() && !token.empty()) out.token = base::Secret(base::ToBytes(base::AsBytes(token)));
  TRY(out.client_certificate_file, file.Path(user, "client-certificate"));
  TRY(out.client_key_file, file.Path(user, "client-key"));
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

base::Result<kube::ClusterConfig> LoadKubeconfig(const std::vector<std::string>& paths, std::string_view context) {
  TRY(const auto files, Kubeconfig::Read(paths));
  TRY(const std::string current, files.CurrentContext());
  const std::string chosen = context.empty() ? current : std::string(context);
  if (chosen.empty()) return files.Invalid("has no current-context: choose one with --context");
  TRY(const auto entry, files.Find("contexts", "context", chosen));
  kube::ClusterConfig out;
  TRY(out.namespace_name, entry.file->Text(*entry.object, "namespace"));
  TRY(const std::string cluster_name, entry.file->Text(*entry.object, "cluster"));
  TRY(const auto cluster, files.Find("clusters", "cluster", cluster_name));
  TRY_VOID(ReadCluster(*cluster.file, *cluster.object, out));
  TRY(const std::string user_name, entry.file->Text(*entry.object, "user"));
  if (!user_name.empty()) {
    TRY(const auto user, files.Find("users", "user", user_name));
    TRY_VOID(ReadUser(*user.file, *user.object, out));
  }
  if (const auto valid = kube::Validate(out); !valid) return entry.file->Invalid(valid.error().message);
  return out;
}

base::Result<kube::ClusterConfig> LoadKubeconfig(const std::string& path, std::string_view context) {
  return LoadKubeconfig(std::vector<std::string>{path}, context);
}

}  // namespace signet::config
