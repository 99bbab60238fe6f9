#include "pkcs11/module.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <random>
#include <thread>

#include "encoding/pkcs11_uri.hpp"
#include "pkcs11/calls.hpp"
#include "pkcs11/mechanisms.hpp"
#include "pkcs11/rv.hpp"

namespace signet::pkcs11 {
namespace {

constexpr CK_ULONG kMaxPinLimit = 1024;  // bytes: a longer limit is no limit
constexpr CK_FLAGS kFunctions = CKF_ENCRYPT | CKF_DECRYPT | CKF_DIGEST | CKF_SIGN | CKF_SIGN_RECOVER | CKF_VERIFY |
                                CKF_VERIFY_RECOVER | CKF_GENERATE | CKF_GENERATE_KEY_PAIR | CKF_WRAP | CKF_UNWRAP |
                                CKF_DERIVE;

std::mutex& InitialisationMutex() {
  static std::mutex mutex;
  return mutex;
}

/// Fixed-size texts of PKCS#11 are padded with blanks and not terminated; some modules do terminate.
template <std::size_t N>
std::string Trim(const unsigned char (&field)[N]) {
  std::string text(reinterpret_cast<const char*>(field), N);
  if (const auto end = text.find('\0'); end != std::string::npos) text.resize(end);
  return std::string(encoding::TrimTokenField(text));
}

base::Error ModuleFailed(const std::string& path, std::string_view why) {
  return base::MakeError(base::Code::kFailedPrecondition, "ModuleFailed",
                         fmt::format("cannot use the PKCS#11 module {}: {}", path, why));
}

TokenInfo Translate(SlotId slot, const CK_TOKEN_INFO& raw) {
  TokenInfo token;
  token.slot = slot;
  token.label = Trim(raw.label);
  token.manufacturer = Trim(raw.manufacturerID);
  token.model = Trim(raw.model);
  token.serial = Trim(raw.serialNumber);
  token.initialised = (raw.flags & CKF_TOKEN_INITIALIZED) != 0;
  token.login_required = (raw.flags & CKF_LOGIN_REQUIRED) != 0;
  token.user_pin_initialised = (raw.flags & CKF_USER_PIN_INITIALIZED) != 0;
  token.pin_count_low = (raw.flags & CKF_USER_PIN_COUNT_LOW) != 0;
  token.pin_final_try = (raw.flags & CKF_USER_PIN_FINAL_TRY) != 0;
  token.pin_locked = (raw.flags & CKF_USER_PIN_LOCKED) != 0;
  token.pin_pad = (raw.flags & CKF_PROTECTED_AUTHENTICATION_PATH) != 0;
  // Some modules fill these with 0, CK_UNAVAILABLE_INFORMATION, or the one greater than the other.
  if (raw.ulMinPinLen <= raw.ulMaxPinLen && raw.ulMaxPinLen <= kMaxPinLimit) {
    token.min_pin = raw.ulMinPinLen;
    token.max_pin = raw.ulMaxPinLen;
  }
  return token;
}

std::chrono::milliseconds Jitter(int attempt) {
  static thread_local std::minstd_rand random{std::random_device{}()};
  return std::chrono::milliseconds(std::uniform_int_distribution<int>(5, 20 + 15 * std::min(attempt, 6))(random));
}

}  // namespace

Module::Module(void* library, std::unique_ptr<Calls> calls) : library_(library), calls_(std::move(calls)) {}

base::Result<std::shared_ptr<Module>> Module::Load(const std::string& path) {
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = ::dlerror();
    return ModuleFailed(path, why == nullptr ? "dlopen failed" : why);
  }
  auto get = reinterpret_cast<CK_C_GetFunctionList>(::dlsym(library, "C_GetFunctionList"));
  CK_FUNCTION_LIST* list = nullptr;
  if (get == nullptr || get(&list) != CKR_OK || list == nullptr) {
    ::dlclose(library);
    return ModuleFailed(path, "it gives no PKCS#11 function list");
  }
  if (list->version.major < 2) {
    const int major = list->version.major;
    ::dlclose(library);
    return ModuleFailed(path, fmt::format("it speaks PKCS#11 {}.x; 2.x or later is needed", major));
  }
  return std::shared_ptr<Module>(new Module(library, std::make_unique<Calls>(list)));
}

Module::~Module() {
  Finalise();
  // Never dlclose: vendor libraries leave threads and exit handlers behind that would run in unmapped memory.
}

base::Status Module::Initialise() {
  const std::lock_guard lock(InitialisationMutex());
  if (initialised_ && calls_->Owned()) return {};
  calls_->Adopt();
  CK_C_INITIALIZE_ARGS arguments{};
  arguments.flags = CKF_OS_LOCKING_OK;
  CK_RV rv = calls_->Do(&CK_FUNCTION_LIST::C_Initialize, static_cast<void*>(&arguments));
  if (rv == CKR_CANT_LOCK) rv = calls_->Do(&CK_FUNCTION_LIST::C_Initialize, static_cast<void*>(nullptr));
  // Somebody else in this process (another library) owns it: use it, and leave finalising to them.
  initialised_ = rv == CKR_OK;
  if (rv == CKR_OK || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED) return {};
  return FromRv(rv, "Initialize");
}

