#include "pkcs11/setup.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "pkcs11/calls.hpp"
#include "pkcs11/rv.hpp"

namespace signet::pkcs11 {
namespace {

constexpr std::size_t kLabelSize = 32;

CK_UTF8CHAR* Octets(const base::Secret& secret) { return const_cast<CK_UTF8CHAR*>(secret.Reveal().data()); }
CK_ULONG Size(const base::Secret& secret) { return static_cast<CK_ULONG>(secret.Reveal().size()); }

base::Result<std::optional<TokenInfo>> FindToken(const Module& module, const std::string& label) {
  TRY(const auto tokens, module.Tokens());
  for (const auto& token : tokens) {
    if (token.initialised && token.label == label) return std::optional(token);
  }
  return std::optional<TokenInfo>();
}

base::Result<SlotId> FreeSlot(const Module& module) {
  std::array<CK_SLOT_ID, 256> slots{};
  CK_ULONG count = slots.size();
  const CK_RV rv =
      module.calls().Do(&CK_FUNCTION_LIST::C_GetSlotList, static_cast<CK_BBOOL>(CK_TRUE), slots.data(), &count);
  if (rv != CKR_OK) return FromRv(rv, "GetSlotList");
  for (std::size_t i = 0; i < count; ++i) {
    const auto token = module.Token(slots.at(i));
    if (token && !token->initialised) return static_cast<SlotId>(slots.at(i));
  }
  return base::MakeError(base::Code::kFailedPrecondition, "TokenNotFound", "no slot is free for a new token");
}

base::Status SetUserPin(const Module& module, SlotId slot, const base::Secret& so_pin, const base::Secret& pin) {
  const auto& calls = module.calls();
  CK_SESSION_HANDLE session = CK_INVALID_HANDLE;
  const CK_FLAGS flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
  CK_RV rv = calls.Do(&CK_FUNCTION_LIST::C_OpenSession, slot, flags, static_cast<void*>(nullptr),
                      static_cast<CK_NOTIFY>(nullptr), &session);
  if (rv != CKR_OK) return FromRv(rv, "OpenSession");
  const char* call = "Login";
  rv = calls.Do(&CK_FUNCTION_LIST::C_Login, session, static_cast<CK_USER_TYPE>(CKU_SO), Octets(so_pin), Size(so_pin));
  if (rv == CKR_OK) {
    call = "InitPIN";
    rv = calls.Do(&CK_FUNCTION_LIST::C_InitPIN, session, Octets(pin), Size(pin));
  }
  calls.Do(&CK_FUNCTION_LIST::C_CloseSession, session);
  if (rv != CKR_OK) return FromRv(rv, call);
  return {};
}

}  // namespace

base::Result<bool> EnsureToken(const std::shared_ptr<Module>& module, const std::string& label,
                               const base::Secret& so_pin, const base::Secret& pin) {
  if (label.empty() || label.size() > kLabelSize) {
    return base::MakeError(base::Code::kInvalidArgument, "Invalid", "a token's label has 1 to 32 octets");
  }
  TRY_VOID(module->Initialise());
  TRY(auto token, FindToken(*module, label));
  if (token && token->user_pin_initialised) return false;
  if (!token) {
    TRY(const SlotId slot, FreeSlot(*module));
    std::array<CK_UTF8CHAR, kLabelSize> padded{};
    padded.fill(' ');
    std::copy(label.begin(), label.end(), padded.begin());
    const CK_RV rv =
        module->calls().Do(&CK_FUNCTION_LIST::C_InitToken, slot, Octets(so_pin), Size(so_pin), padded.data());
    if (rv != CKR_OK) return FromRv(rv, "InitToken");
    TRY(token, FindToken(*module, label));
    if (!token) return TokenGone();
  }
  TRY_VOID(SetUserPin(*module, token->slot, so_pin, pin));
  return true;
}

}  // namespace signet::pkcs11
