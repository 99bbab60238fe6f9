// signet: the command for people. docs/cli.md; exit codes in cli/exit_code.hpp.
#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "cli/audit_commands.hpp"
#include "cli/context.hpp"
#include "cli/decide.hpp"
#include "cli/keys.hpp"
#include "cli/policy_commands.hpp"
#include "cli/requests.hpp"
#include "cli/sign.hpp"
#include "cli/verify.hpp"
#include "cli/wait.hpp"
#include "config/empty_values.hpp"
#include "kube/rest_store.hpp"
#include "process/signals.hpp"

namespace {

using signet::cli::Context;
using signet::cli::ExitCode;

std::string Variable(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): before any thread
  return value == nullptr ? "" : value;
}

std::string FirstOf(const char* one, const char* other) {
  const std::string value = Variable(one);
  return value.empty() ? Variable(other) : value;
}

int Columns() {
  winsize size{};
  if (isatty(STDOUT_FILENO) == 0 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col;
}

Context MakeContext(std::string_view called) {
  Context context;
  // kubectl runs kubectl-signet for `kubectl signet`.
  if (called.substr(called.find_last_of('/') + 1).starts_with("kubectl-")) context.program = "kubectl signet";
  context.environment = {Variable("KUBECONFIG"),
                         Variable("HOME"),
                         Variable("SIGNET_SOCKET"),
                         Variable("KUBERNETES_SERVICE_HOST"),
                         Variable("KUBERNETES_SERVICE_PORT"),
                         Variable("SIGNET_POLICY"),
                         {FirstOf("HTTPS_PROXY", "https_proxy"), FirstOf("NO_PROXY", "no_proxy")},
                         Variable("PATH")};
  context.in_is_terminal = isatty(STDIN_FILENO) != 0;
  context.columns = Columns();
  return context;
}

CLI::App& Group(CLI::App& app, const char* name, const char* purpose) {
  auto* group = app.add_subcommand(name, purpose);
  group->require_subcommand(1);
  return *group;
}

void Declare(CLI::App& app, Context& context) {
  using namespace signet::cli;
  UseOurHelp(app);
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("signet ") + SIGNET_VERSION);
  AddSign(app, context);
  AddVerify(app, context);
  AddRequests(app, context);
  AddShow(app, context);
  AddApprove(app, context);
  AddDeny(app, context);
  AddKeys(app, context);
  AddWait(app, context);
  auto& policy = Group(app, "policy", "Policies: what they would say, and whether they say what they should");
  AddPolicyExplain(policy, context);
  AddPolicyTest(policy, context);
  auto& audit = Group(app, "audit", "The record of signatures");
  AddAuditVerify(audit, context);
  AddAuditQuery(audit, context);
  AddCommand(app, context, "version", "Print the version", "",
             [&context] { return Print(context, std::string("signet ") + SIGNET_VERSION + "\n"); });
}

/// The command that was meant, for the hint: "signet policy explain".
std::string Meant(const CLI::App& app, std::string program) {
  for (const auto* chosen = &app; !chosen->get_subcommands().empty();) {
    chosen = chosen->get_subcommands().front();
    program += " " + chosen->get_name();
  }
  return program;
}

}  // namespace

int main(int argc, char** argv) {
  Context context = MakeContext(argc > 0 ? argv[0] : "");
  CLI::App app("Sign with keys that never leave an HSM, and see to requests, approvals, policies and the record.",
               context.program);
  Declare(app, context);
  signet::config::RefuseEmptyValues(app);
  if (argc <= 1) {
    std::fputs(app.help().c_str(), stderr);
    return static_cast<int>(ExitCode::kUsage);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    return static_cast<int>(signet::cli::Fail(
        context, ExitCode::kUsage, std::string(error.what()) + "; see " + Meant(app, context.program) + " --help"));
  }
  signet::kube::InitializeProcess();
  signet::process::RaiseFileLimit();  // the files of a record are open together, so that none is moved away unread
  try {
    return static_cast<int>(context.run());
  } catch (const nlohmann::json::exception& error) {  // members of another type than ours
    return static_cast<int>(signet::cli::FailOfAnswer(context, error.what()));
  } catch (const std::exception& error) {
    return static_cast<int>(signet::cli::Fail(context, ExitCode::kFailed, error.what()));
  }
}
