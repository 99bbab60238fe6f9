// signet-operator: the controllers of SigningPolicy and SigningRequest. docs/operator.md.
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <variant>

#include "base/kill_point.hpp"
#include "base/printable.hpp"
#include "kube/rest_store.hpp"
#include "operator/check_command.hpp"
#include "operator/command_line.hpp"
#include "operator/probe_command.hpp"
#include "operator/run.hpp"
#include "operator/setup_commands.hpp"
#include "process/hardening.hpp"
#include "process/signals.hpp"
#include "token/check.hpp"
#include "token/worker_hsm.hpp"

namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): before any thread
  return value == nullptr ? "" : value;
}

std::string FirstOf(const char* one, const char* other) {
  const std::string value = Variable(one);
  return value.empty() ? Variable(other) : value;
}

int End(const signet::app::Ending& ending) {
  if (!ending.line.empty())
    std::fprintf(stderr, "signet-operator: %s\n", signet::base::PrintableLine(ending.line).c_str());
  return static_cast<int>(ending.code);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace signet;
  if (auto worker = token::MaybeRunWorker(argc, argv)) return *worker;
  process::PrepareSignals();
  process::HardenBasics();
  const app::Environment environment{Variable("KUBERNETES_SERVICE_HOST"),
                                     Variable("KUBERNETES_SERVICE_PORT"),
                                     Variable("HOSTNAME"),
                                     Variable("SIGNET_POD_UID"),
                                     {FirstOf("HTTPS_PROXY", "https_proxy"), FirstOf("NO_PROXY", "no_proxy")}};
  if (auto ending = app::MaybeRunSetupCommand(argc, argv, environment)) return End(*ending);
  auto parsed = app::ParseCommandLine(argc, argv);
  if (const auto* ending = std::get_if<app::Ending>(&parsed)) return End(*ending);
  const auto& command = std::get<app::CommandLine>(parsed);
  if (command.probe) return End(app::RunProbe(command.health, command.live));
  // Before the first thread: a thread that runs already would not be confined.
  if (auto ending = command.check ? std::nullopt : app::Confine(command, environment)) return End(*ending);
  if (command.check) {
    if (const auto ended = token::ContinueCheckInChild()) return *ended;
  }
  kube::InitializeProcess();
  base::ArmKillPoint(Variable("SIGNET_KILL_POINT"));
  return End(command.check ? app::RunCheck(command, environment) : app::Run(command, environment));
}
