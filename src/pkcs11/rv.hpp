// pkcs11/rv.hpp - what each PKCS#11 return value means and what it asks of us: one table.
//
// Nobody else switches on return values. A value that is not listed is kInternal and final.
//
// Sources: PKCS#11 v2.40 base, "Function return values".
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.hpp"

namespace signet::pkcs11 {

using Rv = unsigned long;
inline constexpr std::string_view kNativeSource = "pkcs11";

enum class Consequence : std::uint8_t {
  kFinal,         ///< the answer is no; the session is fine
  kSuspect,       ///< the answer is no, and the token must prove itself before the next call
  kReplay,        ///< drop session and handles; replay once if nothing was begun
  kReinitialise,  ///< finalise and initialise the module; replay once if nothing was begun
  kPinStop,       ///< a PIN was refused: nobody tries it again
  kBusy,          ///< a limit of the token: later may work
};

struct RvRow {
  Rv rv = 0;
  std::string_view name;  ///< without prefix: "PIN_INCORRECT"
  base::Code code = base::Code::kInternal;
  Consequence consequence = Consequence::kFinal;
  bool not_begun = false;  ///< even from the signing call itself: certainly no signature was made
  std::string_view reason;
};

/// The row of `rv`; for an unlisted value a row with an empty name.
const RvRow& RowOf(Rv rv);
/// "PIN_INCORRECT", or "0x80000001" in hex.
std::string NameOf(Rv rv);
/// The error of a failed call; `function` is its name without prefix, as in "Login".
base::Error FromRv(Rv rv, std::string_view function);
/// What a call to an absent token answers: for losses that the module itself did not notice.
base::Error TokenGone();
/// The consequence of an error made by FromRv; kFinal for any other.
Consequence ConsequenceOf(const base::Error& error);
/// True for trouble of the device. Some modules answer GENERAL_ERROR or FUNCTION_FAILED when they are asked for
/// something that they do not know, so that where there is a default these are not.
bool IsDeviceTrouble(const base::Error& error);
/// True when `error` came from FromRv with a value that says that nothing was begun.
bool CertainlyNotBegun(const base::Error& error);

enum class PinMeaning : std::uint8_t { kNone, kWrong, kLocked, kCannotBeOne };
/// What an answer to C_Login says about the PIN itself. kNone: nothing.
PinMeaning MeaningForPin(const base::Error& error);
/// True when a login failed because the token knows no login of a user at all.
bool HasNoLogin(const base::Error& error);
/// True for an answer about module, device or session, false for one about what was asked (an attribute, a mechanism).
/// An unlisted value is trouble, too.
bool IsTrouble(const base::Error& error);

}  // namespace signet::pkcs11
