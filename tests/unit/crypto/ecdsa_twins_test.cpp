#include "crypto/ecdsa_twins.hpp"

#include <gmock/gmock.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>

#include "crypto/openssl_types.hpp"

namespace signet::crypto {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;

base::Bytes Der(const BIGNUM* r, const BIGNUM* s) {
  const SigPtr made(ECDSA_SIG_new());
  ECDSA_SIG_set0(made.get(), BN_dup(r), BN_dup(s));
  unsigned char* out = nullptr;
  const int size = i2d_ECDSA_SIG(made.get(), &out);
  base::Bytes der(out, out + size);
  OPENSSL_free(out);
  return der;
}

TEST(EcdsaTwinsTest, FindsTheOriginalFromEachFormOfATwin) {
  for (const auto& [name, half] : {std::pair{"P-256", 32}, {"P-384", 48}, {"P-521", 66}}) {
    SCOPED_TRACE(name);
    const PkeyPtr key(EVP_EC_gen(name));
    ASSERT_NE(key, nullptr);
    const base::Bytes digest(32, 0x5A);
    const PkeyCtxPtr signer(EVP_PKEY_CTX_new(key.get(), nullptr));
    std::size_t size = 256;
    base::Bytes original(size);
    ASSERT_EQ(EVP_PKEY_sign_init(signer.get()), 1);
    ASSERT_EQ(EVP_PKEY_sign(signer.get(), original.data(), &size, digest.data(), digest.size()), 1);
    original.resize(size);

    const auto* cursor = original.data();
    const SigPtr parsed(d2i_ECDSA_SIG(nullptr, &cursor, static_cast<long>(size)));
    const BIGNUM* r = ECDSA_SIG_get0_r(parsed.get());
    const BIGNUM* s = ECDSA_SIG_get0_s(parsed.get());
    const std::unique_ptr<EC_GROUP, decltype(&EC_GROUP_free)> group(
        EC_GROUP_new_by_curve_name(OBJ_txt2nid(name[2] == '2'   ? "prime256v1"
                                               : name[2] == '3' ? "secp384r1"
                                                                : "secp521r1")),
        EC_GROUP_free);
    const BnPtr other(BN_new());
    BN_sub(other.get(), EC_GROUP_get0_order(group.get()), s);
    const auto twin = Der(r, other.get());
    const PkeyCtxPtr verifier(EVP_PKEY_CTX_new(key.get(), nullptr));
    ASSERT_EQ(EVP_PKEY_verify_init(verifier.get()), 1);
    ASSERT_EQ(EVP_PKEY_verify(verifier.get(), twin.data(), twin.size(), digest.data(), digest.size()), 1)
        << "a twin is a signature like the original";
    EXPECT_THAT(EcdsaTwins(twin), Contains(original));
    EXPECT_THAT(EcdsaTwins(original), Contains(original));

    base::Bytes halves(2 * static_cast<std::size_t>(half));
    BN_bn2binpad(r, halves.data(), half);
    BN_bn2binpad(other.get(), halves.data() + half, half);
    EXPECT_THAT(EcdsaTwins(halves), Contains(original)) << "r || s";
  }
}

TEST(EcdsaTwinsTest, LeavesOtherSignaturesAlone) {
  EXPECT_THAT(EcdsaTwins({}), IsEmpty());
  EXPECT_THAT(EcdsaTwins(base::Bytes(256, 1)), IsEmpty()) << "RSA-2048";
  EXPECT_THAT(EcdsaTwins(base::Bytes(7, 0x30)), IsEmpty());
  EXPECT_THAT(EcdsaTwins(base::Bytes(5000, 0x30)), IsEmpty());
}

}  // namespace
}  // namespace signet::crypto
