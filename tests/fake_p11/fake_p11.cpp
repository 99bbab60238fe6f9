// A PKCS#11 module that misbehaves on request: for what SoftHSM cannot be made to do.
//
// The file named by FAKE_P11_CONFIG holds lines "name=value" and is read again at every call, so that
// a test changes the behaviour of running workers:
//   key=FILE            PEM private key (P-256) of the one key pair, labelled "key" with CKA_ID 01
//   log=FILE            one line "C_Name pid" per counted call and "hang pid" per hang, appended under a lock
//   pin=TEXT            the right PIN
//   tokens=N            tokens with labels fake1, fake2, ...        keys=N     pairs with the same label and id
//   absent=1            no token in any slot                        no_ecdsa=1 no ECDSA mechanism
//   final_try=1 locked=1 no_pin=1 count_low=1                       token flags
//   no_login_flag=1 no_pin_flag=1 no_init_flag=1 pin_pad=1          flags that say the wrong thing; the PIN is needed
//   hide=1                         slots are listed only where a token need not be present
//   min_pin=N max_pin=N            limits that the token gives      no_flags=1 a mechanism without any function
//   ro_rv=RV rw_rv=RV              answer to a read-only or read-write C_OpenSession
//   sessions=N                     sessions a process may have      no_login=1 C_Login is not supported, nor needed
//   count_on=RV lock_on=RV         the flag count_low is set (the PIN is locked, while lock_on stands) once C_Login has
//                                  answered RV
//   env=FILE                       C_Initialize writes the environment there
//   login_rv=RV         answer of C_Login                           init_rv=RV answer of C_Initialize
//   login=hang|crash    instead of an answer            init=hang|crash  the same for C_Initialize
//   point=raw|coordinates|bitstring|private     how CKA_EC_POINT is written, or that the private half alone has it
//   signature=der|padded|text                   how C_Sign writes its signature
//   hashing_only=1      CKM_ECDSA_SHA256 in the place of CKM_ECDSA
//   sign_flag=no|hidden  always_authenticate=1  attributes of the private half
//   foreign_info=FILE   DER of the private half's CKA_PUBLIC_KEY_INFO
//   sign_rv=N:RV        the Nth C_Sign (of all processes) answers RV; N may be *; several by comma
//   signinit_rv=N:RV open_rv=N:RV find_rv=N:RV attribute_rv=N:RV    the same for C_SignInit, C_OpenSession,
//                       C_FindObjectsInit and C_GetAttributeValue
//   sign=N:hang|crash|flip|slow                         find=N:hang|crash  the same for C_FindObjectsInit
//   sessions_lost=E     when E changes, all sessions are gone       logged_out=E  login gone, sessions stay
//   handles=E           when E changes, object handles change       uninitialised=E  as if C_Finalize had run
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <p11-kit/pkcs11.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

using Config = std::map<std::string, std::string>;

constexpr std::array<unsigned char, 10> kP256 = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
constexpr CK_OBJECT_HANDLE kPublicBit = 1;  // handles are epoch * 1000 + pair * 2 (+ 1 for the public half)

struct Module {
  std::mutex mutex;
  bool initialised = false;
  bool logged_in = false;
  bool counted = false;
  bool locked = false;
  CK_SESSION_HANDLE next_session = 1;
  std::map<CK_SESSION_HANDLE, CK_SLOT_ID> sessions;
  std::map<CK_SESSION_HANDLE, std::vector<CK_OBJECT_HANDLE>> searches;
  std::set<CK_SESSION_HANDLE> signing;
  std::map<std::string, std::string> epochs;
} state;

Config Load() {
  Config config;
  const char* path = std::getenv("FAKE_P11_CONFIG");
  std::ifstream file(path == nullptr ? "" : path);
  for (std::string line; std::getline(file, line);) {
    const auto split = line.find('=');
    if (split != std::string::npos) config[line.substr(0, split)] = line.substr(split + 1);
  }
  return config;
}

std::string Get(const Config& config, const std::string& name, const std::string& otherwise = "") {
  const auto found = config.find(name);
  return found == config.end() ? otherwise : found->second;
}
bool On(const Config& config, const std::string& name) { return Get(config, name) == "1"; }
unsigned long Number(const Config& config, const std::string& name, unsigned long otherwise) {
  const std::string text = Get(config, name);
  return text.empty() ? otherwise : std::stoul(text, nullptr, 0);
}

