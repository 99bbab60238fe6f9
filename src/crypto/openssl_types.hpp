// crypto/openssl_types.hpp - for this module's own .cpp files: OpenSSL objects that free themselves.
#pragma once

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "encoding/algorithm.hpp"

namespace signet::crypto {

template <auto Free>
struct Deleter {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using PkeyPtr = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using PkeyCtxPtr = std::unique_ptr<EVP_PKEY_CTX, Deleter<EVP_PKEY_CTX_free>>;
using MdCtxPtr = std::unique_ptr<EVP_MD_CTX, Deleter<EVP_MD_CTX_free>>;
using BioPtr = std::unique_ptr<BIO, Deleter<BIO_free_all>>;
using BnPtr = std::unique_ptr<BIGNUM, Deleter<BN_free>>;
using SigPtr = std::unique_ptr<ECDSA_SIG, Deleter<ECDSA_SIG_free>>;
using ParamBuilderPtr = std::unique_ptr<OSSL_PARAM_BLD, Deleter<OSSL_PARAM_BLD_free>>;
using ParamsPtr = std::unique_ptr<OSSL_PARAM, Deleter<OSSL_PARAM_free>>;
using AsnObjectPtr = std::unique_ptr<ASN1_OBJECT, Deleter<ASN1_OBJECT_free>>;
using X509Ptr = std::unique_ptr<X509, Deleter<X509_free>>;

/// For every PEM_read: without it OpenSSL asks the terminal for the password of an encrypted file.
inline int NoPassword(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*data*/) { return -1; }

/// kInvalidArgument; what OpenSSL has queued about it is dropped, so that it never colours a later call.
inline base::Error Bad(std::string message) {
  ERR_clear_error();
  return base::MakeError(base::Code::kInvalidArgument, std::move(message));
}

inline const EVP_MD* DigestOf(encoding::HashAlgorithm hash) {
  switch (hash) {
    case encoding::HashAlgorithm::kSha256:
      return EVP_sha256();
    case encoding::HashAlgorithm::kSha384:
      return EVP_sha384();
    case encoding::HashAlgorithm::kSha512:
      return EVP_sha512();
  }
  return nullptr;
}

inline BioPtr MemoryBio(std::string_view text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

}  // namespace signet::crypto
