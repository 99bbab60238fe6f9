// token/pin_guard.hpp - whether a PIN may be tried: pure bookkeeping, no files, no HSM.
//
// One guard serves one token and its PIN file. It knows the last attempt: with which content of the
// file, on which token, and how it ended. An attempt whose end nobody saw (a crash, kill -9) counts as
// refused, unless the same file content had been accepted by the same token before: then it may be
// tried once more, so that a kill at the wrong instant does not stop a healthy service for good.
// The record survives restarts as a small JSON text; it never holds the PIN or anything made from it.
//
// Thread-safety: none.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "token/pin_file.hpp"

namespace signet::token {

struct PinRecord {
  enum class State : std::uint8_t { kTrying, kRefused, kAccepted, kUnclear };
  State state = State::kTrying;
  FileIdentity file;
  std::string serial;            ///< of the token
  bool known_good = false;       ///< this content was accepted by this token before
  std::uint32_t unresolved = 0;  ///< attempts in a row without a known end
};

std::string FormatPinRecord(const PinRecord& record);
/// kFailedPrecondition: not a record of ours.
base::Result<PinRecord> ParsePinRecord(const std::string& text);

enum class LoginOutcome : std::uint8_t {
  kAccepted,
  kRefused,    ///< do not try this PIN again
  kUnclear,    ///< a trouble of the device, while no PIN was counted: may be tried a few times
  kUncounted,  ///< the token did not look at the PIN: may be tried again after a while
};
/// What a login's result says about the PIN. An unknown error counts as a refusal. A known trouble of
/// the device does not if the PIN was good before, and leaves a new PIN unclear if the token has not
/// counted a wrong one (`counted`: its flag for that is set, or cannot be read).
LoginOutcome ClassifyLogin(const base::Status& login, bool known_good, bool counted);

class PinGuard {
 public:
  explicit PinGuard(std::optional<PinRecord> record) : record_(std::move(record)) {}

  /// True when the PIN may be tried. `equals_refused`: a worker has compared the PIN with the refused
  /// one; then the new content is remembered as refused, too.
  bool MayTry(const FileIdentity& file, const std::string& serial, bool equals_refused);
  /// True when `file` is not the content that was refused: worth asking a worker to look.
  [[nodiscard]] bool LooksNew(const FileIdentity& file) const { return !record_ || record_->file != file; }

  /// The records of an attempt that begins: what to have on disk before it and after each end.
  struct Attempt {
    PinRecord trying, accepted, refused, unclear;
    std::optional<PinRecord> uncounted;
  };
  [[nodiscard]] Attempt Begin(const FileIdentity& file, const std::string& serial);
  /// The attempt that began has this end; not called: its end is unknown.
  void End(const Attempt& attempt, LoginOutcome outcome);

  [[nodiscard]] const std::optional<PinRecord>& record() const { return record_; }

 private:
  std::optional<PinRecord> record_;
};

}  // namespace signet::token
