#include "config/kubeconfig.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "config/exec_credential.hpp"
#include "config/options.hpp"
#include "encoding/text.hpp"

namespace signet::config {
namespace {

using nlohmann::json;

/// Go's decoder passes over line ends, and does not look at the unused bits before the padding.
void AcceptAsGoDoes(std::string& base64) {
  std::erase_if(base64, [](char c) { return c == '\n' || c == '\r'; });
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const std::size_t padding = base64.ends_with("==") ? 2 : base64.ends_with('=') ? 1 : 0;
  if (padding == 0 || base64.size() < 4) return;
  char& last = base64[base64.size() - padding - 1];
  const auto value = kDigits.find(last);
  if (value != std::string_view::npos) last = kDigits[value & (padding == 2 ? 0x30U : 0x3cU)];
}

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
  [[nodiscard]] base::Result<json> List(const json& object, const char* key) const {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) return json::array();
    if (!found->is_array()) return Invalid(fmt::format("{}: must be a list", key));
    return *found;
  }
  [[nodiscard]] base::Result<std::vector<std::string>> Texts(const json& object, const char* key) const {
    TRY(const json list, List(object, key));
    std::vector<std::string> out;
    for (const json& text : list) {
      if (!text.is_string()) return Invalid(fmt::format("{}: must be a list of texts", key));
      out.push_back(text.get<std::string>());
    }
    return out;
  }
  [[nodiscard]] base::Result<std::string> Path(const json& object, const char* key) const {
    TRY(std::string name, Text(object, key));
    if (name.empty()) return name;
    return (folder_ / name).string();  // which is `name` where that is absolute
  }
  [[nodiscard]] base::Result<base::Bytes> Data(const json& object, const char* key) const {
    TRY(std::string text, Text(object, key));
    AcceptAsGoDoes(text);
    auto bytes = encoding::FromBase64(text);
    if (!bytes) return Invalid(fmt::format("{}: {}", key, bytes.error().message));
    return std::move(*bytes);
  }
  [[nodiscard]] bool Has(const json& object, const char* key) const {
    const auto found = object.find(key);
    return found != object.end() && !found->is_null() && *found != "" && *found != false &&
           !(found->is_structured() && found->empty());
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
    std::string kind, name;

    [[nodiscard]] std::string Name() const { return fmt::format("{}: {} \"{}\"", file->path(), kind, name); }
    [[nodiscard]] base::Error Invalid(std::string_view what) const {
      return file->Invalid(fmt::format("{} \"{}\": {}", kind, name, what));
    }
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
      if (found != nullptr) return Entry{&file, found, member, std::string(name)};
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

bool IsReadable(const std::string& path) { return std::ifstream(path).peek() != std::ifstream::traits_type::eof(); }

/// An error in client-go as well.
base::Status RefuseTwice(const Kubeconfig::Entry& entry, std::initializer_list<const char*> keys) {
  for (const std::string key : keys) {
    if (!entry.file->Has(*entry.object, key.c_str()) || !entry.file->Has(*entry.object, (key + "-data").c_str()))
      continue;
    return entry.Invalid(fmt::format("{0} and {0}-data are both set: remove one", key));
  }
  return {};
}

base::Status ReadCluster(const Kubeconfig::Entry& entry, kube::ClusterConfig& out) {
  const File& file = *entry.file;
  const json& cluster = *entry.object;
  if (file.Has(cluster, "insecure-skip-tls-verify")) {
    if (file.Has(cluster, "certificate-authority") || file.Has(cluster, "certificate-authority-data")) {
      return entry.Invalid("certificate-authority and insecure-skip-tls-verify exclude each other: remove the latter");
    }
    return entry.Invalid("insecure-skip-tls-verify is refused: name the server's CA in certificate-authority");
  }
  TRY_VOID(RefuseTwice(entry, {"certificate-authority"}));
  TRY(out.server, file.Text(cluster, "server"));
  if (out.server.empty()) return entry.Invalid("names no server");
  TRY(out.tls_server_name, file.Text(cluster, "tls-server-name"));
  TRY(out.proxy_url, file.Text(cluster, "proxy-url"));
  TRY(out.ca_file, file.Path(cluster, "certificate-authority"));
  TRY(const auto data, file.Data(cluster, "certificate-authority-data"));
  out.ca_data = base::AsText(data);
  if (out.ca_data.empty() && out.ca_file.empty()) {
    return entry.Invalid("names no certificate-authority; the system's roots are not trusted for an API server");
  }
  return {};
}

/// What the cluster's extension holds for the plugin, as JSON; empty: there is none.
base::Result<std::string> ReadClusterExtension(const Kubeconfig::Entry& cluster) {
  TRY(const json extensions, cluster.file->List(*cluster.object, "extensions"));
  for (const json& extension : extensions) {
    if (!extension.is_object() || extension.value("name", json()) != "client.authentication.k8s.io/exec") continue;
    const auto found = extension.find("extension");
    if (found != extension.end()) return found->dump(-1, ' ', false, json::error_handler_t::replace);
  }
  return std::string();
}

base::Status ReadInteractiveMode(const Kubeconfig::Entry& user, const json& exec, kube::ExecPlugin& out) {
  using Interactive = kube::ExecPlugin::Interactive;
  TRY(const std::string mode, user.file->Text(exec, "interactiveMode"));
  if (mode == "Never") {
    out.interactive = Interactive::kNever;
  } else if (mode == "Always") {
    out.interactive = Interactive::kAlways;
  } else if (mode == "IfAvailable" || (mode.empty() && out.api_version != kExecV1)) {
    out.interactive = Interactive::kIfAvailable;
  } else {
    return user.Invalid(fmt::format("exec: interactiveMode must be Never, IfAvailable or Always{}",
                                    mode.empty() ? "; " + std::string(kExecV1) + " has no default" : ""));
  }
  return {};
}

base::Result<kube::ExecPlugin> ReadExec(const Kubeconfig::Entry& user, const Kubeconfig::Entry& cluster) {
  const File& file = *user.file;
  const json& exec = user.object->at("exec");
  if (!exec.is_object()) return user.Invalid("exec: must be an object");
  kube::ExecPlugin out;
  out.where = user.Name();
  TRY(out.api_version, file.Text(exec, "apiVersion"));
  if (out.api_version != kExecV1 && out.api_version != kExecV1Beta1) {
    return user.Invalid(
        fmt::format("exec: apiVersion must be {} or {}; a plugin that knows only alpha versions is too "
                    "old: update it, and this entry",
                    kExecV1, kExecV1Beta1));
  }
  TRY(out.command, file.Text(exec, "command"));
  if (out.command.empty()) return user.Invalid("exec: names no command");
  if (out.command.find('/') != std::string::npos) {
    TRY(out.command, file.Path(exec, "command"));
  }
  TRY(out.arguments, file.Texts(exec, "args"));
  TRY(const json variables, file.List(exec, "env"));
  for (const json& variable : variables) {
    if (!variable.is_object()) return user.Invalid("exec: env: must be a list of name and value");
    TRY(std::string name, file.Text(variable, "name"));
    TRY(std::string value, file.Text(variable, "value"));
    if (name.empty() || name.find('=') != std::string::npos) return user.Invalid("exec: env: a variable has no name");
    out.environment.emplace_back(std::move(name), std::move(value));
  }
  const auto has_zero = [](const std::string& text) { return text.find('\0') != std::string::npos; };
  const auto variable_has_zero = [&](const auto& pair) { return has_zero(pair.first) || has_zero(pair.second); };
  if (has_zero(out.command) || std::any_of(out.arguments.begin(), out.arguments.end(), has_zero) ||
      std::any_of(out.environment.begin(), out.environment.end(), variable_has_zero)) {
    return user.Invalid("exec: command, args and env cannot hold the character NUL");
  }
  TRY(out.install_hint, file.Text(exec, "installHint"));
  TRY_VOID(ReadInteractiveMode(user, exec, out));
  const auto provide = exec.find("provideClusterInfo");
  out.provide_cluster_info = provide != exec.end() && *provide == true;
  if (out.provide_cluster_info) {
    TRY(out.cluster_config, ReadClusterExtension(cluster));
  }
  return out;
}

base::Status RefuseWhatIsGone(const Kubeconfig::Entry& user) {
  const File& file = *user.file;
  if (file.Has(*user.object, "auth-provider")) {
    return user.Invalid(
        "auth-provider is not supported (Kubernetes 1.26 removed most of them): use the exec plugin of your provider, "
        "such as gke-gcloud-auth-plugin, kubelogin or kubectl oidc-login, or a token (kubectl create token NAME)");
  }
  for (const char* key : {"username", "password"}) {
    if (!file.Has(*user.object, key)) continue;
    return user.Invalid(
        fmt::format("{} is not supported (Kubernetes 1.19 removed basic authentication): use a client "
                    "certificate, an exec plugin or a token",
                    key));
  }
  return {};
}

base::Status ReadImpersonation(const Kubeconfig::Entry& user, kube::Impersonation& out) {
  const File& file = *user.file;
  TRY(out.user, file.Text(*user.object, "as"));
  TRY(out.uid, file.Text(*user.object, "as-uid"));
  TRY(out.groups, file.Texts(*user.object, "as-groups"));
  const auto extra = user.object->find("as-user-extra");
  if (extra == user.object->end() || extra->is_null()) return {};
  if (!extra->is_object()) return user.Invalid("as-user-extra: must be an object of lists");
  for (const auto& [key, values] : extra->items()) {
    TRY(out.extra[key], file.Texts(*extra, key.c_str()));
  }
  return {};
}

base::Status ReadUser(const Kubeconfig::Entry& entry, const Kubeconfig::Entry& cluster, kube::ClusterConfig& out) {
  const File& file = *entry.file;
  const json& user = *entry.object;
  TRY_VOID(RefuseWhatIsGone(entry));
  TRY_VOID(RefuseTwice(entry, {"client-certificate", "client-key"}));
  TRY_VOID(ReadImpersonation(entry, out.impersonation));
  TRY(out.token_file, file.Path(user, "tokenFile"));
  TRY(const std::string token, file.Text(user, "token"));
  // client-go asks the file for each request, and falls back to the token.
  if (!token.empty() && (out.token_file.empty() || !IsReadable(out.token_file))) {
    out.token = base::Secret(base::ToBytes(base::AsBytes(token)));
    out.token_file.clear();
  }
  if (file.Has(user, "exec") && out.token.empty() && out.token_file.empty()) {  // client-go prefers the token as well
    TRY(out.exec, ReadExec(entry, cluster));
  }
  TRY(out.client_certificate_file, file.Path(user, "client-certificate"));
  TRY(out.client_key_file, file.Path(user, "client-key"));
  TRY(const auto certificate, file.Data(user, "client-certificate-data"));
  TRY(auto key, file.Data(user, "client-key-data"));
  out.client_certificate_data = base::AsText(certificate);
  out.client_key_data = base::Secret(std::move(key));
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
  TRY_VOID(ReadCluster(cluster, out));
  TRY(const std::string user_name, entry.file->Text(*entry.object, "user"));
  if (!user_name.empty()) {
    TRY(const auto user, files.Find("users", "user", user_name));
    TRY_VOID(ReadUser(user, cluster, out));
  }
  if (const auto valid = kube::Validate(out); !valid) return entry.file->Invalid(valid.error().message);
  return out;
}

base::Result<kube::ClusterConfig> LoadKubeconfig(const std::string& path, std::string_view context) {
  return LoadKubeconfig(std::vector<std::string>{path}, context);
}

}  // namespace signet::config
