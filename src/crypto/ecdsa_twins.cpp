#include "crypto/ecdsa_twins.hpp"

#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/obj_mac.h>

#include <memory>

#include "crypto/openssl_types.hpp"
#include "crypto/public_key.hpp"

namespace signet::crypto {
namespace {

constexpr std::size_t kMaxSignature = 256;  // P-521's DER has 141 bytes at most

SigPtr FromDer(base::ByteView signature) {
  const auto* cursor = signature.data();
  SigPtr parsed(d2i_ECDSA_SIG(nullptr, &cursor, static_cast<long>(signature.size())));
  if (parsed && cursor != signature.data() + signature.size()) parsed.reset();
  return parsed;
}

base::Bytes ToDer(const ECDSA_SIG* signature) {
  unsigned char* out = nullptr;
  const int size = i2d_ECDSA_SIG(signature, &out);
  if (size <= 0) return {};
  base::Bytes der(out, out + size);
  OPENSSL_free(out);
  return der;
}

/// DER of (r, n-s); empty where s is not below the order n.
base::Bytes Twin(const ECDSA_SIG* signature, int curve) {
  const std::unique_ptr<EC_GROUP, decltype(&EC_GROUP_free)> group(EC_GROUP_new_by_curve_name(curve), EC_GROUP_free);
  if (!group) return {};
  const BIGNUM* order = EC_GROUP_get0_order(group.get());
  const BIGNUM* s = ECDSA_SIG_get0_s(signature);
  if (BN_is_negative(s) != 0 || BN_cmp(s, order) >= 0) return {};
  SigPtr twin(ECDSA_SIG_new());
  BIGNUM* r = BN_dup(ECDSA_SIG_get0_r(signature));
  BIGNUM* other = BN_new();
  if (!twin || r == nullptr || other == nullptr || BN_sub(other, order, s) != 1 ||
      ECDSA_SIG_set0(twin.get(), r, other) != 1) {
    BN_free(r);
    BN_free(other);
    return {};
  }
  return ToDer(twin.get());
}

}  // namespace

std::vector<base::Bytes> EcdsaTwins(base::ByteView signature) {
  std::vector<base::Bytes> all;
  if (signature.empty() || signature.size() > kMaxSignature) return all;
  SigPtr parsed = FromDer(signature);
  if (const auto der = EcdsaP1363ToDer(signature); !parsed && der) parsed = FromDer(*der);
  ERR_clear_error();
  if (!parsed) return all;
  all.push_back(ToDer(parsed.get()));
  for (const int curve : {NID_X9_62_prime256v1, NID_secp384r1, NID_secp521r1}) {
    if (auto twin = Twin(parsed.get(), curve); !twin.empty()) all.push_back(std::move(twin));
  }
  return all;
}

}  // namespace signet::crypto
