#include "cli/keys.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "api/json.hpp"
#include "cli/cluster.hpp"
#include "cli/output.hpp"
#include "cli/signature_check.hpp"
#include "cli/socket.hpp"
#include "cli/table.hpp"
#include "reconcile/resources.hpp"

namespace signet::cli {
namespace {

using nlohmann::json;

constexpr const char* kKeysPurpose = R"(Show the public keys of policies.

From the socket of a sidecar (--socket, SIGNET_SOCKET, /run/signet/signet.sock if it is there), which lists the policies
that list you (only SIGNET_POLICY, where that is set: --all shows the others); or from the status of SigningPolicies (--cluster; the default where there is no socket).)";
constexpr const char* kKeysFooter = R"(Examples:
  {signet} keys
  {signet} keys release -o pem > release.pem
  {signet} keys -o json | jq -r '.keys[] | select(.ready) | .policy'

Exit codes: 0 shown; 1 failed, or a named policy has no key; 2 usage; 3 no socket, no kubeconfig; 5 not allowed.)";

struct KeysFlags {
  std::string policy, socket;
  bool from_cluster = false;
  bool all = false;
  ClusterFlags cluster;
  Format format = Format::kTable;
};

/// The shape of the socket's answer (docs/openapi.yaml, Key), whatever the source.
json KeyOf(const api::SigningPolicy& policy) {
  json out = {{"policy", policy.metadata.name}, {"algorithms", json::array()}, {"suspended", policy.spec.suspend}};
  for (const auto algorithm : policy.spec.algorithms) out["algorithms"].push_back(encoding::Info(algorithm).name);
  if (const auto& key = policy.status.key) {
    out["keyID"] = key->key_id;
    out["algorithm"] = encoding::Name(key->algorithm);
    out["size"] = key->size;
    out["publicKey"] = key->public_key;
  }
  const auto* ready = api::FindCondition(policy.status.conditions, "Ready");
  out["ready"] = ready != nullptr && ready->status;
  if (ready == nullptr || !ready->status) {
    out["reason"] = ready == nullptr ? "Pending" : ready->reason;
    out["message"] = ready == nullptr ? "the operator has not looked at it yet" : ready->message;
  }
  return out;
}

base::Result<std::vector<json>> FromCluster(const Context& context, const KeysFlags& flags) {
  TRY(auto cluster, OpenCluster(context, flags.cluster));
  std::vector<json> keys;
  if (!flags.policy.empty()) {
    TRY(const auto found, GetPolicy(cluster, flags.policy));
    keys.push_back(KeyOf(found.policy));
    return keys;
  }
  TRY(const auto list, cluster.store->ListAll(reconcile::SigningPolicies()));
  for (const json& object : list.items) {
    auto policy = api::PolicyFromJson(object);
    if (policy) {
      keys.push_back(KeyOf(*policy));
    } else if (const auto metadata = api::MetadataFromJson(object)) {
      Note(fmt::format("note: SigningPolicy {} is not valid: {}", metadata->name, policy.error().message));
    }
  }
  return keys;
}

base::Result<std::vector<json>> FromSocket(const KeysFlags& flags, const std::string& socket) {
  const http::UnixClient client(socket);
  std::vector<json> keys;
  if (!flags.policy.empty()) {
    TRY(json key, GetKey(client, flags.policy));
    keys.push_back(std::move(key));
    return keys;
  }
  TRY(const json answer, GetKeys(client));
  for (json key : answer.value("keys", json::array())) {
    if (flags.format == Format::kPem && key.value("ready", false)) {
      TRY(key, GetKey(client, key.value("policy", "")));  // the list has no PEM
    }
    keys.push_back(std::move(key));
  }
  return keys;
}

std::string TableOf(const std::vector<json>& keys, int columns) {
  Table table({"POLICY", "KEY", "SIZE", "ALGORITHMS", "READY", "KEY ID"});
  for (const json& key : keys) {
    std::string algorithms;
    for (const json& name : key.value("algorithms", json::array())) {
      algorithms += (algorithms.empty() ? "" : ",") + name.get<std::string>();
    }
    const std::string ready = key.value("suspended", false) ? "Suspended"
                              : key.value("ready", false)   ? "True"
                                                            : key.value("reason", "False");
    const int size = key.value("size", 0);
    table.Add({key.value("policy", ""), key.value("algorithm", ""), size > 0 ? std::to_string(size) : "", algorithms,
               ready, key.value("keyID", "")});
  }
  return table.Render(columns);
}

ExitCode Show(const Context& context, const KeysFlags& flags, const std::vector<json>& keys) {
  switch (flags.format) {
    case Format::kPem: {
      std::string pem;
      for (const json& key : keys) {
        const auto one = key.value("publicKey", "");
        if (one.empty()) continue;
        if (const auto checked = CheckKeyID(one, key.value("keyID", "")); !checked) {
          return Fail(context, ExitCode::kFailed, checked.error());
        } else {
          pem += checked->pem();
        }
      }
      if (pem.empty()) return Fail(context, ExitCode::kFailed, "no key is there yet: see `keys` without -o pem");
      return Print(context, pem);
    }
    case Format::kJson:
    case Format::kYaml:
      return Print(context, Render(flags.policy.empty() ? json{{"keys", keys}} : keys.front(), flags.format));
    default:
      break;
  }
  if (keys.empty()) {
    Note("No policies found.");
    return ExitCode::kDone;
  }
  return Print(context, TableOf(keys, context.columns));
}

ExitCode RunKeys(const Context& context, KeysFlags flags) {
  const std::string socket = flags.from_cluster ? "" : FindSocket(context, flags.socket);
  if (flags.policy.empty() && !flags.all && !socket.empty()) flags.policy = context.environment.policy;
  auto keys = socket.empty() ? FromCluster(context, flags) : FromSocket(flags, socket);
  if (!keys) return socket.empty() ? FailOf(context, keys.error()) : FailOfSocket(context, keys.error());
  std::sort(keys->begin(), keys->end(),
            [](const json& left, const json& right) { return left.value("policy", "") < right.value("policy", ""); });
  return Show(context, flags, *keys);
}

}  // namespace

void AddKeys(CLI::App& parent, Context& context) {
  auto flags = std::make_shared<KeysFlags>();
  auto* command = AddCommand(parent, context, "keys", kKeysPurpose, kKeysFooter,
                             [&context, flags] { return RunKeys(context, *flags); });
  command->add_option("POLICY", flags->policy, "Only this policy");
  auto* socket = command->add_option("--socket", flags->socket, "The socket of a sidecar")->type_name("PATH");
  command->add_flag("--all", flags->all, "Every policy, also where SIGNET_POLICY names one");
  command->add_flag("--cluster", flags->from_cluster, "From the API server")->excludes(socket);
  AddClusterFlags(*command, flags->cluster);
  AddImpersonationFlags(*command, flags->cluster);
  AddOutputFlag(*command, flags->format, {Format::kTable, Format::kJson, Format::kYaml, Format::kPem});
}

}  // namespace signet::cli
