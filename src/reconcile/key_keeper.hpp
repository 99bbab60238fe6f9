// reconcile/key_keeper.hpp - which key a policy may use: found, pinned, or made once.
//
// Pin:      the keyID in the policy's status. It was taken at a generation of the policy (the
//           observedGeneration of the condition KeyProtected). While the policy still has that
//           generation, another key under the URI is KeyChanged and nothing is signed. An edit of
//           the spec (a higher generation) accepts the key that is found then, and says so.
// Following: a replica that does not lead takes the key that the status names, found by the URI in its own
//           session and held to the keyID. It makes none and writes nothing.
// Making:   only when nothing fits the URI, spec.key.generate is there, this process may (leader, or
//           sole holder of the store's lock), and neither the live status nor the audit record ever
//           named a key for a policy of this name. Otherwise an absent key is KeyLost.
//
// Thread-safety: Resolve from any thread but the reactor's; generation is serialised.
// Blocking:      for as long as the HSM does.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "api/types.hpp"
#include "audit/journal.hpp"
#include "base/reactor.hpp"
#include "token/hsm.hpp"

namespace signet::reconcile {

/// What a policy's status says of its key.
struct KeyPin {
  std::string key_id;
  std::int64_t generation = 0;  ///< of the policy, when the pin was taken
};

struct KeyAnswer {
  std::optional<token::KeyInfo> key;  ///< usable; nothing: `reason` and `message` say why
  std::string
      reason;  ///< KeyNotFound, KeyLost, KeyChanged, KeyAmbiguous, KeyNotUsable, KeyNotReady, HSMUnavailable, ...
  std::string message;
  bool generated = false;       ///< made by this call
  std::string replaced_key_id;  ///< the pin that an edit of the policy has let go
};

class KeyKeeper {
 public:
  /// True when a live read shows the policy unchanged and without a key in its status.
  using ConfirmUnpinned = std::function<base::Result<bool>()>;

  KeyKeeper(base::Reactor& reactor, token::Hsm& hsm, audit::Journal& journal)
      : reactor_(reactor), hsm_(hsm), journal_(journal) {}

  KeyAnswer Resolve(const api::SigningPolicy& policy, const std::optional<KeyPin>& pin, bool may_generate,
                    const ConfirmUnpinned& confirm_unpinned);
  /// For a replica that does not lead: the pinned key or none. KeyNotReady: the leader has yet to look.
  KeyAnswer Follow(const api::SigningPolicy& policy, const std::optional<KeyPin>& pin);

 private:
  base::Result<token::KeyInfo> Find(const encoding::Pkcs11Uri& uri);
  KeyAnswer Accept(const api::SigningPolicy& policy, const std::optional<KeyPin>& pin, token::KeyInfo key) const;
  KeyAnswer Refuse(const base::Error& error);
  KeyAnswer Absent(const api::SigningPolicy& policy, const std::optional<KeyPin>& pin, bool may_generate,
                   const ConfirmUnpinned& confirm_unpinned, const base::Error& not_found);
  KeyAnswer Generate(const api::SigningPolicy& policy, const std::optional<KeyPin>& pin);
  std::vector<std::string> EverNamed(const std::string& policy);
  base::Status RecordGenerated(const api::SigningPolicy& policy, const token::KeyInfo& key);

  base::Reactor& reactor_;
  token::Hsm& hsm_;
  audit::Journal& journal_;
  std::mutex generating_;  ///< one at a time: two policies may name one absent key
};

}  // namespace signet::reconcile
