#include "operator/setup_commands.hpp"

#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>
#include <variant>

#include "base/file_lock.hpp"
#include "base/printable.hpp"
#include "config/empty_values.hpp"
#include "crypto/digest.hpp"
#include "encoding/text.hpp"
#include "kube/rest_store.hpp"
#include "pkcs11/setup.hpp"
#include "reconcile/webhook_configurations.hpp"
#include "token/pin_file.hpp"

namespace signet::app {
namespace {

constexpr std::chrono::seconds kLockPatience{60};  // another replica makes the token
constexpr std::size_t kPinOctets = 16;             // hex twice as long

base::Error CannotUse(const std::string& path, int error) {
  return base::MakeError(base::Code::kFailedPrecondition, "FolderUnusable",
                         path + ": " + std::generic_category().message(error));
}

base::Status MakeFolder(const std::string& path) {
  if (::mkdir(path.c_str(), S_IRWXU) != 0 && errno != EEXIST) return CannotUse(path, errno);
  return {};
}

/// The PIN of the file; a new one where there is none.
base::Result<base::Secret> EnsurePin(const std::string& path) {
  TRY(const auto present, token::ReadSmallFile(path));
  if (present.empty()) TRY_VOID(token::ReplaceFile(path, encoding::ToHex(crypto::RandomBytes(kPinOctets)) + "\n"));
  TRY(auto file, token::ReadPinFile(path));
  return std::move(file.pin);
}

base::Result<bool> MakeDevHsm(const std::string& folder, const std::string& module_path, const std::string& label) {
  TRY_VOID(MakeFolder(folder));
  // Replicas may share the folder: the first one makes the token, and the others find it.
  const std::string lock_path = folder + "/lock";
  TRY(const auto lock, base::OpenLockFile(lock_path));
  TRY(const auto state, base::AwaitLock(lock.get(), kLockPatience));
  if (state != base::LockState::kTaken) {
    return base::MakeError(base::Code::kUnavailable, "FolderLocked",
                           lock_path + " is locked by another process, which makes the token: try again when it ends");
  }
  TRY_VOID(MakeFolder(folder + "/tokens"));
  const std::string configuration = folder + "/softhsm2.conf";
  TRY_VOID(token::ReplaceFile(configuration, "directories.tokendir = " + folder +
                                                 "/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
                                                 "slots.removable = false\n"));
  TRY(const auto so_pin, EnsurePin(folder + "/so-pin"));
  TRY(const auto pin, EnsurePin(folder + "/pin"));
  ::setenv("SOFTHSM2_CONF", configuration.c_str(), 1);  // NOLINT(concurrency-mt-unsafe): the only thread
  TRY(const auto module, pkcs11::Module::Load(module_path));
  return pkcs11::EnsureToken(module, label, so_pin, pin);
}

std::optional<Ending> Parse(CLI::App& app, int argc, char** argv) {
  config::RefuseEmptyValues(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) return Ending{ExitCode::kUsage, std::string(error.what()) + "; try --help"};
    app.exit(error, std::cout, std::cerr);
    return Ending{};
  }
  return {};
}

Ending DevHsm(int argc, char** argv) {
  CLI::App app("Makes a SoftHSM token in a folder, with a random PIN, for a first try. Not for production.",
               "signet-operator dev-hsm");
  std::string folder, module = "/usr/lib/softhsm/libsofthsm2.so", label = "signet-dev";
  app.add_option("FOLDER", folder, "where configuration, PIN and token are kept")->required();
  app.add_option("--pkcs11-module", module, "SoftHSM's library")->capture_default_str();
  app.add_option("--token", label, "label of the token")->capture_default_str();
  if (auto ending = Parse(app, argc, argv)) return *ending;
  while (folder.size() > 1 && folder.back() == '/') folder.pop_back();
  const auto made = MakeDevHsm(folder, module, label);
  if (!made) return Fail(ExitCode::kConfiguration, made.error());
  std::printf("token %s in %s: %s\n", base::PrintableLine(label).c_str(), base::PrintableLine(folder).c_str(),
              *made ? "made" : "was there already");
  return {};
}

Ending RemoveWebhooks(int argc, char** argv, const Environment& environment) {
  CLI::App app("Deletes the webhook configurations signet.dev: what an operator leaves behind when it is uninstalled.",
               "signet-operator remove-webhooks");
  config::OperatorConfig config;
  app.add_option("--kubeconfig", config.kubeconfig, "the API server; without it: the cluster we run in");
  app.add_option("--context", config.context, "context of the kubeconfig");
  if (auto ending = Parse(app, argc, argv)) return *ending;
  kube::InitializeProcess();
  auto store = OpenCluster(config, environment, {}, nullptr);
  if (!store) return Fail(ExitCode::kConfiguration, store.error());
  for (const auto* resource :
       {&reconcile::MutatingWebhookConfigurations(), &reconcile::ValidatingWebhookConfigurations()}) {
    const auto gone = (*store)->Delete(*resource, "", reconcile::kWebhookConfiguration, "");
    if (!gone && gone.error().code != base::Code::kNotFound) return Fail(ExitCode::kOther, gone.error());
    std::printf("%s signet.dev: %s\n", resource->kind.c_str(), gone ? "deleted" : "is not there");
  }
  return {};
}

}  // namespace

std::optional<Ending> MaybeRunSetupCommand(int argc, char** argv, const Environment& environment) {
  const std::string_view command = argc > 1 ? argv[1] : "";
  if (command == "dev-hsm") return DevHsm(argc - 1, argv + 1);
  if (command == "remove-webhooks") return RemoveWebhooks(argc - 1, argv + 1, environment);
  return {};
}

}  // namespace signet::app
