#include "operator/check_command.hpp"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "api/json.hpp"
#include "base/printable.hpp"
#include "reconcile/resources.hpp"
#include "token/check.hpp"

namespace signet::app {
namespace {

/// The keys that the store's policies name; without a store, or when it cannot be read, there are none to check.
std::vector<encoding::Pkcs11Uri> KeysOf(const CommandLine& command, const Environment& environment) {
  const auto& config = command.config;
  if (config.store.empty() && config.kubeconfig.empty() && environment.service_host.empty()) return {};
  auto store = config.StoreFolder().empty() ? OpenCluster(config, environment, {}, nullptr) : OpenFolder(config);
  base::Result<kube::List> policies = store ? (*store)->ListAll(reconcile::SigningPolicies()) : store.error();
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

}  // namespace

Ending RunCheck(const CommandLine& command, const Environment& environment) {
  auto options = config::ToWorkerHsmOptions(command.config.hsm);
  if (!options) return Fail(ExitCode::kConfiguration, options.error());
  token::CheckOptions check;
  check.module = options->module;
  check.tokens = options->tokens;
  check.keys = KeysOf(command, environment);
  check.login = command.login;
  const auto report = token::Check(check);
  for (const auto& line : report.lines) {
    std::printf("%-5s %-9s %s\n", line.ok ? "ok" : "FAIL", line.what.c_str(), base::PrintableLine(line.detail).c_str());
  }
  if (report.fatal_configuration)
    return {ExitCode::kConfiguration, "the configuration names no usable token: see above"};
  if (!report.ok) return {ExitCode::kHsm, "the HSM cannot be used as configured: see above"};
  return {};
}

}  // namespace signet::app
