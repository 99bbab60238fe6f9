// crypto/issuers.hpp - several trusted certificates of one name: which of them signed this one?
//
// OpenSSL takes the first trusted certificate whose name (and key identifier, where there is one) fits the issuer of a
// certificate, and fails if that one did not sign it. While an authority is replaced, a bundle of trust holds the old
// and the new one, often under one name. Go, and so kubectl, tries them all.
//
// Thread-safety: as X509_STORE.
// Sources:       RFC 5280 section 6.1; X509_STORE_set_get_issuer(3), X509_check_issued(3).
#pragma once

#include <openssl/x509_vfy.h>

namespace signet::crypto {

/// From now on, verifications with `store` look for the issuer whose key verifies the signature.
void TryEveryIssuer(X509_STORE* store);

}  // namespace signet::crypto
