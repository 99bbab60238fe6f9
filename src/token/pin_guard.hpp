// token/pin_guard.hpp - whether a PIN may be tried at a token: pure bookkeeping, no files, no HSM, no PIN.
//
// One guard holds what all who share it know of one token: which PINs it accepted, refused, or left open, and who tries
// one now. A PIN is named by its fingerprint: PBKDF2 with a random key that is kept with the guard's text, so that the
// text alone, or two texts together, say nothing. Who has text and key can still try guesses: docs/threat_model.md.
//
// A claim comes before each attempt, so that of several processes one tries. A claim whose holder died stays until it
// is known that the holder is gone, or until its time is over; the attempt then counts as one without an answer. Only
// an answer that says "wrong PIN" refuses a PIN for good. After any other answer, or none, a PIN that was never
// accepted is tried again after a pause that doubles; one that was accepted before, after an attempt without an answer.
//
// Thread-safety: none.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "pkcs11/module.hpp"

namespace signet::token {

enum class LoginOutcome : std::uint8_t {
  kAccepted,
  kRefused,     ///< wrong: never try this PIN again
  kUnclear,     ///< trouble of the device, and the PIN was never accepted: try again later
  kUncounted,   ///< the token did not look at the PIN, or the PIN was accepted before: nothing is known that was not
  kUnanswered,  ///< no answer: the worker crashed, hung or was killed
};

/// How the token's own flags for wrong PINs changed in an attempt.
struct PinFlags {
  bool counted = false;  ///< one of them was set by the attempt
  bool locked = false;   ///< the token says that the PIN is locked
};
PinFlags FlagsSince(const pkcs11::TokenInfo& before, const pkcs11::TokenInfo& now);
/// What the answer to C_Login says about the PIN. A PIN that was accepted before is refused by PIN_INCORRECT alone, or
/// by PIN_LOCKED of a token whose flags do not tell when it is unlocked.
LoginOutcome ClassifyLogin(const base::Status& login, bool known_good, PinFlags flags);

/// Names a PIN without telling it. Takes some 50 ms: guessing is to be slow.
std::string PinFingerprint(const base::Secret& pin, base::ByteView key);

/// Where a guard's text is kept: one name per token.
std::string PinMemoryName(const pkcs11::TokenInfo& token);

class PinGuard {
 public:
  struct Verdict {
    enum class Kind : std::uint8_t {
      kTry,
      kTaken,       ///< another attempt is under way: ask again soon
      kWait,        ///< not before `until`
      kRefused,     ///< never
      kKeyChanged,  ///< the memory was removed or made anew: take the fingerprint again
    };
    Kind kind = Kind::kTry;
    base::TimePoint until{};
    bool known_good = false;  ///< kTry: the token accepted this PIN before
    std::string answer;       ///< kWait, kRefused: what the token said, and when
  };

  /// A guard that knows nothing, with a key of its own.
  explicit PinGuard(const pkcs11::TokenInfo& token);
  /// An empty text: a new guard. kFailedPrecondition/StateUnreadable: not a text of ours.
  static base::Result<PinGuard> Parse(const std::string& text, const pkcs11::TokenInfo& token);
  [[nodiscard]] std::string Format() const;
  [[nodiscard]] const base::Bytes& key() const { return key_; }

  /// Takes the turn for one attempt, which ends by `now + limit`. `is_gone` tells whether the holder of another claim
  /// has ended; empty: nobody can tell.
  Verdict Claim(const std::string& pin, base::ByteView key, const std::string& holder, base::TimePoint now,
                base::Duration limit, const std::function<bool(const std::string&)>& is_gone = {});
  /// The attempt of `holder` has this end. An end that says nothing new is dropped if the claim is gone.
  void Settle(const std::string& pin, const std::string& holder, LoginOutcome outcome, std::string_view answer,
              base::TimePoint now);

  /// The pause after `tries` attempts in a row with this outcome. `known_good`: of a PIN that was accepted before.
  static base::Duration Pause(LoginOutcome outcome, std::uint32_t tries, bool known_good = false);

 private:
  enum class State : std::uint8_t { kTrying, kAccepted, kRefused, kUnclear, kUnanswered };
  struct Entry {
    std::string pin;
    State state = State::kTrying;
    bool known_good = false;
    std::uint32_t tries = 0;  ///< in a row without a verdict
    base::TimePoint time{};   ///< of the end; kTrying: when it has ended at the latest
    std::string holder;       ///< kTrying
    std::string answer;
  };
  PinGuard() = default;
  static base::Result<Entry> ParseEntry(const void* json);
  [[nodiscard]] Verdict Judge(const Entry& entry, base::TimePoint now) const;
  Entry& Touch(const std::string& pin);
  void EndClaims(base::TimePoint now, const std::function<bool(const std::string&)>& is_gone);

  base::Bytes key_;
  std::string label_, serial_;  ///< for people who read the text
  std::vector<Entry> entries_;  ///< the one used last comes last
};

}  // namespace signet::token
