// token/check.hpp - what `check` commands tell about module, tokens and keys.
//
// Blocking:      loads the PKCS#11 module into this process and blocks as long as it does: for
//                short-lived commands only, and in a child (ContinueCheckInChild).
// Thread-safety: none.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "encoding/pkcs11_uri.hpp"
#include "token/worker_hsm.hpp"

namespace signet::token {

inline constexpr std::string_view kLoginNeedsMemory =
    "check --login needs the place where the service remembers refused PINs, so that no PIN is tried twice: name its "
    "--state-dir or --audit, or the API server";

struct CheckLine {
  bool ok = false;
  std::string what;    ///< "module", "token", "login", "key", "mechanism"
  std::string detail;  ///< one line: what was found, or what to do
};
/// On stdout, at once: the module may crash in the next call.
void PrintCheckLine(const CheckLine& line);

struct CheckOptions {
  std::string module;
  std::vector<TokenOptions> tokens;
  std::vector<encoding::Pkcs11Uri> keys;
  bool login = false;  ///< tries the PIN once; without it private keys may be invisible
  /// What is remembered of PINs, shared with the programs that serve; nullptr: nothing.
  std::shared_ptr<PinMemory> pin_memory;
  std::function<void(const CheckLine&)> on_line;  ///< called with each line of the report as soon as it is known
};

struct CheckReport {
  std::vector<CheckLine> lines;
  bool ok = true;                    ///< every line is ok
  bool fatal_configuration = false;  ///< several tokens fit: waiting mends nothing
};

CheckReport Check(const CheckOptions& options);

/// Goes on in a child, so that a module that crashes or hangs is a line of the report and no silence. Before any
/// thread.
/// @return in the child: nullopt; in the parent, once the child has ended: the exit code
std::optional<int> ContinueCheckInChild(std::chrono::seconds limit = std::chrono::seconds(90));

}  // namespace signet::token
