#include "crypto/hmac.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <string>

#include "base/check.hpp"
#include "crypto/digest.hpp"

namespace signet::crypto {

Mac HmacSha256(base::ByteView key, base::ByteView message) {
  static constexpr std::uint8_t kNothing = 0;  // a null key would mean "the key of last time" to OpenSSL
  Mac mac{};
  unsigned size = 0;
  const bool done = ::HMAC(EVP_sha256(), key.empty() ? &kNothing : key.data(), static_cast<int>(key.size()),
                           message.data(), message.size(), mac.data(), &size) != nullptr;
  CHECK(done && size == mac.size(), "HMAC-SHA-256 is always there");
  return mac;
}

Mac Pbkdf2Sha256(base::ByteView secret, base::ByteView salt, int rounds) {
  Mac mac{};
  const bool done = PKCS5_PBKDF2_HMAC(reinterpret_cast<const char*>(secret.data()), static_cast<int>(secret.size()),
                                      salt.data(), static_cast<int>(salt.size()), rounds, EVP_sha256(),
                                      static_cast<int>(mac.size()), mac.data()) == 1;
  CHECK(done, "PBKDF2 is always there");
  return mac;
}

bool EqualConstantTime(base::ByteView a, base::ByteView b) {
  return a.size() == b.size() && (a.empty() || CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0);
}

base::Result<HmacKey> HmacKey::Create(base::Secret key) {
  const std::size_t size = key.Reveal().size();
  if (size < kMinSize || size > kMaxSize) {
    return base::MakeError(base::Code::kInvalidArgument, "a MAC key of " + std::to_string(size) +
                                                             " octets: give 32 to 1024 octets of a random source");
  }
  return HmacKey(std::move(key));
}

HmacKey HmacKey::Generate() { return HmacKey(base::Secret(RandomBytes(kMinSize))); }

Mac HmacKey::Sign(base::ByteView message) const { return HmacSha256(key_.Reveal(), message); }

bool HmacKey::Verify(base::ByteView message, base::ByteView mac) const { return EqualConstantTime(Sign(message), mac); }

}  // namespace signet::crypto
