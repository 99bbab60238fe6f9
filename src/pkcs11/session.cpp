#include "pkcs11/session.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "obs/log.hpp"
#include "pkcs11/calls.hpp"
#include "pkcs11/mechanisms.hpp"
#include "pkcs11/rv.hpp"

namespace signet::pkcs11 {
namespace {

constexpr std::size_t kMaxSignature = 2048;  // octets; RSA-16384

CK_ATTRIBUTE Text(CK_ATTRIBUTE_TYPE type, std::string_view text) {
  return {type, const_cast<char*>(text.data()), static_cast<CK_ULONG>(text.size())};
}
CK_ATTRIBUTE Octets(CK_ATTRIBUTE_TYPE type, base::ByteView octets) {
  return {type, const_cast<std::uint8_t*>(octets.data()), static_cast<CK_ULONG>(octets.size())};
}
template <class Value>
CK_ATTRIBUTE Plain(CK_ATTRIBUTE_TYPE type, Value& value) {
  return {type, &value, sizeof(value)};
}

/// Octets handed to the mechanism; only DigestInfo needs a copy.
class Prepared {
 public:
  Prepared(const SignMechanism& mechanism, int bits, base::ByteView input) : view_(input) {
    const auto& info = encoding::Info(mechanism.algorithm);
    if (mechanism.input == Input::kDigestInfo) {
      const base::ByteView prefix = DigestInfoPrefix(*info.hash);
      std::memcpy(buffer_.data(), prefix.data(), prefix.size());
      std::memcpy(buffer_.data() + prefix.size(), input.data(), input.size());
      view_ = base::ByteView(buffer_.data(), prefix.size() + input.size());
    } else if (info.key == encoding::KeyAlgorithm::kEcdsa) {
      // FIPS 186-4 section 6.4: the leftmost bits of the digest; modules differ in whether they cut themselves.
      const std::size_t order = (static_cast<std::size_t>(bits) + 7) / 8;
      view_ = input.first(std::min(input.size(), order));
    }
  }
  [[nodiscard]] base::ByteView view() const { return view_; }

 private:
  std::array<std::uint8_t, 96> buffer_;  // 19 octets of prefix and at most 64 of digest
  base::ByteView view_;
};

/// A token's signature in the form of our callers.
base::Result<base::Bytes> Standard(encoding::KeyAlgorithm key, int bits, base::ByteView raw) {
  const std::size_t size = (static_cast<std::size_t>(bits) + 7) / 8;
  if (key == encoding::KeyAlgorithm::kEcdsa) {
    auto der = crypto::EcdsaTokenToDer(raw, size);
    if (der) return der;
    return base::MakeError(base::Code::kInternal, "the HSM's signature has a form that Signet does not know");
  }
  // RFC 8017 section 8: as long as the modulus; some tokens cut leading zeros.
  base::Bytes signature(key == encoding::KeyAlgorithm::kRsa && raw.size() < size ? size - raw.size() : 0);
  signature.insert(signature.end(), raw.begin(), raw.end());
  return signature;
}

}  // namespace

base::Result<Session> Session::Open(std::shared_ptr<Module> module, SlotId slot, Mode mode) {
  CK_SESSION_HANDLE handle = CK_INVALID_HANDLE;
  const CK_FLAGS flags = CKF_SERIAL_SESSION | (mode == Mode::kReadWrite ? CKF_RW_SESSION : 0UL);
  const CK_RV rv = module->calls().Do(&CK_FUNCTION_LIST::C_OpenSession, slot, flags, static_cast<void*>(nullptr),
                                      static_cast<CK_NOTIFY>(nullptr), &handle);
  if (rv != CKR_OK) return FromRv(rv, "OpenSession");
  return Session(std::move(module), slot, handle);
}

Session::Session(Session&& other) noexcept
    : module_(std::move(other.module_)), slot_(other.slot_), handle_(std::exchange(other.handle_, 0)) {}

Session& Session::operator=(Session&& other) noexcept {
  if (this != &other) {
    Close();
    module_ = std::move(other.module_);
    slot_ = other.slot_;
    handle_ = std::exchange(other.handle_, 0);
  }
  return *this;
}

void Session::Close() noexcept {
  if (handle_ == CK_INVALID_HANDLE) return;
  const CK_RV rv = module_->calls().Do(&CK_FUNCTION_LIST::C_CloseSession, handle_);
  if (rv != CKR_OK) obs::Debug("closing a session failed", {{"rv", NameOf(rv)}});
  handle_ = CK_INVALID_HANDLE;
}

base::Result<bool> Session::Login(base::ByteView pin) {
  const CK_RV rv = module_->calls().Do(&CK_FUNCTION_LIST::C_Login, handle_, static_cast<CK_USER_TYPE>(CKU_USER),
                                       const_cast<CK_UTF8CHAR*>(pin.data()), static_cast<CK_ULONG>(pin.size()));
  if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN) return rv == CKR_OK;
  return FromRv(rv, "Login");
}

