// signing/key_pins.hpp - which key each policy's spec was first seen with.
//
// Kept in memory, and in FOLDER/policy-keys.json where a state folder is given.
//
// Thread-safety: none.
// Blocking:      Set and Forget write a small file, with fsync.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace signet::signing {

class KeyPins {
 public:
  /// @return kInvalidArgument, reason StateInvalid: the file is not one of ours
  static base::Result<KeyPins> Load(std::filesystem::path folder);

  /// The keyID pinned for this spec of this policy; empty: none.
  [[nodiscard]] std::string Find(std::string_view policy, std::string_view spec_hash) const;
  void Set(const std::string& policy, const std::string& spec_hash, const std::string& key_id);
  void Forget(std::string_view policy);

 private:
  struct Pin {
    std::string spec_hash;
    std::string key_id;
  };
  void Save() const;

  std::filesystem::path folder_;  ///< empty: memory only
  std::map<std::string, Pin, std::less<>> pins_;
};

}  // namespace signet::signing
