// tests/support/softhsm_objects.hpp - objects in a SoftHSM token, written and removed behind Signet's back.
//
// With a PIN as the token's user; without one as anybody who reaches the token. One at a time per process; other
// processes may use the token meanwhile.
#pragma once

#include <dlfcn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <p11-kit/pkcs11.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "support/softhsm.hpp"

namespace signet::testing {

using Pkey = std::shared_ptr<EVP_PKEY>;
inline Pkey Own(EVP_PKEY* key) { return {key, EVP_PKEY_free}; }
inline Pkey PublicHalf(base::ByteView spki) {
  const unsigned char* cursor = spki.data();
  return Own(d2i_PUBKEY(nullptr, &cursor, static_cast<long>(spki.size())));
}

class SoftHsmObjects {
 public:
  explicit SoftHsmObjects(const char* pin = nullptr) {
    void* library = ::dlopen(SoftHsm::module().c_str(), RTLD_NOW | RTLD_LOCAL);
    reinterpret_cast<CK_C_GetFunctionList>(::dlsym(library, "C_GetFunctionList"))(&p11_);
    Must(p11_->C_Initialize(nullptr), "C_Initialize");
    CK_SLOT_ID slots[8];
    CK_ULONG count = 8;
    Must(p11_->C_GetSlotList(CK_TRUE, slots, &count), "C_GetSlotList");
    Must(p11_->C_OpenSession(slots[0], CKF_SERIAL_SESSION | CKF_RW_SESSION, nullptr, nullptr, &session_),
         "OpenSession");
    if (pin == nullptr) return;
    const std::string text = pin;
    Must(p11_->C_Login(session_, CKU_USER, reinterpret_cast<CK_UTF8CHAR*>(const_cast<char*>(text.data())), text.size()),
         "C_Login");
  }
  SoftHsmObjects(const SoftHsmObjects&) = delete;
  SoftHsmObjects& operator=(const SoftHsmObjects&) = delete;
  ~SoftHsmObjects() { p11_->C_Finalize(nullptr); }

