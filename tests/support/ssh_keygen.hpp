// tests/support/ssh_keygen.hpp - key pairs and signatures by the real ssh-keygen.
#pragma once

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "support/temp_folder.hpp"

namespace signet::testing {

/// Somebody with an SSH key; throws where ssh-keygen is missing, so that no test passes without it.
class SshSigner {
 public:
  explicit SshSigner(const std::string& type = "ed25519") {
    Run("ssh-keygen -q -t " + type + " -N '' -C tester -f " + Path("key"));
    public_key_ = folder_.Read("key.pub");
    while (!public_key_.empty() && public_key_.back() == '\n') public_key_.pop_back();
  }
  /// One line, as in authorized_keys.
  [[nodiscard]] const std::string& public_key() const { return public_key_; }
  /// Armoured signature over `message`.
  [[nodiscard]] std::string Sign(const std::string& message, const std::string& ssh_namespace) const {
    folder_.Write("message", message);
    Run("rm -f " + Path("message.sig") + " && ssh-keygen -q -Y sign -n " + ssh_namespace + " -f " + Path("key") + " " +
        Path("message") + " 2>/dev/null");
    return folder_.Read("message.sig");
  }

 private:
  [[nodiscard]] std::string Path(const char* name) const { return (folder_.path() / name).string(); }
  static void Run(const std::string& command) {
    if (std::system(command.c_str()) != 0) throw std::runtime_error("failed: " + command);  // NOLINT
  }
  TempFolder folder_;
  std::string public_key_;
};

}  // namespace signet::testing
