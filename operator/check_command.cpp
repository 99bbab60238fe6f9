#include "operator/check_command.hpp"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "api/json.hpp"
#include "base/printable.hpp"
#include "reconcile/pin_secret.hpp"
#include "reconcile/resources.hpp"
#include "token/check.hpp"

namespace signet::app {
namespace {

/// The configured store; nullptr: none is named. `ns` becomes the operator's namespace in a cluster.
base::Result<std::unique_ptr<kube::ObjectStore>> OpenStore(const CommandLine& command, const Environment& environment,
                                                           std::string& ns) {
  const auto& config = command.config;
  if (config.store.empty() && config.kubeconfig.empty() && environment.service_host.empty()) {
    return std::unique_ptr<kube::ObjectStore>();
  }
  if (!config.StoreFolder().empty()) return OpenFolder(config);
  auto store = OpenCluster(config, environment, {}, &ns);
  if (!config.leader_election.ns.empty()) ns = config.leader_election.ns;
  return store;
}

/// The keys that the store's policies name; when it cannot be read, there are none to check.
std::vector<encoding::Pkcs11Uri> KeysOf(kube::ObjectStore& store) {
  const auto policies = store.ListAll(reconcile::SigningPolicies());
  if (!policies) {
    std::printf("note  policies  not read, so their keys are not checked: %s\n",
                base::PrintableLine(policies.error().message).c_str());
    return {};
  }
  std::vector<encoding::Pkcs11Uri> keys;
  for (const auto& object : policies->items) {
    auto policy = api::PolicyFromJson(object);
    if (policy) {
      keys.push_back(policy->spec.key.uri);
    } else {
      std::printf("note  policy    %s\n", base::PrintableLine(policy.error().message).c_str());
    }
  }
  return keys;
}

/// The memory of the operator that runs with this configuration; nullptr: none is named.
std::shared_ptr<token::PinMemory> MemoryOf(const CommandLine& command, kube::ObjectStore* store,
                                           const std::string& ns) {
  if (store != nullptr && !ns.empty()) return std::make_shared<reconcile::SecretPinMemory>(*store, ns);
  const auto folder = config::PinStateFolder(command.config.hsm, command.config.audit);
  return folder.empty() ? nullptr : token::MakeFolderPinMemory(folder);
}

}  // namespace

Ending RunCheck(const CommandLine& command, const Environment& environment) {
  auto options = config::ToWorkerHsmOptions(command.config.hsm);
  if (!options) return Fail(ExitCode::kConfiguration, options.error());
  token::CheckOptions check;
  check.module = options->module;
  check.tokens = options->tokens;
  std::string ns;
  auto store = OpenStore(command, environment, ns);
  if (!store) {
    std::printf("note  policies  not read, so their keys are not checked: %s\n",
                base::PrintableLine(store.error().message).c_str());
  } else if (*store) {
    check.keys = KeysOf(**store);
  }
  check.login = command.login;
  if (command.login) check.pin_memory = MemoryOf(command, store ? store->get() : nullptr, ns);
  if (command.login && !check.pin_memory) return {ExitCode::kUsage, std::string(token::kLoginNeedsMemory)};
  check.on_line = token::PrintCheckLine;
  const auto report = token::Check(check);
  if (report.fatal_configuration)
    return {ExitCode::kConfiguration, "the configuration names no usable token: see above"};
  if (!report.ok) return {ExitCode::kHsm, "the HSM cannot be used as configured: see above"};
  return {};
}

}  // namespace signet::app
