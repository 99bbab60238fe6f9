#include "crypto/hasher.hpp"

#include "base/check.hpp"
#include "crypto/openssl_types.hpp"

namespace signet::crypto {
struct Hasher::Impl {
  MdCtxPtr context{EVP_MD_CTX_new()};
  std::size_t size = 0;
};

Hasher::Hasher(encoding::HashAlgorithm hash) : impl_(std::make_unique<Impl>()) {
  impl_->size = encoding::DigestSize(hash);
  CHECK(impl_->context != nullptr && EVP_DigestInit_ex(impl_->context.get(), DigestOf(hash), nullptr) == 1,
        "SHA-2 is always there");
}

Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;
Hasher::~Hasher() = default;

void Hasher::Update(base::ByteView data) {
  CHECK(EVP_DigestUpdate(impl_->context.get(), data.data(), data.size()) == 1, "SHA-2 is always there");
}

base::Bytes Hasher::Finish() {
  base::Bytes digest(impl_->size);
  unsigned size = 0;
  CHECK(EVP_DigestFinal_ex(impl_->context.get(), digest.data(), &size) == 1, "SHA-2 is always there");
  return digest;
}

}  // namespace signet::crypto
