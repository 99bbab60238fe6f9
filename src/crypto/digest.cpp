#include "crypto/digest.hpp"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include "base/check.hpp"
#include "encoding/text.hpp"

namespace signet::crypto {
namespace {

const EVP_MD* Evp(encoding::HashAlgorithm hash) {
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

}  // namespace

base::Bytes Hash(encoding::HashAlgorithm hash, base::ByteView data) {
  base::Bytes digest(encoding::DigestSize(hash));
  unsigned size = 0;
  CHECK(EVP_Digest(data.data(), data.size(), digest.data(), &size, Evp(hash), nullptr) == 1, "SHA-2 is always there");
  return digest;
}

std::array<std::uint8_t, 32> Sha256(base::ByteView data) {
  std::array<std::uint8_t, 32> digest{};
  ::SHA256(data.data(), data.size(), digest.data());  // no EVP fetch: this runs for every record
  return digest;
}

std::string Sha256Hex(base::ByteView data) { return encoding::ToHex(Sha256(data)); }

base::Bytes RandomBytes(std::size_t size) {
  base::Bytes bytes(size);
  CHECK(RAND_bytes(bytes.data(), static_cast<int>(size)) == 1, "the system's random source must work");
  return bytes;
}

}  // namespace signet::crypto
