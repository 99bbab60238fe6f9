// tests/support/softhsm.hpp - a SoftHSM token of one test: folder, configuration, PIN file.
//
// Sets SOFTHSM2_CONF for this process and its children; one SoftHsm at a time per process.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "support/temp_folder.hpp"

namespace signet::testing {

class SoftHsm {
 public:
  static constexpr const char* kPin = "246813";
  static constexpr const char* kSoPin = "97531";

  /// One token with label "signet-test".
  SoftHsm() {
    std::filesystem::create_directory(token_folder());
    folder_.Write("softhsm2.conf", "directories.tokendir = " + token_folder().string() +
                                       "\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n");
    ::setenv("SOFTHSM2_CONF", configuration().c_str(), 1);
    AddToken(kLabel);
    folder_.Write("pin", std::string(kPin) + "\n");
  }

  static constexpr const char* kLabel = "signet-test";

  void AddToken(const std::string& label) const {
    Run("softhsm2-util --init-token --free --label " + label + " --pin " + kPin + " --so-pin " + kSoPin);
  }
  /// As if the HSM were gone: moves the token folder away, and back.
  void MoveAway() const { std::filesystem::rename(token_folder(), folder_.path() / "away"); }
  void MoveBack() const { std::filesystem::rename(folder_.path() / "away", token_folder()); }

  static std::string module() {
    for (const char* path : {"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
                             "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"}) {
      if (std::filesystem::exists(path)) return path;
    }
    throw std::runtime_error("SoftHSM is not installed: run ./dev setup");
  }
  [[nodiscard]] std::string pin_file() const { return (folder_.path() / "pin").string(); }
  [[nodiscard]] std::string configuration() const { return (folder_.path() / "softhsm2.conf").string(); }
  [[nodiscard]] std::filesystem::path token_folder() const { return folder_.path() / "tokens"; }
  [[nodiscard]] const TempFolder& folder() const { return folder_; }

 private:
  static void Run(const std::string& command) {
    if (std::system((command + " > /dev/null").c_str()) != 0) throw std::runtime_error("failed: " + command);
  }

  TempFolder folder_;
};

}  // namespace signet::testing