void Module::Finalise() noexcept {
  const std::lock_guard lock(InitialisationMutex());
  if (initialised_ && calls_->Owned()) calls_->Do(&CK_FUNCTION_LIST::C_Finalize, static_cast<void*>(nullptr));
  initialised_ = false;
}

base::Result<ModuleInfo> Module::Info() const {
  CK_INFO raw{};
  const CK_RV rv = calls_->Do(&CK_FUNCTION_LIST::C_GetInfo, &raw);
  if (rv != CKR_OK) return FromRv(rv, "GetInfo");
  return ModuleInfo{Trim(raw.manufacturerID),  Trim(raw.libraryDescription), raw.cryptokiVersion.major,
                    raw.cryptokiVersion.minor, raw.libraryVersion.major,     raw.libraryVersion.minor};
}

base::Result<TokenInfo> Module::Token(SlotId slot) const {
  CK_TOKEN_INFO raw{};
  const CK_RV rv = calls_->Do(&CK_FUNCTION_LIST::C_GetTokenInfo, slot, &raw);
  if (rv != CKR_OK) return FromRv(rv, "GetTokenInfo");
  return Translate(slot, raw);
}

void PreferInitialised(std::vector<TokenInfo>& tokens) {
  if (std::none_of(tokens.begin(), tokens.end(), [](const TokenInfo& token) { return token.initialised; })) return;
  std::erase_if(tokens, [](const TokenInfo& token) { return !token.initialised; });
}

base::Result<std::vector<SlotId>> Module::Slots(bool with_token) const {
  std::vector<CK_SLOT_ID> slots;
  // The list may grow between the two calls of the idiom.
  for (int attempt = 0; attempt < 4; ++attempt) {
    const CK_BBOOL present = with_token ? CK_TRUE : CK_FALSE;
    CK_ULONG count = 0;
    CK_RV rv = calls_->Do(&CK_FUNCTION_LIST::C_GetSlotList, present, static_cast<CK_SLOT_ID*>(nullptr), &count);
    if (rv != CKR_OK) return FromRv(rv, "GetSlotList");
    slots.resize(count);
    if (count == 0) break;
    rv = calls_->Do(&CK_FUNCTION_LIST::C_GetSlotList, present, slots.data(), &count);
    if (rv == CKR_BUFFER_TOO_SMALL) continue;
    if (rv != CKR_OK) return FromRv(rv, "GetSlotList");
    slots.resize(count);
    break;
  }
  return slots;
}

base::Result<std::vector<TokenInfo>> Module::Tokens() const {
  TRY(auto slots, Slots(true));
  if (slots.empty()) {
    TRY(slots, Slots(false));  // some modules do not say of a slot that its token is present
  }
  std::vector<TokenInfo> tokens;
  for (const CK_SLOT_ID slot : slots) {
    auto token = Token(slot);  // a token may be pulled at any time: then it is simply not there
    if (token && (token->initialised || !token->label.empty())) tokens.push_back(std::move(*token));
  }
  return tokens;
}

base::Result<std::vector<TokenInfo>> Module::AwaitTokens(const std::function<bool(const TokenInfo&)>& wanted,
                                                         int attempts) {
  for (int attempt = 1;; ++attempt) {
    // SoftHSM refuses to initialise while its folder is away: that may pass, too.
    base::Result<std::vector<TokenInfo>> tokens = std::vector<TokenInfo>{};
    if (auto initialised = Initialise(); !initialised) {
      tokens = initialised.error();
    } else {
      tokens = Tokens();
    }
    if (tokens) std::erase_if(*tokens, [&](const TokenInfo& token) { return !wanted(token); });
    if (tokens) PreferInitialised(*tokens);
    if ((tokens && !tokens->empty()) || attempt >= attempts) return tokens;
    Finalise();
    std::this_thread::sleep_for(Jitter(attempt));  // in a worker, which has no loop; others start at the same time
  }
}

base::Result<std::vector<encoding::SignatureAlgorithm>> Module::SignatureAlgorithms(SlotId slot,
                                                                                    encoding::KeyAlgorithm key,
                                                                                    int bits) const {
  std::vector<encoding::SignatureAlgorithm> found;
  for (const auto& info : encoding::Algorithms()) {
    if (info.key != key) continue;
    CK_MECHANISM_INFO raw{};
    const CK_RV rv = calls_->Do(&CK_FUNCTION_LIST::C_GetMechanismInfo, slot, MechanismOf(info.algorithm).type, &raw);
    if (rv != CKR_OK) {
      auto error = FromRv(rv, "GetMechanismInfo");
      if (IsDeviceTrouble(error)) return error;
      continue;
    }
    // A mechanism that names no function at all is one of a module that does not fill them in.
    if ((raw.flags & CKF_SIGN) == 0 && (raw.flags & kFunctions) != 0) continue;
    // Sizes are bits for RSA and EC; for Edwards curves modules disagree, so they are not held to it.
    const auto size = static_cast<CK_ULONG>(bits);
    const bool sized = bits > 0 && key != encoding::KeyAlgorithm::kEd25519 && raw.ulMaxKeySize != 0;
    if (sized && (size < raw.ulMinKeySize || size > raw.ulMaxKeySize)) continue;
    found.push_back(info.algorithm);
  }
  return found;
}

}  // namespace signet::pkcs11
