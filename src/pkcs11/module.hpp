// pkcs11/module.hpp - one loaded PKCS#11 module: library, initialisation, tokens, mechanisms.
//
// Ownership:     a Module owns the dlopen handle and finalises what it initialised; sessions share it.
// Thread-safety: loading and (re)initialising are serialised within the process; other calls are as
//                safe as the module, which is asked to lock for itself.
// Blocking:      every call, for as long as the HSM does.
// Fork:          a child sees kUnavailable until it calls Initialise itself.
// Sources:       PKCS#11 v2.40 base: "General-purpose functions", "Slot and token management functions".
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "encoding/algorithm.hpp"

namespace signet::pkcs11 {

class Calls;  // calls.hpp

using SlotId = unsigned long;

/// A token as its slot shows it; texts without their padding.
struct TokenInfo {
  SlotId slot = 0;
  std::string label, manufacturer, model, serial;
  bool initialised = false;
  bool login_required = true;
  bool user_pin_initialised = false;
  bool pin_count_low = false;  ///< a wrong PIN was entered since the last right one
  bool pin_final_try = false;
  bool pin_locked = false;
  bool pin_pad = false;                  ///< the PIN is entered at the token itself
  std::size_t min_pin = 0, max_pin = 0;  ///< bytes; 0: the token gives no limit that makes sense
};

/// Of several tokens only the initialised ones, if there are any.
void PreferInitialised(std::vector<TokenInfo>& tokens);

struct ModuleInfo {
  std::string manufacturer, description;
  int cryptoki_major = 0, cryptoki_minor = 0;
  int library_major = 0, library_minor = 0;
};

class Module {
 public:
  /// Loads the library at `path` and takes its function list; calls nothing else.
  /// @return kFailedPrecondition, reason ModuleFailed: no such library, not PKCS#11 2.x or later.
  static base::Result<std::shared_ptr<Module>> Load(const std::string& path);
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  ~Module();

  /// Initialises the module for this process; a module that already is, stays so.
  base::Status Initialise();
  /// Finalises it if this process has initialised it. All sessions are gone afterwards.
  void Finalise() noexcept;

  [[nodiscard]] base::Result<ModuleInfo> Info() const;
  /// Tokens that are initialised, or at least have a label: some never set CKF_TOKEN_INITIALIZED.
  [[nodiscard]] base::Result<std::vector<TokenInfo>> Tokens() const;
  [[nodiscard]] base::Result<TokenInfo> Token(SlotId slot) const;

  /// Tokens that `wanted` accepts, as PreferInitialised leaves them. While there is none, finalises, waits with jitter
  /// and initialises again, `attempts` times in all: several processes that start on one SoftHSM folder at once may see
  /// no token at first.
  [[nodiscard]] base::Result<std::vector<TokenInfo>> AwaitTokens(const std::function<bool(const TokenInfo&)>& wanted,
                                                                 int attempts);

  /// What the token offers of our table for keys of this kind and size. An error only where the token is not there.
  [[nodiscard]] base::Result<std::vector<encoding::SignatureAlgorithm>> SignatureAlgorithms(SlotId slot,
                                                                                            encoding::KeyAlgorithm key,
                                                                                            int bits) const;

  [[nodiscard]] const Calls& calls() const { return *calls_; }

 private:
  [[nodiscard]] base::Result<std::vector<SlotId>> Slots(bool with_token) const;
  Module(void* library, std::unique_ptr<Calls> calls);

  void* library_;
  std::unique_ptr<Calls> calls_;
  bool initialised_ = false;
};

}  // namespace signet::pkcs11
