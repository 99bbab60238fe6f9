// tests/unit/crypto/ssh_fixture.hpp - keys and signatures of the real ssh-keygen, and SSH's data types for tampering.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "encoding/text.hpp"
#include "support/temp_folder.hpp"

namespace signet::testing {

struct SshKind {
  const char* name;    ///< of the test
  const char* option;  ///< of ssh-keygen -t
  int bits;
  const char* algorithm;  ///< of the key
};
inline constexpr SshKind kSshKinds[] = {
    {"Ed25519", "ed25519", 256, "ssh-ed25519"},
    {"EcdsaP256", "ecdsa -b 256", 256, "ecdsa-sha2-nistp256"},
    {"EcdsaP384", "ecdsa -b 384", 384, "ecdsa-sha2-nistp384"},
    {"EcdsaP521", "ecdsa -b 521", 521, "ecdsa-sha2-nistp521"},
    {"Rsa2048", "rsa -b 2048", 2048, "ssh-rsa"},
};

class SshFolder {
 public:
  [[nodiscard]] std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  [[nodiscard]] std::string Read(const std::string& name) const { return folder_.Read(name); }
  void Write(const std::string& name, std::string_view text) const { folder_.Write(name, text); }

  /// The line of the public key.
  [[nodiscard]] std::string MakeKey(const std::string& name, const std::string& option,
                                    const std::string& comment = "alice@example.com") const {
    Run("ssh-keygen -q -t " + option + " -N '' -C '" + comment + "' -f " + path(name));
    return Read(name + ".pub");
  }
  [[nodiscard]] std::string Sign(const std::string& key, std::string_view message,
                                 const std::string& name_space = "signet-approval@signet.dev",
                                 const std::string& options = {}) const {
    Write("message", message);
    std::filesystem::remove(path("message.sig"));
    Run("ssh-keygen -q -Y sign -f " + path(key) + " -n '" + name_space + "' " + options + " " + path("message"));
    return Read("message.sig");
  }
  void Run(const std::string& command) const {
    ASSERT_EQ(std::system((command + " > /dev/null 2>&1").c_str()), 0) << command;
  }

 private:
  TempFolder folder_;
};

inline std::string U32(std::uint32_t value) {
  return {static_cast<char>(value >> 24U), static_cast<char>(value >> 16U), static_cast<char>(value >> 8U),
          static_cast<char>(value)};
}
inline std::string SshString(std::string_view text) {
  return U32(static_cast<std::uint32_t>(text.size())) + std::string(text);
}
inline std::string KeyLine(const std::string& algorithm, const std::string& blob, const std::string& comment = "c") {
  return algorithm + " " + encoding::ToBase64(base::AsBytes(blob)) + " " + comment;
}
inline std::string KeyBlob(const std::string& line) {
  std::istringstream fields(line);
  std::string algorithm, base64;
  fields >> algorithm >> base64;
  const auto blob = encoding::FromBase64(base64).value();
  return std::string(base::AsText(blob));
}

/// The parts of a signature file, to be put together otherwise.
struct SignatureParts {
  std::string magic = "SSHSIG";
  std::uint32_t version = 1;
  std::string key, name_space, reserved, hash, signature;
  std::string tail;

  static SignatureParts Of(const std::string& armored) {
    SignatureParts parts;
    std::string_view rest;
    const std::string blob = Unarmored(armored);
    rest = std::string_view(blob).substr(10);
    for (std::string* field : {&parts.key, &parts.name_space, &parts.reserved, &parts.hash, &parts.signature}) {
      *field = Take(rest);
    }
    return parts;
  }
  [[nodiscard]] std::string Blob() const {
    return magic + U32(version) + SshString(key) + SshString(name_space) + SshString(reserved) + SshString(hash) +
           SshString(signature) + tail;
  }
  [[nodiscard]] std::string Armored() const { return Armor(Blob()); }
  /// {algorithm, octets} of the inner signature.
  [[nodiscard]] std::pair<std::string, std::string> Inner() const {
    std::string_view rest = signature;
    std::string algorithm = Take(rest);
    return {algorithm, Take(rest)};
  }

  static std::string Armor(std::string_view blob, std::size_t column = 70, std::string_view end = "\n") {
    const std::string base64 = encoding::ToBase64(base::AsBytes(blob));
    std::string text = "-----BEGIN SSH SIGNATURE-----" + std::string(end);
    for (std::size_t at = 0; at < base64.size(); at += column) text += base64.substr(at, column) + std::string(end);
    return text + "-----END SSH SIGNATURE-----" + std::string(end);
  }
  static std::string Unarmored(const std::string& armored) {
    std::istringstream lines(armored);
    std::string base64;
    for (std::string line; std::getline(lines, line);) {
      if (line.find("-----") == std::string::npos) base64 += line;
    }
    const auto blob = encoding::FromBase64(base64).value();
    return std::string(base::AsText(blob));
  }

 private:
  static std::string Take(std::string_view& rest) {
    std::uint32_t size = 0;
    for (int i = 0; i < 4; ++i) size = size << 8U | static_cast<unsigned char>(rest.at(static_cast<std::size_t>(i)));
    std::string text(rest.substr(4, size));
    rest.remove_prefix(4 + size);
    return text;
  }
};

}  // namespace signet::testing