base::Result<bool> Session::LoggedIn() const {
  CK_SESSION_INFO info{};
  const CK_RV rv = module_->calls().Do(&CK_FUNCTION_LIST::C_GetSessionInfo, handle_, &info);
  if (rv != CKR_OK) return FromRv(rv, "GetSessionInfo");
  return info.state == CKS_RO_USER_FUNCTIONS || info.state == CKS_RW_USER_FUNCTIONS;
}

SignOutcome Session::Sign(ObjectHandle key, encoding::SignatureAlgorithm algorithm, int bits, base::ByteView input) {
  const SignMechanism& row = MechanismOf(algorithm);
  const auto& info = encoding::Info(algorithm);
  if (info.hash && input.size() != encoding::DigestSize(*info.hash)) {
    return {base::MakeError(base::Code::kInvalidArgument, "DigestMismatch", "the digest's size is not the algorithm's"),
            true};
  }
  CK_RSA_PKCS_PSS_PARAMS pss{row.pss_hash, row.pss_mgf, static_cast<CK_ULONG>(input.size())};
  CK_MECHANISM mechanism{row.type, nullptr, 0};
  if (row.pss_hash != 0) mechanism = {row.type, &pss, sizeof(pss)};

  CK_RV rv = module_->calls().Do(&CK_FUNCTION_LIST::C_SignInit, handle_, &mechanism, key);
  if (rv != CKR_OK) return {FromRv(rv, "SignInit"), true};

  const Prepared prepared(row, bits, input);
  std::array<std::uint8_t, kMaxSignature> buffer;
  CK_ULONG size = buffer.size();
  rv = module_->calls().Do(&CK_FUNCTION_LIST::C_Sign, handle_, const_cast<std::uint8_t*>(prepared.view().data()),
                           static_cast<CK_ULONG>(prepared.view().size()), buffer.data(), &size);
  if (rv != CKR_OK) return {FromRv(rv, "Sign"), RowOf(rv).not_begun};
  const base::ByteView raw(buffer.data(), std::min<std::size_t>(size, buffer.size()));
  return {Standard(info.key, bits, raw), false};
}

base::Status Session::GenerateKeyPair(encoding::KeyAlgorithm algorithm, int bits, const std::string& label,
                                      base::ByteView id) {
  const KeyKind* kind = KindOf(algorithm, bits);
  if (kind == nullptr || !encoding::IsSupportedKeySize(algorithm, bits)) {
    return base::MakeError(base::Code::kInvalidArgument, "Malformed", "no such key algorithm and size");
  }
  CK_BBOOL yes = CK_TRUE;
  CK_BBOOL no = CK_FALSE;
  CK_KEY_TYPE type = kind->key_type;
  CK_ULONG modulus_bits = static_cast<CK_ULONG>(bits);
  std::array<std::uint8_t, 3> exponent = {0x01, 0x00, 0x01};
  const bool rsa = algorithm == encoding::KeyAlgorithm::kRsa;

  std::vector<CK_ATTRIBUTE> private_half = {
      Plain(CKA_TOKEN, yes),      Plain(CKA_PRIVATE, yes), Plain(CKA_SENSITIVE, yes),
      Plain(CKA_EXTRACTABLE, no), Plain(CKA_SIGN, yes),    Plain(rsa ? CKA_DECRYPT : CKA_DERIVE, no),
      Plain(CKA_KEY_TYPE, type),  Text(CKA_LABEL, label),  Octets(CKA_ID, id)};
  if (rsa) private_half.push_back(Plain(CKA_UNWRAP, no));
  base::Error last = base::MakeError(base::Code::kInternal, "no key generation was tried");
  const std::size_t forms = std::max<std::size_t>(kind->curve.size(), 1);
  for (std::size_t form = 0; form < forms; ++form) {
    std::vector<CK_ATTRIBUTE> public_half = {Plain(CKA_TOKEN, yes),     Plain(CKA_PRIVATE, no), Plain(CKA_VERIFY, yes),
                                             Plain(CKA_KEY_TYPE, type), Text(CKA_LABEL, label), Octets(CKA_ID, id)};
    if (rsa) {
      public_half.push_back(Plain(CKA_MODULUS_BITS, modulus_bits));
      public_half.push_back(Octets(CKA_PUBLIC_EXPONENT, exponent));
    } else {
      public_half.push_back(Octets(CKA_EC_PARAMS, kind->curve[form]));
    }
    CK_MECHANISM mechanism{kind->generate, nullptr, 0};
    CK_OBJECT_HANDLE public_key = CK_INVALID_HANDLE;
    CK_OBJECT_HANDLE private_key = CK_INVALID_HANDLE;
    const CK_RV rv = module_->calls().Do(&CK_FUNCTION_LIST::C_GenerateKeyPair, handle_, &mechanism, public_half.data(),
                                         static_cast<CK_ULONG>(public_half.size()), private_half.data(),
                                         static_cast<CK_ULONG>(private_half.size()), &public_key, &private_key);
    if (rv == CKR_OK) return {};
    last = FromRv(rv, "GenerateKeyPair");
    if (ConsequenceOf(last) == Consequence::kReplay || ConsequenceOf(last) == Consequence::kReinitialise) break;
  }
  return last;
}

}  // namespace signet::pkcs11
