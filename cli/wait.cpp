#include "cli/wait.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/clock.hpp"
#include "cli/sign.hpp"
#include "cli/socket.hpp"
#include "config/reader.hpp"

namespace signet::cli {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr const char* kWaitPurpose = R"(Wait until the socket of the sidecar is there and ready.

For the first step of a pipeline whose container starts before its sidecar. With --policy (or SIGNET_POLICY) also until
that policy's key can be used. The socket is --socket, else SIGNET_SOCKET, else /run/signet/signet.sock.)";
constexpr const char* kWaitFooter = R"(Examples:
  {signet} wait && {signet} sign --policy release app.tar.gz -o app.tar.gz.sig
  {signet} wait --policy release --timeout 5m

Exit codes: 0 ready; 2 usage; 5 the policy is not for you; 6 not ready after --timeout.)";

// Who is told no socket and finds none at the usual place has most likely no sidecar.
constexpr const char* kNotInjected =
    ", and SIGNET_SOCKET is not set: was the label signet.dev/inject=true there when the pod was made?";

constexpr milliseconds kPause{100};
constexpr milliseconds kLongestCall{5'000};

struct WaitFlags {
  std::string socket, policy;
  std::string timeout = "60s";
  bool quiet = false;
};

/// Ok: ready. "NotAllowed": waiting mends nothing.
base::Status Look(const http::UnixClient& client, const std::string& policy, milliseconds deadline) {
  TRY([[maybe_unused]] const json ready, Call(client, {"GET", "/readyz", {}, ""}, deadline));
  if (policy.empty()) return {};
  TRY(const json key, GetKey(client, policy));
  if (key.value("suspended", false)) {
    return base::MakeError(base::Code::kUnavailable, "Suspended", fmt::format("policy {} is suspended", policy));
  }
  if (key.value("ready", false)) return {};
  std::string message = key.value("message", "");
  if (message.empty()) message = fmt::format("the key of policy {} cannot be used yet", policy);
  return base::MakeError(base::Code::kUnavailable, key.value("reason", ""), std::move(message));
}

ExitCode RunWait(const Context& context, const WaitFlags& flags) {
  const auto timeout = config::ParseTimespan(flags.timeout);
  if (!timeout) return Fail(context, ExitCode::kUsage, "--timeout: " + timeout.error().message);
  const std::string found = FindSocket(context, flags.socket);
  const http::UnixClient client(found.empty() ? kUsualSocket : found);
  const auto end = base::SystemClock().Steady() + *timeout;
  Progress progress(flags.quiet);
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(end - base::SystemClock().Steady());
    const auto looked = Look(client, flags.policy, std::clamp(left, kPause, kLongestCall));
    if (looked) return ExitCode::kDone;
    const auto& error = looked.error();
    if (error.code == base::Code::kInvalidArgument && error.native.source.empty())
      return Fail(context, ExitCode::kUsage, error);
    if (error.native.source == "http" && error.native.number == 403) return FailOfSocket(context, error);
    std::string why = error.reason.empty() ? error.message : fmt::format("{}: {}", error.reason, error.message);
    if (found.empty() && error.code == base::Code::kNotFound && error.native.source != "http") why += kNotInjected;
    if (base::SystemClock().Steady() + kPause >= end) {
      return Fail(context, ExitCode::kTimedOut, fmt::format("not ready after {}: {}", flags.timeout, why));
    }
    progress.Say("waiting: " + why);
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace

void AddWait(CLI::App& parent, Context& context) {
  auto flags = std::make_shared<WaitFlags>();
  flags->policy = context.environment.policy;
  auto* command = AddCommand(parent, context, "wait", kWaitPurpose, kWaitFooter,
                             [&context, flags] { return RunWait(context, *flags); });
  command->add_option("--socket", flags->socket, "The socket of a sidecar")->type_name("PATH");
  command->add_option("--policy", flags->policy, "Wait for the key of this SigningPolicy, too")->type_name("NAME");
  command->add_option("--timeout", flags->timeout, "How long to wait, such as 10s, 60s (default) or 5m")
      ->type_name("TIME");
  command->add_flag("-q,--quiet", flags->quiet, "No progress on stderr");
}

}  // namespace signet::cli