/// Appends "function pid" and returns how many calls of it the file then holds.
unsigned long Count(const Config& config, const std::string& function) {
  const int fd = ::open(Get(config, "log", "/dev/null").c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return 0;
  ::flock(fd, LOCK_EX);
  const std::string line = function + " " + std::to_string(::getpid()) + "\n";
  if (::write(fd, line.data(), line.size()) < 0) std::abort();
  std::ifstream file(Get(config, "log"));
  unsigned long count = 0;
  for (std::string entry; std::getline(file, entry);) count += entry.rfind(function + " ", 0) == 0 ? 1 : 0;
  ::close(fd);
  return count;
}

/// The value for the Nth call in a list "N:value,N:value"; "*" fits every call.
std::string Planned(const Config& config, const std::string& name, unsigned long nth) {
  std::stringstream list(Get(config, name));
  for (std::string item; std::getline(list, item, ',');) {
    const auto split = item.find(':');
    if (split == std::string::npos) continue;
    const std::string which = item.substr(0, split);
    if (which == "*" || which == std::to_string(nth)) return item.substr(split + 1);
  }
  return "";
}

[[noreturn]] void Hang(const Config& config) {
  Count(config, "hang");  // so that a test knows that it has come to that
  for (;;) ::pause();
}
void Misbehave(const Config& config, const std::string& how) {
  if (how == "hang") Hang(config);
  if (how == "crash") std::abort();
  if (how == "slow") ::usleep(900'000);  // an HSM at work, nothing that anybody waits for
}

/// True when the epoch `name` differs from the one this process saw first or last.
bool Changed(const Config& config, const std::string& name) {
  const std::string now = Get(config, name);
  const auto [entry, fresh] = state.epochs.emplace(name, now);
  if (fresh || entry->second == now) return false;
  entry->second = now;
  return true;
}

/// What every call begins with: locks, reads the configuration, lets time pass.
struct Call {
  std::lock_guard<std::mutex> lock{state.mutex};
  Config config = Load();
  CK_RV rv = CKR_OK;
  Call() {
    if (Changed(config, "uninitialised")) {
      state.initialised = false;
      state.sessions.clear();
      state.logged_in = false;
    }
    if (Changed(config, "sessions_lost")) {
      state.sessions.clear();
      state.logged_in = false;
    }
    if (Changed(config, "logged_out")) state.logged_in = false;
    if (!state.initialised) rv = CKR_CRYPTOKI_NOT_INITIALIZED;
  }
  explicit Call(CK_SESSION_HANDLE session) : Call() {
    if (rv == CKR_OK && state.sessions.count(session) == 0) rv = CKR_SESSION_HANDLE_INVALID;
    if (rv == CKR_OK && On(config, "absent")) rv = CKR_TOKEN_NOT_PRESENT;
  }
};

template <std::size_t N>
void Pad(unsigned char (&field)[N], const std::string& text) {
  std::memset(field, ' ', N);
  std::memcpy(field, text.data(), std::min(N, text.size()));
}

EVP_PKEY* Key(const Config& config) {
  std::FILE* file = std::fopen(Get(config, "key").c_str(), "r");
  if (file == nullptr) return nullptr;
  EVP_PKEY* key = PEM_read_PrivateKey(file, nullptr, nullptr, nullptr);
  std::fclose(file);
  return key;
}

CK_OBJECT_HANDLE HandleOf(const Config& config, unsigned long pair, bool public_half) {
  return Number(config, "handles", 1) * 1000 + pair * 2 + (public_half ? kPublicBit : 0);
}

bool Exists(const Config& config, CK_OBJECT_HANDLE handle) {
  const CK_OBJECT_HANDLE base = Number(config, "handles", 1) * 1000;
  return handle >= base && (handle - base) / 2 < Number(config, "keys", 1);
}

CK_RV Answer(CK_ATTRIBUTE& attribute, const void* value, std::size_t size) {
  if (attribute.pValue == nullptr) {
    attribute.ulValueLen = size;
    return CKR_OK;
  }
  if (attribute.ulValueLen < size) {
    attribute.ulValueLen = CK_UNAVAILABLE_INFORMATION;
    return CKR_BUFFER_TOO_SMALL;
  }
  std::memcpy(attribute.pValue, value, size);
  attribute.ulValueLen = size;
  return CKR_OK;
}

CK_RV Initialize(void* /*arguments*/) {
  const std::lock_guard lock(state.mutex);
  const Config config = Load();
  Count(config, "C_Initialize");
  if (const std::string path = Get(config, "env"); !path.empty()) {
    std::ofstream file(path);
    for (char** entry = environ; *entry != nullptr; ++entry) file << *entry << '\n';
  }
  Misbehave(config, Get(config, "init"));
  if (const auto rv = Number(config, "init_rv", CKR_OK); rv != CKR_OK) return rv;
  if (state.initialised) return CKR_CRYPTOKI_ALREADY_INITIALIZED;
  state.initialised = true;
  state.logged_in = false;
  state.sessions.clear();
  for (const char* name : {"uninitialised", "sessions_lost", "logged_out"}) state.epochs[name] = Get(config, name);
  return CKR_OK;
}

CK_RV Finalize(void* /*reserved*/) {
  const Call call;
  state.initialised = false;
  state.sessions.clear();
  state.logged_in = false;
  return call.rv;
}

CK_RV GetInfo(CK_INFO* info) {
  const Call call;
  *info = {};
  info->cryptokiVersion = {2, 40};
  Pad(info->manufacturerID, "signet tests");
  Pad(info->libraryDescription, "misbehaving module");
  return call.rv;
}

CK_RV GetSlotList(CK_BBOOL present, CK_SLOT_ID* slots, CK_ULONG* count) {
  const Call call;
  if (call.rv != CKR_OK) return call.rv;
  const bool hidden = On(call.config, "absent") || (present != CK_FALSE && On(call.config, "hide"));
  const CK_ULONG tokens = hidden ? 0 : Number(call.config, "tokens", 1);
  if (slots != nullptr) {
    if (*count < tokens) return CKR_BUFFER_TOO_SMALL;
    for (CK_ULONG i = 0; i < tokens; ++i) slots[i] = i + 1;
  }
  *count = tokens;
  return CKR_OK;
}

CK_RV GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO* info) {
  const Call call;
  if (call.rv != CKR_OK) return call.rv;
  if (On(call.config, "absent")) return CKR_TOKEN_NOT_PRESENT;
  if (slot < 1 || slot > Number(call.config, "tokens", 1)) return CKR_SLOT_ID_INVALID;
  *info = {};
  Pad(info->label, "fake" + std::to_string(slot));
  Pad(info->manufacturerID, "signet tests");
  Pad(info->model, "fake");
  Pad(info->serialNumber, "000" + std::to_string(slot));
  info->ulMinPinLen = Number(call.config, "min_pin", 0);
  info->ulMaxPinLen = Number(call.config, "max_pin", 0);
  if (!On(call.config, "no_init_flag")) info->flags |= CKF_TOKEN_INITIALIZED;
  if (!On(call.config, "no_login_flag")) info->flags |= CKF_LOGIN_REQUIRED;
  if (On(call.config, "pin_pad")) info->flags |= CKF_PROTECTED_AUTHENTICATION_PATH;
  if (!On(call.config, "no_pin") && !On(call.config, "no_pin_flag")) info->flags |= CKF_USER_PIN_INITIALIZED;
  if (On(call.config, "count_low") || state.counted) info->flags |= CKF_USER_PIN_COUNT_LOW;
  if (On(call.config, "final_try")) info->flags |= CKF_USER_PIN_FINAL_TRY;
  if (On(call.config, "locked") || (state.locked && !Get(call.config, "lock_on").empty()))
    info->flags |= CKF_USER_PIN_LOCKED;
  return CKR_OK;
}

CK_RV GetMechanismInfo(CK_SLOT_ID /*slot*/, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO* info) {
  const Call call;
  if (call.rv != CKR_OK) return call.rv;
  const CK_MECHANISM_TYPE offered = On(call.config, "hashing_only") ? CKM_ECDSA_SHA256 : CKM_ECDSA;
  if (type != offered || On(call.config, "no_ecdsa")) return CKR_MECHANISM_INVALID;
  *info = {256, 521, On(call.config, "no_flags") ? 0UL : CKF_SIGN | CKF_HW};
  return CKR_OK;
}

CK_RV OpenSession(CK_SLOT_ID slot, CK_FLAGS flags, void* /*application*/, CK_NOTIFY /*notify*/,
                  CK_SESSION_HANDLE* session) {
  const Call call;
  if (call.rv != CKR_OK) return call.rv;
  if (On(call.config, "absent")) return CKR_TOKEN_NOT_PRESENT;
  const std::string plan = Planned(call.config, "open_rv", Count(call.config, "C_OpenSession"));
  if (!plan.empty()) return std::stoul(plan, nullptr, 0);
  const char* kind = (flags & CKF_RW_SESSION) != 0 ? "rw_rv" : "ro_rv";
  if (const auto rv = Number(call.config, kind, CKR_OK); rv != CKR_OK) return rv;
  if (state.sessions.size() >= Number(call.config, "sessions", 1000)) return CKR_SESSION_COUNT;
  *session = state.next_session++;
  state.sessions[*session] = slot;
  return CKR_OK;
}

CK_RV CloseSession(CK_SESSION_HANDLE session) {
  const Call call(session);
  state.sessions.erase(session);
  state.searches.erase(session);
  state.signing.erase(session);
  if (state.sessions.empty()) state.logged_in = false;  // as the standard says
  return call.rv;
}

CK_RV GetSessionInfo(CK_SESSION_HANDLE session, CK_SESSION_INFO* info) {
  const Call call(session);
  if (call.rv != CKR_OK) return call.rv;
  *info = {};
  info->state = state.logged_in ? CKS_RO_USER_FUNCTIONS : CKS_RO_PUBLIC_SESSION;
  return CKR_OK;
}

CK_RV Login(CK_SESSION_HANDLE session, CK_USER_TYPE /*user*/, CK_UTF8CHAR* pin, CK_ULONG size) {
  const Call call(session);
  if (call.rv != CKR_OK) return call.rv;
  if (state.logged_in) return CKR_USER_ALREADY_LOGGED_IN;
  Count(call.config, "C_Login");
  Misbehave(call.config, Get(call.config, "login"));
  if (const auto rv = Number(call.config, "login_rv", CKR_OK); rv != CKR_OK) {
    if (rv == Number(call.config, "count_on", CKR_OK)) state.counted = true;
    if (rv == Number(call.config, "lock_on", CKR_OK)) state.locked = true;
    return rv;
  }
  if (On(call.config, "no_login")) return CKR_FUNCTION_NOT_SUPPORTED;
  if (On(call.config, "no_pin")) return CKR_USER_PIN_NOT_INITIALIZED;
  if (On(call.config, "locked")) return CKR_PIN_LOCKED;
  if (std::string(reinterpret_cast<char*>(pin), size) != Get(call.config, "pin", "1234")) return CKR_PIN_INCORRECT;
  state.logged_in = true;
  return CKR_OK;
}

CK_RV FindObjectsInit(CK_SESSION_HANDLE session, CK_ATTRIBUTE* filter, CK_ULONG count) {
  const Call call(session);
  if (call.rv != CKR_OK) return call.rv;
  const unsigned long nth = Count(call.config, "C_FindObjectsInit");
  Misbehave(call.config, Planned(call.config, "find", nth));
  if (const std::string plan = Planned(call.config, "find_rv", nth); !plan.empty()) {
    return std::stoul(plan, nullptr, 0);
  }
  bool public_half = false;
  bool fits = true;
  for (CK_ULONG i = 0; i < count; ++i) {
    const std::string value(static_cast<char*>(filter[i].pValue), filter[i].ulValueLen);
    if (filter[i].type == CKA_CLASS) {
      CK_OBJECT_CLASS wanted = 0;
      std::memcpy(&wanted, value.data(), std::min(value.size(), sizeof(wanted)));
      public_half = wanted == CKO_PUBLIC_KEY;
    } else if (filter[i].type == CKA_LABEL) {
      fits = fits && value == "key";
    } else if (filter[i].type == CKA_ID) {
      fits = fits && value == "\x01";
    }
  }
  std::vector<CK_OBJECT_HANDLE> found;
  const bool sees_private = state.logged_in || On(call.config, "no_login");
  if (fits && (public_half || sees_private)) {
    const auto pairs = public_half ? std::min(Number(call.config, "keys", 1), 1UL) : Number(call.config, "keys", 1);
    for (unsigned long pair = 0; pair < pairs; ++pair) found.push_back(HandleOf(call.config, pair, public_half));
  }
  state.searches[session] = found;
  return CKR_OK;
}

CK_RV FindObjects(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE* handles, CK_ULONG limit, CK_ULONG* count) {
  const Call call(session);
  if (call.rv != CKR_OK) return call.rv;
  auto& left = state.searches[session];
  *count = std::min<CK_ULONG>(limit, left.size());
  std::copy_n(left.begin(), *count, handles);
  left.erase(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(*count));
  return CKR_OK;
}

CK_RV FindObjectsFinal(CK_SESSION_HANDLE session) {
  const Call call(session);
  state.searches.erase(session);
  return call.rv;
}

/// CKA_EC_POINT of the key, in the form that is asked for.
CK_RV Point(const Config& config, bool public_half, CK_ATTRIBUTE& attribute) {
  const std::string form = Get(config, "point");
  if (public_half == (form == "private")) {
    attribute.ulValueLen = CK_UNAVAILABLE_INFORMATION;
    return CKR_ATTRIBUTE_TYPE_INVALID;
  }
  EVP_PKEY* key = Key(config);
  if (key == nullptr) return CKR_DEVICE_ERROR;
  unsigned char point[68] = {0x04, 65};
  std::size_t size = 0;
  EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point + 2, 65, &size);
  EVP_PKEY_free(key);
  if (size != 65) return CKR_DEVICE_ERROR;
  if (form == "raw") return Answer(attribute, point + 2, 65);
  if (form == "coordinates") return Answer(attribute, point + 3, 64);
  if (form != "bitstring") return Answer(attribute, point, 67);
  std::memmove(point + 3, point + 2, 65);
  point[0] = 0x03;
  point[1] = 66;
  point[2] = 0;
  return Answer(attribute, point, 68);
}