  void AddPublicKey(const Pkey& key, const std::string& label, const base::Bytes& id) {
    Begin(CKO_PUBLIC_KEY, label, id, CK_FALSE);
    AddKeyType(key);
    AddPublicParts(key);
    Create();
  }
  /// P-256 only.
  void AddPrivateKey(const Pkey& key, const std::string& label, const base::Bytes& id, bool needs_login = true) {
    Begin(CKO_PRIVATE_KEY, label, id, needs_login ? CK_TRUE : CK_FALSE);
    AddKeyType(key);
    Put(CKA_SIGN, Flag(CK_TRUE));
    Put(CKA_SENSITIVE, Flag(needs_login ? CK_TRUE : CK_FALSE));
    Put(CKA_EC_PARAMS, CurveOf(key));
    Put(CKA_VALUE, Big(key, OSSL_PKEY_PARAM_PRIV_KEY));
    Create();
  }
  void AddCertificate(const Pkey& key, const std::string& label, const base::Bytes& id) {
    const std::unique_ptr<X509, decltype(&X509_free)> made(X509_new(), X509_free);
    const Pkey signer = Own(EVP_EC_gen("P-256"));
    X509_set_version(made.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(made.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(made.get()), 0);
    X509_gmtime_adj(X509_getm_notAfter(made.get()), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(made.get()), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("signet test"), -1, -1, 0);
    X509_set_pubkey(made.get(), key.get());
    X509_sign(made.get(), signer.get(), EVP_sha256());
    unsigned char* der = nullptr;
    const int size = i2d_X509(made.get(), &der);
    unsigned char* subject = nullptr;
    const int subject_size = i2d_X509_NAME(X509_get_subject_name(made.get()), &subject);
    Begin(CKO_CERTIFICATE, label, id, CK_FALSE);
    const CK_CERTIFICATE_TYPE type = CKC_X_509;
    Put(CKA_CERTIFICATE_TYPE, Raw(&type, sizeof(type)));
    Put(CKA_VALUE, {der, der + size});
    Put(CKA_SUBJECT, {subject, subject + subject_size});
    OPENSSL_free(der);
    OPENSSL_free(subject);
    Create();
  }
  /// All objects of the class with this label.
  void Remove(CK_OBJECT_CLASS object_class, const std::string& label) {
    for (const auto handle : Find(object_class, label)) Must(p11_->C_DestroyObject(session_, handle), "DestroyObject");
  }
  void Change(CK_OBJECT_CLASS object_class, const std::string& label, CK_ATTRIBUTE_TYPE type, base::Bytes value) {
    CK_ATTRIBUTE change{type, value.data(), static_cast<CK_ULONG>(value.size())};
    for (const auto handle : Find(object_class, label)) {
      Must(p11_->C_SetAttributeValue(session_, handle, &change, 1), "SetAttributeValue");
    }
  }
  base::Bytes IdOf(CK_OBJECT_CLASS object_class, const std::string& label) {
    unsigned char id[64];
    CK_ATTRIBUTE wanted{CKA_ID, id, sizeof(id)};
    Must(p11_->C_GetAttributeValue(session_, Find(object_class, label).at(0), &wanted, 1), "GetAttributeValue");
    return {id, id + wanted.ulValueLen};
  }

 private:
  static void Must(CK_RV rv, const char* what) {
    if (rv != CKR_OK) throw std::runtime_error(std::string(what) + " answered " + std::to_string(rv));
  }
  static base::Bytes Raw(const void* data, std::size_t size) {
    const auto* octets = static_cast<const unsigned char*>(data);
    return {octets, octets + size};
  }
  static base::Bytes Flag(CK_BBOOL value) { return Raw(&value, sizeof(value)); }
  static base::Bytes Big(const Pkey& key, const char* name) {
    BIGNUM* number = nullptr;
    EVP_PKEY_get_bn_param(key.get(), name, &number);
    base::Bytes octets(static_cast<std::size_t>(BN_num_bytes(number)));
    BN_bn2bin(number, octets.data());
    BN_free(number);
    return octets;
  }
  static base::Bytes CurveOf(const Pkey& key) {
    if (EVP_PKEY_get_base_id(key.get()) == EVP_PKEY_ED25519) {
      return base::ToBytes(
          base::AsBytes(std::string_view("\x13\x0c"
                                         "edwards25519")));
    }
    char group[32];
    EVP_PKEY_get_group_name(key.get(), group, sizeof(group), nullptr);
    unsigned char* der = nullptr;
    const int size = i2d_ASN1_OBJECT(OBJ_nid2obj(OBJ_sn2nid(group)), &der);
    base::Bytes octets(der, der + size);
    OPENSSL_free(der);
    return octets;
  }
  static base::Bytes PointOf(const Pkey& key) {
    base::Bytes point(200);
    std::size_t size = point.size();
    if (EVP_PKEY_get_base_id(key.get()) == EVP_PKEY_ED25519) {
      EVP_PKEY_get_raw_public_key(key.get(), point.data(), &size);
    } else {
      EVP_PKEY_get_octet_string_param(key.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size(), &size);
    }
    point.resize(size);
    base::Bytes der = {4};
    if (size > 127) der.push_back(0x81);
    der.push_back(static_cast<unsigned char>(size));
    der.insert(der.end(), point.begin(), point.end());
    return der;
  }

  void Begin(CK_OBJECT_CLASS object_class, const std::string& label, const base::Bytes& id, CK_BBOOL is_private) {
    values_.clear();
    Put(CKA_CLASS, Raw(&object_class, sizeof(object_class)));
    Put(CKA_TOKEN, Flag(CK_TRUE));
    Put(CKA_PRIVATE, Flag(is_private));
    Put(CKA_LABEL, base::ToBytes(base::AsBytes(label)));
    Put(CKA_ID, id);
  }
  void AddKeyType(const Pkey& key) {
    const int base_id = EVP_PKEY_get_base_id(key.get());
    const CK_KEY_TYPE type = base_id == EVP_PKEY_RSA ? CKK_RSA : base_id == EVP_PKEY_EC ? CKK_EC : CKK_EC_EDWARDS;
    Put(CKA_KEY_TYPE, Raw(&type, sizeof(type)));
  }
  void AddPublicParts(const Pkey& key) {
    if (EVP_PKEY_get_base_id(key.get()) == EVP_PKEY_RSA) {
      Put(CKA_MODULUS, Big(key, OSSL_PKEY_PARAM_RSA_N));
      Put(CKA_PUBLIC_EXPONENT, Big(key, OSSL_PKEY_PARAM_RSA_E));
      return;
    }
    Put(CKA_EC_PARAMS, CurveOf(key));
    Put(CKA_EC_POINT, PointOf(key));
  }
  void Put(CK_ATTRIBUTE_TYPE type, base::Bytes value) { values_.emplace_back(type, std::move(value)); }
  void Create() {
    std::vector<CK_ATTRIBUTE> attributes;
    for (auto& [type, value] : values_) {
      attributes.push_back({type, value.data(), static_cast<CK_ULONG>(value.size())});
    }
    CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
    Must(p11_->C_CreateObject(session_, attributes.data(), attributes.size(), &made), "C_CreateObject");
  }
  std::vector<CK_OBJECT_HANDLE> Find(CK_OBJECT_CLASS object_class, const std::string& label) {
    CK_ATTRIBUTE filter[] = {{CKA_CLASS, &object_class, sizeof(object_class)},
                             {CKA_LABEL, const_cast<char*>(label.data()), static_cast<CK_ULONG>(label.size())}};
    CK_OBJECT_HANDLE found[16];
    CK_ULONG count = 0;
    Must(p11_->C_FindObjectsInit(session_, filter, 2), "C_FindObjectsInit");
    Must(p11_->C_FindObjects(session_, found, 16, &count), "C_FindObjects");
    Must(p11_->C_FindObjectsFinal(session_), "C_FindObjectsFinal");
    if (count == 0) throw std::runtime_error("no object " + label);
    return {found, found + count};
  }

  CK_FUNCTION_LIST* p11_ = nullptr;
  CK_SESSION_HANDLE session_ = 0;
  std::vector<std::pair<CK_ATTRIBUTE_TYPE, base::Bytes>> values_;
};

}  // namespace signet::testing
