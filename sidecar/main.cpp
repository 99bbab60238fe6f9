// signet-sidecar: signatures for the containers of a pod, on a socket. docs/protocol.md.
#include <cstdio>
#include <cstdlib>
#include <variant>

#include "base/kill_point.hpp"
#include "base/printable.hpp"
#include "process/hardening.hpp"
#include "process/signals.hpp"
#include "sidecar/check_command.hpp"
#include "sidecar/command_line.hpp"
#include "sidecar/gateway_check.hpp"
#include "sidecar/probe_command.hpp"
#include "sidecar/wiring.hpp"
#include "token/check.hpp"
#include "token/worker_hsm.hpp"

namespace {

int End(const signet::app::Ending& ending) {
  if (!ending.line.empty())
    std::fprintf(stderr, "signet-sidecar: %s\n", signet::base::PrintableLine(ending.line).c_str());
  return static_cast<int>(ending.code);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace signet;
  if (auto worker = token::MaybeRunWorker(argc, argv)) return *worker;
  process::PrepareSignals();
  process::HardenBasics();
  auto parsed = app::ParseCommandLine(argc, argv);
  if (const auto* ending = std::get_if<app::Ending>(&parsed)) return End(*ending);
  const auto& command = std::get<app::CommandLine>(parsed);
  if (command.probe) return End(app::RunProbe(command.config.socket_path));
  const char* kill_point = std::getenv("SIGNET_KILL_POINT");  // NOLINT(concurrency-mt-unsafe): before any thread
  base::ArmKillPoint(kill_point == nullptr ? "" : kill_point);
  if (command.check && command.config.gateway_mode()) return End(app::RunGatewayCheck(command.config));
  if (command.check) {
    if (const auto ended = token::ContinueCheckInChild()) return *ended;
  }
  return End(command.check ? app::RunCheck(command) : app::Run(command.config));
}