CK_RV One(const Config& config, bool public_half, CK_ATTRIBUTE& attribute) {
  const CK_BBOOL yes = CK_TRUE;
  const CK_BBOOL no = CK_FALSE;
  const CK_KEY_TYPE type = CKK_EC;
  switch (attribute.type) {
    case CKA_LABEL:
      return Answer(attribute, "key", 3);
    case CKA_ID:
      return Answer(attribute, "\x01", 1);
    case CKA_KEY_TYPE:
      return Answer(attribute, &type, sizeof(type));
    case CKA_SENSITIVE:
    case CKA_NEVER_EXTRACTABLE:
    case CKA_LOCAL:
      return Answer(attribute, &yes, sizeof(yes));
    case CKA_SIGN:
      if (Get(config, "sign_flag") == "hidden") break;
      return Answer(attribute, Get(config, "sign_flag") == "no" ? &no : &yes, sizeof(yes));
    case CKA_EXTRACTABLE:
      return Answer(attribute, &no, sizeof(no));
    case CKA_ALWAYS_AUTHENTICATE:
      return Answer(attribute, On(config, "always_authenticate") ? &yes : &no, sizeof(no));
    case CKA_PUBLIC_KEY_INFO: {
      std::ifstream file(Get(config, "foreign_info"), std::ios::binary);
      if (public_half || !file) break;
      std::stringstream text;
      text << file.rdbuf();
      return Answer(attribute, text.str().data(), text.str().size());
    }
    case CKA_EC_PARAMS:
      return Answer(attribute, kP256.data(), kP256.size());
    case CKA_EC_POINT:
      return Point(config, public_half, attribute);
    default:
      break;
  }
  attribute.ulValueLen = CK_UNAVAILABLE_INFORMATION;
  return CKR_ATTRIBUTE_TYPE_INVALID;
}

