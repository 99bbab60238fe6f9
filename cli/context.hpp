// cli/context.hpp - what main() knows of the outside, and the three ways to speak: result, note, failure.
//
// Results go to stdout, everything else to stderr, a line each. All of it passes the rule of base/printable.hpp, as
// texts of others are in it (artifact names, file names, comments, messages of servers).
//
// Thread-safety: none.
// Blocking:      as stdout and stderr do. A reader that has gone ends the process by SIGPIPE, quietly.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "cli/exit_code.hpp"
#include "kube/proxy.hpp"

namespace CLI {
class App;
}

namespace signet::cli {

/// Read by main, once. "" where a variable is not set.
struct Environment {
  std::string kubeconfig;  ///< KUBECONFIG
  std::string home;        ///< HOME
  std::string socket;      ///< SIGNET_SOCKET
  std::string kube_host, kube_port;
  std::string policy;  ///< SIGNET_POLICY
  kube::ProxyEnvironment proxy;
  std::string path;  ///< PATH
};

struct Context {
  std::string program = "signet";  ///< "kubectl signet" as a plugin
  Environment environment;
  bool in_is_terminal = false;
  int columns = 0;  ///< of the terminal that stdout is; 0: no limit
  /// Who was asked last, for an answer that cannot be read: "the API server https://...", "the socket /run/...".
  std::shared_ptr<std::string> asked = std::make_shared<std::string>();
  /// The command that the arguments named; set by its parse, run after it.
  std::function<ExitCode()> run;
};

/// Declares one command: purpose, then flags, then examples and exit codes. "{signet}" in the texts is the program's
/// name.
CLI::App* AddCommand(CLI::App& parent, Context& context, const char* name, std::string_view purpose,
                     std::string_view footer, std::function<ExitCode()> run);

/// Subcommands by the first line of their purpose, a blank line before the usage.
void UseOurHelp(CLI::App& app);
/// Adds a repeatable KEY=VALUE flag.
void AddPairsFlag(CLI::App& command, const char* flag, std::map<std::string, std::string>& pairs, const char* help);

/// To stdout, by the rule of base/printable.hpp. kFailed, with a line, when it cannot be written.
ExitCode Print(const Context& context, std::string_view text);
/// To stdout, byte for byte: signatures, and what is to be signed.
ExitCode PrintRaw(const Context& context, std::string_view text);
/// A line on stderr: progress, and what goes with a result.
void Note(std::string_view line);
/// "signet: LINE" on stderr. @return `code`
ExitCode Fail(const Context& context, ExitCode code, std::string_view line);
ExitCode Fail(const Context& context, ExitCode code, const base::Error& error);

/// Names who sent an answer with a member of another type than ours; `what` is the JSON library's message.
ExitCode FailOfAnswer(const Context& context, std::string_view what);

/// base::PrintableLine: one line in which nothing moves the cursor or hides or turns text.
std::string Clean(std::string_view text);
/// Characters that `text` shows, one column each.
std::size_t Width(std::string_view text);

}  // namespace signet::cli
