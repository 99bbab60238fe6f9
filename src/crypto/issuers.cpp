#include "crypto/issuers.hpp"

#include "crypto/openssl_types.hpp"

namespace signet::crypto {
namespace {

struct FreeAll {
  void operator()(STACK_OF(X509) * certificates) const { sk_X509_pop_free(certificates, X509_free); }
};
using X509StackPtr = std::unique_ptr<STACK_OF(X509), FreeAll>;

bool IsCurrent(const X509* certificate) {
  return X509_cmp_current_time(X509_get0_notBefore(certificate)) <= 0 &&
         X509_cmp_current_time(X509_get0_notAfter(certificate)) >= 0;
}

bool Signed(X509* issuer, X509* certificate) {
  if (X509_check_issued(issuer, certificate) != X509_V_OK) return false;
  EVP_PKEY* key = X509_get0_pubkey(issuer);
  const bool verifies = key != nullptr && X509_verify(certificate, key) == 1;
  ERR_clear_error();  // the failures of the others
  return verifies;
}

/// 1 with *issuer, which the caller frees; 0: there is none; -1: failed.
int FindIssuer(X509** issuer, X509_STORE_CTX* chain, X509* certificate) {
  const X509StackPtr named(X509_STORE_CTX_get1_certs(chain, X509_get_issuer_name(certificate)));
  if (named == nullptr || sk_X509_num(named.get()) < 2) return X509_STORE_CTX_get1_issuer(issuer, chain, certificate);
  X509* found = nullptr;
  for (int i = 0; i < sk_X509_num(named.get()); ++i) {
    X509* one = sk_X509_value(named.get(), i);
    // A self-signed certificate is trusted as itself only, and not through another one of the same key.
    if (X509_cmp(one, certificate) == 0) {
      found = one;
      break;
    }
    if ((found == nullptr || !IsCurrent(found)) && Signed(one, certificate)) found = one;
  }
  if (found == nullptr) return X509_STORE_CTX_get1_issuer(issuer, chain, certificate);
  if (X509_up_ref(found) != 1) return -1;
  *issuer = found;
  return 1;
}

}  // namespace

void TryEveryIssuer(X509_STORE* store) { X509_STORE_set_get_issuer(store, &FindIssuer); }

}  // namespace signet::crypto