CK_RV GetAttributeValue(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE* attributes, CK_ULONG count) {
  const Call call(session);
  if (call.rv != CKR_OK) return call.rv;
  const std::string plan = Planned(call.config, "attribute_rv", Count(call.config, "C_GetAttributeValue"));
  if (!plan.empty()) return std::stoul(plan, nullptr, 0);
  if (!Exists(call.config, object)) return CKR_OBJECT_HANDLE_INVALID;
  CK_RV rv = CKR_OK;
  for (CK_ULONG i = 0; i < count; ++i) {
    const CK_RV one = One(call.config, (object & kPublicBit) != 0, attributes[i]);
    if (one != CKR_OK) rv = one;
  }
  return rv;
}

CK_RV SignInit(CK_SESSION_HANDLE session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key) {
  const Call call(session);
  if (call.rv != CKR_OK) return call.rv;
  const std::string plan = Planned(call.config, "signinit_rv", Count(call.config, "C_SignInit"));
  if (!plan.empty()) return std::stoul(plan, nullptr, 0);
  if (!state.logged_in && !On(call.config, "no_login")) return CKR_USER_NOT_LOGGED_IN;
  if (!Exists(call.config, key)) return CKR_KEY_HANDLE_INVALID;
  if (mechanism->mechanism != CKM_ECDSA || On(call.config, "no_ecdsa")) return CKR_MECHANISM_INVALID;
  if (!state.signing.insert(session).second) return CKR_OPERATION_ACTIVE;
  return CKR_OK;
}

