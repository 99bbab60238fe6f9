// The search half of Session: objects, their attributes, keys with everything about them.
#include <fmt/format.h>

#include <algorithm>

#include "pkcs11/calls.hpp"
#include "pkcs11/key_error.hpp"
#include "pkcs11/mechanisms.hpp"
#include "pkcs11/rv.hpp"
#include "pkcs11/session.hpp"

namespace signet::pkcs11 {
namespace {

constexpr CK_ULONG kMaxAttribute = 64 * 1024;  // octets: nothing we read is longer
constexpr std::size_t kMaxHalves = 16;         // objects with one label or CKA_ID that are looked at

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

base::Error Unusable(std::string message) { return KeyRefused("KeyNotUsable", std::move(message)); }

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

base::Result<base::Bytes> Session::Shown(ObjectHandle object, unsigned long type) const {
  auto value = Attribute(object, type);
  if (!value && !IsDeviceTrouble(value.error())) return base::Bytes();
  return value;
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

/// What the private object itself says of its public half; empty where it says nothing: always told for RSA, in PKCS#11
/// v2.40 as CKA_PUBLIC_KEY_INFO, and some modules keep the point there.
base::Result<crypto::PublicKey> Session::OwnPublicKey(ObjectHandle private_key) const {
  crypto::PublicKey told;
  TRY(const base::Bytes spki, Shown(private_key, CKA_PUBLIC_KEY_INFO));
  if (!spki.empty()) {
    if (auto key = crypto::PublicKey::FromDer(spki)) told = *std::move(key);
  }
  auto parts = ReadPublicKey(private_key);
  if (!parts && IsDeviceTrouble(parts.error())) return parts;
  if (!parts) return told;
  if (!told.empty() && told.keyID() != parts->keyID()) {
    return KeyRefused("KeyMismatch", "the private key's CKA_PUBLIC_KEY_INFO is another key's: import the key again");
  }
  return parts;
}

/// The one public key in the objects of a class that fit `query`; empty: none that can be read.
base::Result<crypto::PublicKey> Session::OnePublicKey(unsigned long object_class, const KeyQuery& query) const {
  TRY(const auto candidates, Find(object_class, query, kMaxHalves));
  crypto::PublicKey found;
  for (const ObjectHandle candidate : candidates) {
    base::Result<crypto::PublicKey> key = crypto::PublicKey();
    if (object_class == CKO_CERTIFICATE) {
      const auto certificate = Attribute(candidate, CKA_VALUE);
      key = certificate ? crypto::PublicKey::FromCertificate(*certificate)
                        : base::Result<crypto::PublicKey>(certificate.error());
    } else {
      key = ReadPublicKey(candidate);
    }
    if (!key && IsTrouble(key.error())) return key;
    if (!key) continue;
    if (!found.empty() && found.keyID() != key->keyID()) {
      return KeyRefused(
          "KeyAmbiguous",
          fmt::format("several different public keys have the {} of the private key: give each pair its own",
                      query.id ? "CKA_ID" : "label"));
    }
    found = *std::move(key);
  }
  return found;
}

base::Result<crypto::PublicKey> Session::PublicKeyOf(ObjectHandle private_key, const KeyRecord& record) const {
  TRY(crypto::PublicKey own, OwnPublicKey(private_key));
  // The halves of a pair should share CKA_ID. Imported ones often share the label alone, and smart cards show
  // certificates instead of public keys. Whatever is found here counts once the private half has proven it.
  std::vector<KeyQuery> queries;
  if (!record.id.empty()) queries.push_back({std::nullopt, record.id});
  if (!record.label.empty() && own.empty()) queries.push_back({record.label, std::nullopt});
  for (const auto& query : queries) {
    for (const CK_OBJECT_CLASS object_class : {CKO_PUBLIC_KEY, CKO_CERTIFICATE}) {
      if (!own.empty() && object_class == CKO_CERTIFICATE) continue;
      TRY(auto found, OnePublicKey(object_class, query));
      if (found.empty()) continue;
      if (own.empty()) return found;
      if (own.keyID() == found.keyID()) continue;
      return KeyRefused(
          "KeyMismatch",
          fmt::format("the public key with the CKA_ID of the private key {} is another one than the private "
                      "key says itself: remove the one that does not belong to it",
                      record.label));
    }
  }
  if (!own.empty()) return own;
  return Unusable(fmt::format(
      "the public key of {} cannot be read: import it, or its certificate, into the token with the same CKA_ID",
      record.label));
}

base::Status Session::RestrictToAllowed(KeyRecord& record) const {
  TRY(const base::Bytes raw, Shown(record.handle, CKA_ALLOWED_MECHANISMS));
  if (raw.empty() || raw.size() % sizeof(CK_MECHANISM_TYPE) != 0) return {};
  std::vector<CK_MECHANISM_TYPE> allowed(raw.size() / sizeof(CK_MECHANISM_TYPE));
  std::copy(raw.begin(), raw.end(), reinterpret_cast<std::uint8_t*>(allowed.data()));
  std::erase_if(record.algorithms, [&](encoding::SignatureAlgorithm algorithm) {
    return std::find(allowed.begin(), allowed.end(), MechanismOf(algorithm).type) == allowed.end();
  });
  return {};
}

base::Result<ObjectHandle> Session::OnePrivateKey(const KeyQuery& query) const {
  TRY(auto handles, FindPrivateKeys(query, kMaxHalves));
  if (handles.empty()) {
    return base::MakeError(base::Code::kNotFound, "KeyNotFound", "no private key in the token fits the key's URI");
  }
  // Without login, anybody who reaches the token may write objects that need none. They are no keys of its user.
  TRY(const bool logged_in, LoggedIn());
  if (logged_in) {
    std::vector<ObjectHandle> kept;
    for (const ObjectHandle handle : handles) {
      TRY(const bool is_private, Flag(handle, CKA_PRIVATE, true));
      if (is_private) kept.push_back(handle);
    }
    if (kept.empty()) {
      return Unusable(
          "the private key can be used without login (CKA_PRIVATE is false), so that anybody who reaches "
          "the token may have written it: generate or import it as a private object");
    }
    handles = std::move(kept);
  }
  if (handles.size() > 1) {
    return KeyRefused("KeyAmbiguous", "more than one private key fits the key's URI: name it by id as well");
  }
  return handles.front();
}

base::Result<KeyRecord> Session::FindKey(const KeyQuery& query) const {
  KeyRecord record;
  TRY(record.handle, OnePrivateKey(query));
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
  // What a module does not tell is taken at its worst; whether the key signs, its proof will show.
  TRY(record.sensitive, Flag(record.handle, CKA_SENSITIVE, false));
  TRY(record.extractable, Flag(record.handle, CKA_EXTRACTABLE, true));
  TRY(record.never_extractable, Flag(record.handle, CKA_NEVER_EXTRACTABLE, false));
  TRY(record.local, Flag(record.handle, CKA_LOCAL, false));
  TRY(record.can_sign, Flag(record.handle, CKA_SIGN, true));
  TRY(record.always_authenticate, Flag(record.handle, CKA_ALWAYS_AUTHENTICATE, false));
  if (record.can_sign && !record.always_authenticate) {
    TRY(record.algorithms,
        module_->SignatureAlgorithms(slot_, record.public_key.algorithm(), record.public_key.bits()));
    TRY_VOID(RestrictToAllowed(record));
  }
  return record;
}

}  // namespace signet::pkcs11
