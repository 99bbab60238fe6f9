// token/check.hpp - what `check` commands tell about module, tokens and keys.
//
// Blocking:      loads the PKCS#11 module into this process and blocks as long as it does: for
//                short-lived commands only.
// Thread-safety: none.
#pragma once

#include <string>
#include <vector>

#include "encoding/pkcs11_uri.hpp"
#include "token/worker_hsm.hpp"

namespace signet::token {

struct CheckLine {
  bool ok = false;
  std::string what;    ///< "module", "token", "login", "key", "mechanism"
  std::string detail;  ///< one line: what was found, or what to do
};

struct CheckOptions {
  std::string module;
  std::vector<TokenOptions> tokens;
  std::vector<encoding::Pkcs11Uri> keys;
  bool login = false;  ///< tries the PIN once; without it private keys may be invisible
  /// What is remembered of PINs, shared with the programs that serve; nullptr: nothing.
  std::shared_ptr<PinMemory> pin_memory;
};

struct CheckReport {
  std::vector<CheckLine> lines;
  bool ok = true;                    ///< every line is ok
  bool fatal_configuration = false;  ///< several tokens fit: waiting mends nothing
};

CheckReport Check(const CheckOptions& options);

}  // namespace signet::token