CK_RV Sign(CK_SESSION_HANDLE session, unsigned char* data, CK_ULONG size, unsigned char* signature,
           CK_ULONG* signature_size) {
  const Call call(session);
  state.signing.erase(session);
  if (call.rv != CKR_OK) return call.rv;
  const unsigned long nth = Count(call.config, "C_Sign");
  const std::string how = Planned(call.config, "sign", nth);
  Misbehave(call.config, how);
  if (const std::string plan = Planned(call.config, "sign_rv", nth); !plan.empty()) {
    return std::stoul(plan, nullptr, 0);
  }
  if (*signature_size < 64) return CKR_BUFFER_TOO_SMALL;
  EVP_PKEY* key = Key(call.config);
  EVP_PKEY_CTX* context = key == nullptr ? nullptr : EVP_PKEY_CTX_new(key, nullptr);
  unsigned char der[80];
  std::size_t der_size = sizeof(der);
  const bool signed_it =
      context != nullptr && EVP_PKEY_sign_init(context) == 1 && EVP_PKEY_sign(context, der, &der_size, data, size) == 1;
  EVP_PKEY_CTX_free(context);
  EVP_PKEY_free(key);
  if (!signed_it) return CKR_DEVICE_ERROR;
  const unsigned char* cursor = der;
  ECDSA_SIG* parsed = d2i_ECDSA_SIG(nullptr, &cursor, static_cast<long>(der_size));
  BN_bn2binpad(ECDSA_SIG_get0_r(parsed), signature, 32);
  BN_bn2binpad(ECDSA_SIG_get0_s(parsed), signature + 32, 32);
  ECDSA_SIG_free(parsed);
  *signature_size = 64;
  if (how == "flip") signature[40] ^= 0x10;
  const std::string form = Get(call.config, "signature");
  if (form == "der") {
    std::memcpy(signature, der, der_size);
    *signature_size = der_size;
  } else if (form == "padded") {  // to whole blocks of 36 octets
    std::memmove(signature + 40, signature + 32, 32);
    std::memmove(signature + 4, signature, 32);
    std::memset(signature, 0, 4);
    std::memset(signature + 36, 0, 4);
    *signature_size = 72;
  } else if (form == "text") {
    std::memcpy(signature, "signed!", 7);
    *signature_size = 7;
  }
  return CKR_OK;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST** list) {
  static CK_FUNCTION_LIST functions = [] {
    CK_FUNCTION_LIST made{};
    made.version = {2, 40};
    made.C_Initialize = Initialize;
    made.C_Finalize = Finalize;
    made.C_GetInfo = GetInfo;
    made.C_GetSlotList = GetSlotList;
    made.C_GetTokenInfo = GetTokenInfo;
    made.C_GetMechanismInfo = GetMechanismInfo;
    made.C_OpenSession = OpenSession;
    made.C_CloseSession = CloseSession;
    made.C_GetSessionInfo = GetSessionInfo;
    made.C_Login = Login;
    made.C_FindObjectsInit = FindObjectsInit;
    made.C_FindObjects = FindObjects;
    made.C_FindObjectsFinal = FindObjectsFinal;
    made.C_GetAttributeValue = GetAttributeValue;
    made.C_SignInit = SignInit;
    made.C_Sign = Sign;
    return made;
  }();
  *list = &functions;
  return CKR_OK;
}
