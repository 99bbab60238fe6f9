#include "sidecar/check_command.hpp"

#include <cstdio>

#include "base/printable.hpp"
#include "signing/policy_set.hpp"
#include "token/check.hpp"

namespace signet::app {
namespace {

void Print(const char* verdict, const std::string& what, const std::string& detail) {
  std::printf("%-5s %-9s %s\n", verdict, what.c_str(), base::PrintableLine(detail).c_str());
}

/// The keys that the policies name.
base::Result<std::vector<encoding::Pkcs11Uri>> KeysOf(const std::string& folder) {
  std::vector<encoding::Pkcs11Uri> keys;
  auto files = signing::PolicyFiles(folder);
  TRY(const auto set, signing::LoadPolicySet(files, folder, base::SystemClock()));
  for (const auto& [name, reading] : set.policies) {
    Print("ok", "policy", name);
    keys.push_back(reading.policy->policy.spec.key.uri);
  }
  return keys;
}

}  // namespace

Ending RunCheck(const CommandLine& command) {
  auto options = config::ToWorkerHsmOptions(command.config.hsm);
  if (!options) return Fail(ExitCode::kConfiguration, options.error());
  token::CheckOptions check;
  check.module = options->module;
  check.tokens = options->tokens;
  check.login = command.login;
  const auto folder = config::PinStateFolder(command.config.hsm, command.config.audit);
  if (command.login && folder.empty()) return {ExitCode::kUsage, std::string(token::kLoginNeedsMemory)};
  if (command.login) check.pin_memory = token::MakeFolderPinMemory(folder);
  if (!command.config.policies.empty()) {
    auto keys = KeysOf(command.config.policies);
    if (!keys) {
      Print("FAIL", "policies", base::Describe(keys.error()));
      return {ExitCode::kConfiguration, "the policies are not valid: see above"};
    }
    check.keys = std::move(*keys);
  }
  check.on_line = token::PrintCheckLine;
  const auto report = token::Check(check);
  if (report.fatal_configuration)
    return {ExitCode::kConfiguration, "the configuration names no usable token: see above"};
  if (!report.ok) return {ExitCode::kHsm, "the HSM cannot be used as configured: see above"};
  return {};
}

}  // namespace signet::app
