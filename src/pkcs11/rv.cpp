#include "pkcs11/rv.hpp"

#include <fmt/format.h>
#include <p11-kit/pkcs11.h>

#include <algorithm>
#include <array>

namespace signet::pkcs11 {
namespace {

using base::Code;
using C = Consequence;

constexpr bool kNotBegun = true;
constexpr bool kUnknown = false;

#define SIGNET_RV(name) CKR_##name, #name
// Ascending by value. "At the time the function was invoked" in the standard's text is what makes a
// value kNotBegun; "during the execution" leaves it unknown.
constexpr std::array kTable = {
    RvRow{SIGNET_RV(CANCEL), Code::kInternal, C::kFinal, kUnknown, ""},
    RvRow{SIGNET_RV(HOST_MEMORY), Code::kInternal, C::kSuspect, kUnknown, ""},
    RvRow{SIGNET_RV(SLOT_ID_INVALID), Code::kUnavailable, C::kReinitialise, kNotBegun, "HSMUnavailable"},
    RvRow{SIGNET_RV(GENERAL_ERROR), Code::kInternal, C::kSuspect, kUnknown, ""},
    RvRow{SIGNET_RV(FUNCTION_FAILED), Code::kInternal, C::kSuspect, kUnknown, ""},
    RvRow{SIGNET_RV(ARGUMENTS_BAD), Code::kInternal, C::kFinal, kNotBegun, ""},
    RvRow{SIGNET_RV(NEED_TO_CREATE_THREADS), Code::kFailedPrecondition, C::kFinal, kNotBegun, "ModuleFailed"},
    RvRow{SIGNET_RV(CANT_LOCK), Code::kFailedPrecondition, C::kFinal, kNotBegun, "ModuleFailed"},
    RvRow{SIGNET_RV(ATTRIBUTE_READ_ONLY), Code::kFailedPrecondition, C::kFinal, kNotBegun, ""},
    RvRow{SIGNET_RV(ATTRIBUTE_SENSITIVE), Code::kFailedPrecondition, C::kFinal, kNotBegun, ""},
    RvRow{SIGNET_RV(ATTRIBUTE_TYPE_INVALID), Code::kFailedPrecondition, C::kFinal, kNotBegun, ""},
    RvRow{SIGNET_RV(ATTRIBUTE_VALUE_INVALID), Code::kFailedPrecondition, C::kFinal, kNotBegun, ""},
    RvRow{SIGNET_RV(ACTION_PROHIBITED), Code::kFailedPrecondition, C::kFinal, kNotBegun, ""},
    RvRow{SIGNET_RV(DATA_INVALID), Code::kFailedPrecondition, C::kFinal, kNotBegun, ""},
    RvRow{SIGNET_RV(DATA_LEN_RANGE), Code::kFailedPrecondition, C::kFinal, kNotBegun, ""},
    RvRow{SIGNET_RV(DEVICE_ERROR), Code::kInternal, C::kSuspect, kUnknown, ""},
    RvRow{SIGNET_RV(DEVICE_MEMORY), Code::kInternal, C::kSuspect, kUnknown, ""},
    RvRow{SIGNET_RV(DEVICE_REMOVED), Code::kUnavailable, C::kReinitialise, kUnknown, "HSMUnavailable"},
    RvRow{SIGNET_RV(FUNCTION_CANCELED), Code::kInternal, C::kFinal, kUnknown, ""},
    RvRow{SIGNET_RV(FUNCTION_NOT_SUPPORTED), Code::kFailedPrecondition, C::kFinal, kNotBegun, "MechanismMissing"},
    RvRow{SIGNET_RV(KEY_HANDLE_INVALID), Code::kUnavailable, C::kReplay, kNotBegun, "HSMUnavailable"},
    RvRow{SIGNET_RV(KEY_SIZE_RANGE), Code::kFailedPrecondition, C::kFinal, kNotBegun, ""},
    RvRow{SIGNET_RV(KEY_TYPE_INCONSISTENT), Code::kFailedPrecondition, C::kFinal, kNotBegun, "MechanismMissing"},
    RvRow{SIGNET_RV(KEY_FUNCTION_NOT_PERMITTED), Code::kFailedPrecondition, C::kFinal, kNotBegun, "KeyNotReady"},
    RvRow{SIGNET_RV(MECHANISM_INVALID), Code::kFailedPrecondition, C::kFinal, kNotBegun, "MechanismMissing"},
    RvRow{SIGNET_RV(MECHANISM_PARAM_INVALID), Code::kFailedPrecondition, C::kFinal, kNotBegun, "MechanismMissing"},
    RvRow{SIGNET_RV(OBJECT_HANDLE_INVALID), Code::kUnavailable, C::kReplay, kNotBegun, "HSMUnavailable"},
    RvRow{SIGNET_RV(OPERATION_ACTIVE), Code::kUnavailable, C::kReplay, kNotBegun, "HSMUnavailable"},
    RvRow{SIGNET_RV(OPERATION_NOT_INITIALIZED), Code::kUnavailable, C::kReplay, kNotBegun, "HSMUnavailable"},
    RvRow{SIGNET_RV(PIN_INCORRECT), Code::kPermissionDenied, C::kPinStop, kNotBegun, "PinRefused"},
    RvRow{SIGNET_RV(PIN_INVALID), Code::kPermissionDenied, C::kPinStop, kNotBegun, "PinRefused"},
    RvRow{SIGNET_RV(PIN_LEN_RANGE), Code::kPermissionDenied, C::kPinStop, kNotBegun, "PinRefused"},
    RvRow{SIGNET_RV(PIN_EXPIRED), Code::kPermissionDenied, C::kPinStop, kNotBegun, "PinExpired"},
    RvRow{SIGNET_RV(PIN_LOCKED), Code::kPermissionDenied, C::kPinStop, kNotBegun, "PinLocked"},
    RvRow{SIGNET_RV(SESSION_CLOSED), Code::kUnavailable, C::kReplay, kUnknown, "HSMUnavailable"},
    RvRow{SIGNET_RV(SESSION_COUNT), Code::kUnavailable, C::kBusy, kNotBegun, "HSMUnavailable"},
    RvRow{SIGNET_RV(SESSION_HANDLE_INVALID), Code::kUnavailable, C::kReplay, kNotBegun, "HSMUnavailable"},
    RvRow{SIGNET_RV(SESSION_PARALLEL_NOT_SUPPORTED), Code::kFailedPrecondition, C::kFinal, kNotBegun, ""},
    RvRow{SIGNET_RV(SESSION_READ_ONLY), Code::kFailedPrecondition, C::kFinal, kNotBegun, ""},
    RvRow{SIGNET_RV(SESSION_EXISTS), Code::kFailedPrecondition, C::kFinal, kNotBegun, ""},
    RvRow{SIGNET_RV(SESSION_READ_ONLY_EXISTS), Code::kUnavailable, C::kReinitialise, kNotBegun, "HSMUnavailable"},
    RvRow{SIGNET_RV(SESSION_READ_WRITE_SO_EXISTS), Code::kUnavailable, C::kBusy, kNotBegun, "HSMUnavailable"},
    RvRow{SIGNET_RV(TEMPLATE_INCOMPLETE), Code::kFailedPrecondition, C::kFinal, kNotBegun, ""},
    RvRow{SIGNET_RV(TEMPLATE_INCONSISTENT), Code::kFailedPrecondition, C::kFinal, kNotBegun, ""},
    RvRow{SIGNET_RV(TOKEN_NOT_PRESENT), Code::kUnavailable, C::kReinitialise, kNotBegun, "HSMUnavailable"},
    RvRow{SIGNET_RV(TOKEN_NOT_RECOGNIZED), Code::kUnavailable, C::kReinitialise, kNotBegun, "HSMUnavailable"},
    RvRow{SIGNET_RV(TOKEN_WRITE_PROTECTED), Code::kFailedPrecondition, C::kFinal, kNotBegun, ""},
    RvRow{SIGNET_RV(USER_ALREADY_LOGGED_IN), Code::kFailedPrecondition, C::kFinal, kNotBegun, ""},
    RvRow{SIGNET_RV(USER_NOT_LOGGED_IN), Code::kUnavailable, C::kReplay, kNotBegun, "HSMUnavailable"},
    RvRow{SIGNET_RV(USER_PIN_NOT_INITIALIZED), Code::kPermissionDenied, C::kPinStop, kNotBegun, "PinNotInitialized"},
    RvRow{SIGNET_RV(USER_TYPE_INVALID), Code::kFailedPrecondition, C::kFinal, kNotBegun, ""},
    RvRow{SIGNET_RV(USER_ANOTHER_ALREADY_LOGGED_IN), Code::kUnavailable, C::kReinitialise, kNotBegun, "HSMUnavailable"},
    RvRow{SIGNET_RV(USER_TOO_MANY_TYPES), Code::kUnavailable, C::kReinitialise, kNotBegun, "HSMUnavailable"},
    RvRow{SIGNET_RV(DOMAIN_PARAMS_INVALID), Code::kFailedPrecondition, C::kFinal, kNotBegun, ""},
    RvRow{SIGNET_RV(CURVE_NOT_SUPPORTED), Code::kFailedPrecondition, C::kFinal, kNotBegun, "MechanismMissing"},
    RvRow{SIGNET_RV(BUFFER_TOO_SMALL), Code::kInternal, C::kReplay, kUnknown, ""},
    RvRow{SIGNET_RV(CRYPTOKI_NOT_INITIALIZED), Code::kUnavailable, C::kReinitialise, kNotBegun, "HSMUnavailable"},
    RvRow{SIGNET_RV(CRYPTOKI_ALREADY_INITIALIZED), Code::kFailedPrecondition, C::kFinal, kNotBegun, "ModuleFailed"},
    RvRow{SIGNET_RV(FUNCTION_REJECTED), Code::kFailedPrecondition, C::kFinal, kUnknown, ""},
};
#undef SIGNET_RV

constexpr RvRow kUnlisted{};

static_assert(std::is_sorted(kTable.begin(), kTable.end(), [](const auto& a, const auto& b) { return a.rv < b.rv; }));

}  // namespace

const RvRow& RowOf(Rv rv) {
  const auto* row = std::lower_bound(kTable.begin(), kTable.end(), rv,
                                     [](const RvRow& candidate, Rv value) { return candidate.rv < value; });
  return row != kTable.end() && row->rv == rv ? *row : kUnlisted;
}

std::string NameOf(Rv rv) {
  if (rv == CKR_OK) return "OK";
  const RvRow& row = RowOf(rv);
  return row.name.empty() ? fmt::format("{:#x}", rv) : std::string(row.name);
}

base::Error FromRv(Rv rv, std::string_view function) {
  const RvRow& row = RowOf(rv);
  return {row.code,
          std::string(row.reason),
          fmt::format("the HSM answered {} to {}", NameOf(rv), function),
          {kNativeSource, static_cast<std::int64_t>(rv)}};
}

base::Error TokenGone() { return FromRv(CKR_TOKEN_NOT_PRESENT, "FindObjects"); }

Consequence ConsequenceOf(const base::Error& error) {
  if (error.native.source != kNativeSource) return Consequence::kFinal;
  return RowOf(static_cast<Rv>(error.native.number)).consequence;
}

bool IsTrouble(const base::Error& error) {
  if (error.native.source != kNativeSource) return false;
  const RvRow& row = RowOf(static_cast<Rv>(error.native.number));
  return row.name.empty() || row.consequence != Consequence::kFinal;
}

bool IsDeviceTrouble(const base::Error& error) {
  const auto rv = static_cast<Rv>(error.native.number);
  return IsTrouble(error) && rv != CKR_GENERAL_ERROR && rv != CKR_FUNCTION_FAILED && !RowOf(rv).name.empty();
}

PinMeaning MeaningForPin(const base::Error& error) {
  if (error.native.source != kNativeSource) return PinMeaning::kNone;
  switch (static_cast<Rv>(error.native.number)) {
    case CKR_PIN_INCORRECT:
      return PinMeaning::kWrong;
    case CKR_PIN_LOCKED:
      return PinMeaning::kLocked;
    case CKR_PIN_INVALID:
    case CKR_PIN_LEN_RANGE:
      return PinMeaning::kCannotBeOne;
    default:
      return PinMeaning::kNone;
  }
}

bool HasNoLogin(const base::Error& error) {
  const auto rv = static_cast<Rv>(error.native.number);
  return error.native.source == kNativeSource && (rv == CKR_FUNCTION_NOT_SUPPORTED || rv == CKR_USER_TYPE_INVALID);
}

bool CertainlyNotBegun(const base::Error& error) {
  return error.native.source == kNativeSource && RowOf(static_cast<Rv>(error.native.number)).not_begun;
}

}  // namespace signet::pkcs11
