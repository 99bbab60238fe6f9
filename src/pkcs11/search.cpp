// The search half of Session: objects, their attributes, keys with everything about them.
#include <fmt/format.h>

#include <algorithm>

#include "pkcs11/calls.hpp"
#include "pkcs11/mechanisms.hpp"
#include "pkcs11/rv.hpp"
#include "pkcs11/session.hpp"

namespace signet::pkcs11 {
namespace {

constexpr CK_ULONG kMaxAttribute = 64 * 1024;  // octets: nothing we read is longer

/// Ends a search whatever happened in it: an active search blocks the session for the next one.
class SearchGuard {
 public:
  SearchGuard(const Calls& calls, CK_SESSION_HANDLE session) : calls_(calls), session_(session) {}
  SearchGuard(const SearchGuard&) = delete;
  SearchGuard& operator=(const SearchGuard&) = delete;
  ~SearchGuard() { calls_.Do(&CK_FUNCTION_LIST::C_FindObjectsFinal, session_); }

 private:
  const Calls& calls_;
  CK_SESSION_HANDLE session_;
};

base::Error Unusable(std::string message) {
  return base::MakeError(base::Code::kFailedPrecondition, "KeyUnusable", std::move(message));
}

/// True for trouble of the device. Some modules answer GENERAL_ERROR or FUNCTION_FAILED for an attribute that they do
/// not know, so that for an attribute with a default these are not.
bool IsDeviceTrouble(const base::Error& error) {
  const auto rv = static_cast<Rv>(error.native.number);
  return IsTrouble(error) && rv != CKR_GENERAL_ERROR && rv != CKR_FUNCTION_FAILED && !RowOf(rv).name.empty();
}

}  // namespace

base::Result<std::vector<ObjectHandle>> Session::Find(unsigned long object_class, const KeyQuery& query,
                                                      std::size_t limit) const {
  CK_OBJECT_CLASS wanted = object_class;
  std::vector<CK_ATTRIBUTE> filter = {{CKA_CLASS, &wanted, sizeof(wanted)}};
  if (query.label) {
    filter.push_back({CKA_LABEL, const_cast<char*>(query.label->data()), static_cast<CK_ULONG>(query.label->size())});
  }
  if (query.id) {
    filter.push_back({CKA_ID, const_cast<std::uint8_t*>(query.id->data()), static_cast<CK_ULONG>(query.id->size())});
  }
  CK_RV rv = module_->calls().Do(&CK_FUNCTION_LIST::C_FindObjectsInit, handle_, filter.data(),
                                 static_cast<CK_ULONG>(filter.size()));
  if (rv != CKR_OK) return FromRv(rv, "FindObjectsInit");
  const SearchGuard guard(module_->calls(), handle_);
  std::vector<ObjectHandle> found;
  while (found.size() < limit) {
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    CK_ULONG count = 0;
    rv = module_->calls().Do(&CK_FUNCTION_LIST::C_FindObjects, handle_, &handle, CK_ULONG{1}, &count);
    if (rv != CKR_OK) return FromRv(rv, "FindObjects");
    if (count == 0) break;
    found.push_back(handle);
  }
  return found;
}

base::Result<std::vector<ObjectHandle>> Session::FindPrivateKeys(const KeyQuery& query, std::size_t limit) const {
  return Find(CKO_PRIVATE_KEY, query, limit);
}

base::Result<std::vector<ObjectHandle>> Session::FindPublicKeys(const KeyQuery& query, std::size_t limit) const {
  return Find(CKO_PUBLIC_KEY, query, limit);
}

base::Result<base::Bytes> Session::Attribute(ObjectHandle object, unsigned long type) const {
  CK_ATTRIBUTE attribute{type, nullptr, 0};
  CK_RV rv = module_->calls().Do(&CK_FUNCTION_LIST::C_GetAttributeValue, handle_, object, &attribute, CK_ULONG{1});
  if (rv != CKR_OK) return FromRv(rv, "GetAttributeValue");
  if (attribute.ulValueLen == CK_UNAVAILABLE_INFORMATION || attribute.ulValueLen > kMaxAttribute) {
    return base::MakeError(base::Code::kFailedPrecondition, "the HSM does not show an attribute");
  }
  base::Bytes value(attribute.ulValueLen);
  if (value.empty()) return value;
  attribute.pValue = value.data();
  rv = module_->calls().Do(&CK_FUNCTION_LIST::C_GetAttributeValue, handle_, object, &attribute, CK_ULONG{1});
  if (rv != CKR_OK) return FromRv(rv, "GetAttributeValue");
  if (attribute.ulValueLen > value.size()) return base::MakeError(base::Code::kInternal, "an attribute grew");
  value.resize(attribute.ulValueLen);
  return value;
}

base::Result<bool> Session::Flag(ObjectHandle object, unsigned long type, bool otherwise) const {
  const auto value = Attribute(object, type);
  if (!value && IsDeviceTrouble(value.error())) return value.error();
  return value && value->size() == sizeof(CK_BBOOL) ? value->front() != CK_FALSE : otherwise;
}

base::Result<unsigned long> Session::Number(ObjectHandle object, unsigned long type) const {
  TRY(const base::Bytes value, Attribute(object, type));
  CK_ULONG number = 0;
  if (value.size() != sizeof(number)) return base::MakeError(base::Code::kInternal, "an attribute has an odd size");
  std::copy(value.begin(), value.end(), reinterpret_cast<std::uint8_t*>(&number));
  return number;
}

base::Result<crypto::PublicKey> Session::ReadPublicKey(ObjectHandle public_key) const {
  TRY(const auto type, Number(public_key, CKA_KEY_TYPE));
  const KeyKind* kind = KindOf(static_cast<CK_KEY_TYPE>(type));
  if (kind == nullptr) return Unusable(fmt::format("keys of PKCS#11 type {:#x} are not supported", type));
  if (kind->algorithm == encoding::KeyAlgorithm::kRsa) {
    TRY(const base::Bytes modulus, Attribute(public_key, CKA_MODULUS));
    TRY(const base::Bytes exponent, Attribute(public_key, CKA_PUBLIC_EXPONENT));
    return crypto::PublicKey::FromRsa(modulus, exponent);
  }
  TRY(const base::Bytes params, Attribute(public_key, CKA_EC_PARAMS));
  TRY(const base::Bytes point, Attribute(public_key, CKA_EC_POINT));
  return crypto::PublicKey::FromEcPoint(params, point);
}

base::Result<crypto::PublicKey> Session::PublicKeyOf(ObjectHandle private_key, const KeyRecord& record) const {
  // The halves of a pair share CKA_ID; without one, the label has to do.
  KeyQuery query;
  if (!record.id.empty()) {
    query.id = record.id;
  } else {
    query.label = record.label;
  }
  TRY(const auto type, Number(private_key, CKA_KEY_TYPE));
  TRY(const auto candidates, FindPublicKeys(query, 16));
  crypto::PublicKey found;
  for (const ObjectHandle candidate : candidates) {
    auto candidate_type = Number(candidate, CKA_KEY_TYPE);
    if (!candidate_type && IsTrouble(candidate_type.error())) return candidate_type.error();
    if (!candidate_type || *candidate_type != type) continue;
    auto key = ReadPublicKey(candidate);
    if (!key && IsTrouble(key.error())) return key;
    if (!key) continue;
    if (!found.empty() && found.keyID() != key->keyID()) {
      return base::MakeError(
          base::Code::kFailedPrecondition, "KeyAmbiguous",
          fmt::format("several public keys have the CKA_ID of the key {}: give each pair its own", record.label));
    }
    found = *std::move(key);
  }
  if (!found.empty()) return found;
  // No public object: the private half itself may tell (always for RSA; PKCS#11 v2.40 CKA_PUBLIC_KEY_INFO; some
  // modules keep the point there).
  if (auto spki = Attribute(private_key, CKA_PUBLIC_KEY_INFO); spki && !spki->empty()) {
    if (auto key = crypto::PublicKey::FromDer(*spki); key) return key;
  }
  auto key = ReadPublicKey(private_key);
  if (key || IsTrouble(key.error())) return key;
  return Unusable(
      fmt::format("the public key of {} cannot be read: import it into the token with the same CKA_ID", record.label));
}

void Session::RestrictToAllowed(KeyRecord& record) const {
  const auto raw = Attribute(record.handle, CKA_ALLOWED_MECHANISMS);
  if (!raw || raw->empty() || raw->size() % sizeof(CK_MECHANISM_TYPE) != 0) return;
  std::vector<CK_MECHANISM_TYPE> allowed(raw->size() / sizeof(CK_MECHANISM_TYPE));
  std::copy(raw->begin(), raw->end(), reinterpret_cast<std::uint8_t*>(allowed.data()));
  std::erase_if(record.algorithms, [&](encoding::SignatureAlgorithm algorithm) {
    return std::find(allowed.begin(), allowed.end(), MechanismOf(algorithm).type) == allowed.end();
  });
}

base::Result<KeyRecord> Session::FindKey(const KeyQuery& query) const {
  TRY(const auto handles, FindPrivateKeys(query, 2));
  if (handles.empty()) {
    return base::MakeError(base::Code::kNotFound, "KeyNotFound", "no private key in the token fits the key's URI");
  }
  if (handles.size() > 1) {
    return base::MakeError(base::Code::kFailedPrecondition, "KeyAmbiguous",
                           "more than one private key fits the key's URI: name it by id as well");
  }
  KeyRecord record;
  record.handle = handles.front();
  if (auto label = Attribute(record.handle, CKA_LABEL); label) {
    record.label = base::AsText(*label);
  } else if (IsTrouble(label.error())) {
    return label.error();
  }
  if (auto id = Attribute(record.handle, CKA_ID); id) {
    record.id = *std::move(id);
  } else if (IsTrouble(id.error())) {
    return id.error();
  }
  TRY(record.public_key, PublicKeyOf(record.handle, record));
  // What a module does not tell is taken at its worst.
  TRY(record.sensitive, Flag(record.handle, CKA_SENSITIVE, false));
  TRY(record.extractable, Flag(record.handle, CKA_EXTRACTABLE, true));
  TRY(record.never_extractable, Flag(record.handle, CKA_NEVER_EXTRACTABLE, false));
  TRY(record.local, Flag(record.handle, CKA_LOCAL, false));
  TRY(record.can_sign, Flag(record.handle, CKA_SIGN, false));
  TRY(record.always_authenticate, Flag(record.handle, CKA_ALWAYS_AUTHENTICATE, false));
  if (record.can_sign && !record.always_authenticate) {
    record.algorithms = module_->SignatureAlgorithms(slot_, record.public_key.algorithm(), record.public_key.bits());
    RestrictToAllowed(record);
  }
  return record;
}

}  // namespace signet::pkcs11
