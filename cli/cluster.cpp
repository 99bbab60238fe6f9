#include "cli/cluster.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "api/json.hpp"
#include "api/object_json.hpp"
#include "cli/exec_plugin.hpp"
#include "config/kubeconfig.hpp"
#include "reconcile/resources.hpp"

namespace signet::cli {
namespace {

using base::Code;
using nlohmann::json;

bool IsThere(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

/// The files to look at, in order; empty: none is named or there.
std::vector<std::string> KubeconfigFiles(const Context& context, const ClusterFlags& flags) {
  if (!flags.kubeconfig.empty()) return {flags.kubeconfig};
  const std::string& listed = context.environment.kubeconfig;
  std::vector<std::string> out;
  for (std::size_t at = 0; at < listed.size();) {
    const std::size_t end = std::min(listed.find(':', at), listed.size());
    const std::string file = listed.substr(at, end - at);
    if (!file.empty() && IsThere(file)) out.push_back(file);
    at = end + 1;
  }
  if (out.empty() && !listed.empty()) return {listed};  // named and absent: say so, instead of going elsewhere
  const std::string usual = context.environment.home + "/.kube/config";
  if (out.empty() && !context.environment.home.empty() && IsThere(usual)) out.push_back(usual);
  return out;
}

bool InPod(const Context& context) {
  return !context.environment.kube_host.empty() && IsThere(std::string(kube::kServiceAccountFolder) + "/token");
}

base::Result<kube::ClusterConfig> ReadConfig(const Context& context, const ClusterFlags& flags) {
  const auto files = KubeconfigFiles(context, flags);
  if (!files.empty()) return config::LoadKubeconfig(files, flags.context);
  if (InPod(context)) {
    return kube::InClusterConfig(kube::kServiceAccountFolder, context.environment.kube_host,
                                 context.environment.kube_port);
  }
  return base::MakeError(Code::kInvalidArgument, "NoCluster",
                         "no API server: set KUBECONFIG, or name a file with --kubeconfig");
}

base::Result<kube::ClusterConfig> FindConfig(const Context& context, const ClusterFlags& flags) {
  TRY(auto config, ReadConfig(context, flags));
  auto& impersonation = config.impersonation;
  if (!flags.as.empty()) impersonation.user = flags.as;
  if (!flags.as_uid.empty()) impersonation.uid = flags.as_uid;
  if (!flags.as_groups.empty()) impersonation.groups = flags.as_groups;
  if (config.exec) {
    TRY(config.credentials, MakePluginCredentials(config, context.environment.path, context.in_is_terminal));
  }
  TRY_VOID(kube::UseProxyOf(context.environment.proxy, config));
  return config;
}

template <class Parsed>
base::Error Unreadable(const Parsed& parsed, std::string_view what) {
  auto error = parsed.error();
  error.message = fmt::format("{} is not valid: {}", what, error.message);
  return error;
}

}  // namespace

void AddClusterFlags(CLI::App& command, ClusterFlags& flags) {
  command
      .add_option("--kubeconfig", flags.kubeconfig, "The kubeconfig (default: KUBECONFIG, ~/.kube/config, the pod's)")
      ->type_name("FILE");
  command.add_option("--context", flags.context, "The context of the kubeconfig")->type_name("NAME");
}

void AddImpersonationFlags(CLI::App& command, ClusterFlags& flags) {
  command.add_option("--as", flags.as, "Act as this user, if the API server lets you impersonate it")
      ->type_name("USER");
  command.add_option("--as-group", flags.as_groups, "Act as a member of this group (repeatable; needs --as)")
      ->type_name("GROUP")
      ->expected(1)
      ->take_all();
  command.add_option("--as-uid", flags.as_uid, "Act as the user with this uid (needs --as)")->type_name("UID");
}

void AddNamespaceFlag(CLI::App& command, ClusterFlags& flags) {
  command.add_option("-n,--namespace", flags.ns, "The namespace (default: the context's, else default)")
      ->type_name("NAME");
}

bool NamesCluster(const Context& context, const ClusterFlags& flags) {
  return !KubeconfigFiles(context, flags).empty() || InPod(context);
}

base::Result<Cluster> OpenCluster(const Context& context, const ClusterFlags& flags) {
  TRY(auto config, FindConfig(context, flags));
  Cluster cluster;
  cluster.ns = !flags.ns.empty() ? flags.ns : !config.namespace_name.empty() ? config.namespace_name : "default";
  *context.asked = "the API server " + config.server;
  kube::RestOptions options;
  options.field_manager = "signet-cli";
  auto opened = kube::RestStore::Open(std::move(config), std::move(options));
  if (!opened) return base::MakeError(Code::kInvalidArgument, "ConfigInvalid", opened.error().message);
  cluster.store = std::move(*opened);
  return cluster;
}

base::Result<FoundRequest> GetRequest(Cluster& cluster, std::string_view name) {
  FoundRequest out;
  TRY(out.object, cluster.store->Get(reconcile::SigningRequests(), cluster.ns, name));
  auto parsed = api::RequestFromJson(out.object);
  if (!parsed) return Unreadable(parsed, fmt::format("SigningRequest {}", name));
  out.request = std::move(*parsed);
  return out;
}

base::Result<FoundPolicy> GetPolicy(Cluster& cluster, std::string_view name) {
  FoundPolicy out;
  TRY(out.object, cluster.store->Get(reconcile::SigningPolicies(), "", name));
  auto parsed = api::PolicyFromJson(out.object);
  if (!parsed) return Unreadable(parsed, fmt::format("SigningPolicy {}", name));
  out.policy = std::move(*parsed);
  return out;
}

api::SigningRequest ReadLeniently(const json& object) {
  if (auto whole = api::RequestFromJson(object)) return std::move(*whole);
  api::SigningRequest out;
  if (auto metadata = api::MetadataFromJson(object)) out.metadata = std::move(*metadata);
  const json spec = object.value("spec", json::object());
  if (spec.is_object() && spec.contains("policyRef") && spec["policyRef"].is_object()) {
    const json name = spec["policyRef"].value("name", json());
    if (name.is_string()) out.spec.policy_name = name.get<std::string>();
  }
  if (const auto status = object.find("status"); status != object.end() && status->is_object()) {
    out.status = api::RequestStatusFromJson(*status);
  }
  return out;
}

std::string Plainly(const base::Error& error) {
  std::string text = error.message;
  if (error.native.source == "http") {
    // "POST /apis/...: message"
    const auto path = text.find(" /");
    const auto end = text.find(": ", path == std::string::npos ? 0 : path);
    if (path != std::string::npos && path < 8 && end != std::string::npos) text.erase(0, end + 2);
    // admission webhook "NAME" denied the request: message
    constexpr std::string_view kDenied = " denied the request: ";
    if (const auto denied = text.find(kDenied); denied != std::string::npos && text.starts_with("admission webhook")) {
      text = "refused: " + text.substr(denied + kDenied.size());
    }
  }
  return Clean(text);
}

ExitCode FailOf(const Context& context, const base::Error& error) {
  const bool configuration = error.reason == "NoCluster" || error.reason == "KubeconfigInvalid" ||
                             error.reason == "ConfigInvalid" || error.reason == kPluginFailed;
  const bool webhook = error.native.number == 403 && error.message.find(" denied the request") != std::string::npos;
  return Fail(context,
              configuration ? ExitCode::kConfiguration
              : webhook     ? ExitCode::kDenied
                            : ExitCode::kFailed,
              Plainly(error));
}

}  // namespace signet::cli
