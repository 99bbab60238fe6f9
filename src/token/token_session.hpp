// token/token_session.hpp - one token inside a worker: module, login, key handles, and how they heal.
//
// Keeps one session for operations and a spare one, which carries the login while the first is replaced. A token that
// allows one session only is served with that. Key
// handles are kept per KeyRef: a search happens once per key and worker, and again after a loss; the
// key found again must have the public key it had.
// Proofs: no key leaves Find, and none signs, whose private half has not signed a fresh challenge that its
// public half verifies. A proof holds for one object and public key, until handles are forgotten, and an hour
// at most.
//
// Thread-safety: one thread.
// Blocking:      every call, for as long as the HSM does.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "encoding/pkcs11_uri.hpp"
#include "pkcs11/module.hpp"
#include "pkcs11/rv.hpp"
#include "pkcs11/session.hpp"
#include "token/hsm.hpp"

namespace signet::token {

/// Which token; see TokenOptions. A serial learnt earlier narrows it.
struct TokenChoice {
  std::optional<encoding::Pkcs11Uri> uri;
  std::string serial;
  [[nodiscard]] bool Fits(const pkcs11::TokenInfo& token) const;
};

/// What a worker must know to find a key again.
struct KeyIdentity {
  std::string label;
  base::Bytes id;
  base::Bytes spki;
};

/// A key that may be believed, and why.
struct ProvenKey {
  pkcs11::KeyRecord record;
  pkcs11::PossessionProof proof;
};

class TokenSession {
 public:
  enum class Health : std::uint8_t { kDown, kWantsLogin, kReady };

  TokenSession(std::string module_path, TokenChoice choice)
      : module_path_(std::move(module_path)), choice_(std::move(choice)) {}

  /// Loads, initialises, finds the token and opens the sessions; anything older is dropped first.
  /// @return kFailedPrecondition/ModuleFailed, kUnavailable/TokenNotFound, kFailedPrecondition/TokenAmbiguous.
  base::Status Open(int attempts);
  void Drop() noexcept;
  /// @return true: the token accepted the PIN. false: it is ready without having looked at it.
  base::Result<bool> Login(base::ByteView pin);
  /// The token's flags as they are now.
  [[nodiscard]] base::Result<pkcs11::TokenInfo> Refresh();

  /// Whether token and login are still there, asked of the token.
  [[nodiscard]] bool Alive() const;
  /// Repairs what an error with this consequence has broken; never logs in.
  Health Heal(pkcs11::Consequence consequence);
  [[nodiscard]] Health health() const { return health_; }
  [[nodiscard]] const pkcs11::TokenInfo& token() const { return token_; }
  /// Why the last Open failed.
  [[nodiscard]] const base::Error& trouble() const { return trouble_; }

  void DefineKey(KeyRef ref, KeyIdentity identity);
  /// Signs once; the caller decides about healing and repeating. `lost_key` in the outcome: the key was
  /// there before and is not found now.
  struct Outcome {
    pkcs11::SignOutcome sign;
    bool lost_key = false;
  };
  Outcome Sign(KeyRef ref, encoding::SignatureAlgorithm algorithm, base::ByteView input);
  base::Result<ProvenKey> Find(const encoding::Pkcs11Uri& uri);
  base::Result<ProvenKey> Generate(const encoding::Pkcs11Uri& uri, const GenerateSpec& spec);
  /// Whether the last Generate got as far as asking the token for a key.
  [[nodiscard]] bool generate_begun() const { return generate_begun_; }
  /// The proofs made for Sign since the last call; those of Find and Generate are in their answer.
  std::vector<KeyProof> TakeProofs() { return std::exchange(proofs_, {}); }

 private:
  struct CachedKey {
    KeyIdentity identity;
    bool defined = false;
    bool resolved_before = false;
    pkcs11::ObjectHandle handle = 0;
    int bits = 0;
    encoding::KeyAlgorithm algorithm{};
  };
  struct Held {
    pkcs11::ObjectHandle handle = 0;
    base::Bytes spki;
    pkcs11::PossessionProof proof;
    base::SteadyPoint made_at{};
  };

  base::Result<pkcs11::Session> OpenSession();
  base::Status OpenSessions();
  base::Status GenerateOn(const encoding::Pkcs11Uri& uri, const GenerateSpec& spec, base::ByteView id);
  base::Status Resolve(CachedKey& key);
  base::Result<pkcs11::KeyRecord> FindAgain(const KeyIdentity& identity) const;
  [[nodiscard]] base::Result<pkcs11::KeyRecord> FindLive(const pkcs11::KeyQuery& query) const;
  base::Result<ProvenKey> Prove(pkcs11::KeyRecord record);
  void Report(const pkcs11::KeyRecord& key, const pkcs11::PossessionProof& proof);
  void ForgetHandles(bool forget_history) noexcept;

  std::string module_path_;
  TokenChoice choice_;
  std::shared_ptr<pkcs11::Module> module_;
  pkcs11::TokenInfo token_;
  pkcs11::Session::Mode mode_ = pkcs11::Session::Mode::kReadOnly;
  std::optional<pkcs11::Session> parent_;  ///< nullopt: the token allows one session only
  std::optional<pkcs11::Session> session_;
  std::vector<CachedKey> keys_;  ///< by KeyRef
  std::vector<Held> held_;       ///< the proofs that hold
  std::vector<KeyProof> proofs_;
  Health health_ = Health::kDown;
  bool login_shown_ = false;  ///< the token shows a login in its sessions: without, it is lost
  base::Error trouble_;
  bool generate_begun_ = false;
  int strikes_ = 0;  ///< repairs since the last success
};

}  // namespace signet::token
