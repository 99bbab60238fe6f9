// Public keys and signatures as tokens write them.
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>

#include "crypto/digest.hpp"
#include "crypto/public_key.hpp"
#include "encoding/text.hpp"
#include "support/matchers.hpp"

namespace signet::crypto {
namespace {

using base::AsBytes;
using base::Bytes;
using base::Code;
using testing::IsErr;
using testing::IsOk;
using Pkey = std::shared_ptr<EVP_PKEY>;

Pkey Own(EVP_PKEY* key) { return {key, EVP_PKEY_free}; }
Bytes SpkiOf(const Pkey& key) {
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(key.get(), &der);
  Bytes octets(der, der + size);
  OPENSSL_free(der);
  return octets;
}
Bytes PointOf(const Pkey& key) {
  Bytes point(200);
  std::size_t size = 0;
  EVP_PKEY_get_octet_string_param(key.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size(), &size);
  point.resize(size);
  return point;
}
Bytes Wrap(std::uint8_t tag, const Bytes& inner) {
  Bytes out = {tag};
  if (inner.size() > 127) out.push_back(0x81);
  out.push_back(static_cast<std::uint8_t>(inner.size()));
  out.insert(out.end(), inner.begin(), inner.end());
  return out;
}
Bytes Text(std::string_view text) { return base::ToBytes(AsBytes(text)); }
Bytes Hex(std::string_view text) { return *encoding::FromHex(text); }

struct Curve {
  const char* name;
  std::string_view oid;  ///< DER, hex
  const char* other_name;
};
class TokenPointTest : public ::testing::TestWithParam<Curve> {};

TEST_P(TokenPointTest, IsReadInEachForm) {
  const Pkey key = Own(EVP_EC_gen(GetParam().name));
  const auto want = PublicKey::FromDer(SpkiOf(key));
  ASSERT_THAT(want, IsOk());
  const Bytes point = PointOf(key);
  const Bytes coordinates(point.begin() + 1, point.end());
  Bytes compressed(point.begin(), point.begin() + static_cast<std::ptrdiff_t>((point.size() + 1) / 2));
  compressed[0] = static_cast<std::uint8_t>(2 + (point.back() & 1U));
  Bytes bits = point;
  bits.insert(bits.begin(), 0);
  for (const Bytes& params : {Hex(GetParam().oid), Wrap(0x13, Text(GetParam().name)), Wrap(0x0c, Text(GetParam().name)),
                              Wrap(0x13, Text(GetParam().other_name))}) {
    for (const Bytes& form :
         {Wrap(0x04, point), Wrap(0x03, bits), point, coordinates, compressed, Wrap(4, compressed)}) {
      const auto got = PublicKey::FromEcPoint(params, form);
      ASSERT_THAT(got, IsOk()) << encoding::ToHex(params) << " " << encoding::ToHex(form);
      EXPECT_EQ(got->keyID(), want->keyID()) << encoding::ToHex(form);
    }
    for (const Bytes& form : {Bytes(), Bytes(point.begin(), point.end() - 1), Wrap(4, coordinates), Wrap(5, point)}) {
      EXPECT_THAT(PublicKey::FromEcPoint(params, form), IsErr(Code::kInvalidArgument)) << encoding::ToHex(form);
    }
  }
}
INSTANTIATE_TEST_SUITE_P(All, TokenPointTest,
                         ::testing::Values(Curve{"P-256", "06082a8648ce3d030107", "prime256v1"},
                                           Curve{"P-384", "06052b81040022", "secp384r1"},
                                           Curve{"P-521", "06052b81040023", "secp521r1"}),
                         [](const auto& row) { return row.param.other_name; });

// 04 3f .. reads like an OCTET STRING of 63 octets: one bare point in 256 does.
TEST(TokenFormsTest, ReadsABarePointThatLooksLikeDer) {
  Pkey key;
  Bytes point;
  do {
    key = Own(EVP_EC_gen("P-256"));
    point = PointOf(key);
  } while (point[1] != 0x3f);
  const auto got = PublicKey::FromEcPoint(Hex("06082a8648ce3d030107"), point);
  ASSERT_THAT(got, IsOk());
  EXPECT_EQ(got->der(), SpkiOf(key));
}

TEST(TokenFormsTest, ReadsEd25519UnderEachOfItsNames) {
  const Pkey key = Own(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  Bytes point(32);
  std::size_t size = point.size();
  EVP_PKEY_get_raw_public_key(key.get(), point.data(), &size);
  Bytes bits = point;
  bits.insert(bits.begin(), 0);
  for (const Bytes& params : {Wrap(0x13, Text("edwards25519")), Hex("06032b6570"), Hex("06092b06010401da470f01")}) {
    for (const Bytes& form : {point, Wrap(4, point), Wrap(3, bits)}) {
      const auto got = PublicKey::FromEcPoint(params, form);
      ASSERT_THAT(got, IsOk()) << encoding::ToHex(params) << " " << encoding::ToHex(form);
      EXPECT_EQ(got->der(), SpkiOf(key));
    }
  }
}

TEST(TokenFormsTest, RefusesCurvesThatAreSpeltOutOrUnknown) {
  const Pkey key = Own(EVP_EC_gen("P-256"));
  const Bytes point = Wrap(4, PointOf(key));
  for (const Bytes& params : {Bytes(), Hex("3000"), Wrap(0x13, Text("curve25519")), Hex("06052b8104000a"),
                              Hex("06082a8648ce3d03010700"), Hex("1305"), Hex("130c65647761726473")}) {
    EXPECT_THAT(PublicKey::FromEcPoint(params, point), IsErr(Code::kInvalidArgument)) << encoding::ToHex(params);
  }
  ASSERT_EQ(EVP_PKEY_set_utf8_string_param(key.get(), OSSL_PKEY_PARAM_EC_ENCODING, "explicit"), 1);
  EXPECT_THAT(PublicKey::FromDer(SpkiOf(key)), IsErr(Code::kInvalidArgument));
}

TEST(TokenFormsTest, GivesEqualKeysEqualNames) {
  const Pkey key = Own(EVP_EC_gen("P-384"));
  const Bytes plain = SpkiOf(key);
  EVP_PKEY_set_utf8_string_param(key.get(), OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "compressed");
  const Bytes compressed = SpkiOf(key);
  ASSERT_NE(compressed, plain);
  EXPECT_EQ(PublicKey::FromDer(compressed)->keyID(), PublicKey::FromDer(plain)->keyID());
}

TEST(TokenFormsTest, ReadsRsaNumbersWithLeadingZerosAndRefusesWrongExponents) {
  const Pkey key = Own(EVP_RSA_gen(2048));
  BIGNUM* number = nullptr;
  EVP_PKEY_get_bn_param(key.get(), OSSL_PKEY_PARAM_RSA_N, &number);
  Bytes modulus(256);
  BN_bn2binpad(number, modulus.data(), 256);
  BN_free(number);
  Bytes padded(3, 0);
  padded.insert(padded.end(), modulus.begin(), modulus.end());
  for (const Bytes& exponent : {Bytes{1, 0, 1}, Bytes{0, 1, 0, 1}, Bytes{0, 0, 0, 0, 0, 1, 0, 1}}) {
    EXPECT_EQ(PublicKey::FromRsa(padded, exponent)->der(), SpkiOf(key));
  }
  for (const Bytes& exponent : {Bytes(), Bytes{0}, Bytes{1}, Bytes{1, 0, 0}}) {
    EXPECT_THAT(PublicKey::FromRsa(modulus, exponent), IsErr(Code::kInvalidArgument)) << encoding::ToHex(exponent);
  }
}

TEST(TokenFormsTest, ReadsTheKeyOfACertificate) {
  const Pkey key = Own(EVP_RSA_gen(2048));
  const std::unique_ptr<X509, decltype(&X509_free)> made(X509_new(), X509_free);
  X509_set_version(made.get(), 2);
  X509_gmtime_adj(X509_getm_notBefore(made.get()), 0);
  X509_gmtime_adj(X509_getm_notAfter(made.get()), 3600);
  X509_set_pubkey(made.get(), key.get());
  X509_sign(made.get(), key.get(), EVP_sha256());
  unsigned char* der = nullptr;
  const int size = i2d_X509(made.get(), &der);
  const Bytes certificate(der, der + size);
  OPENSSL_free(der);
  const auto got = PublicKey::FromCertificate(certificate);
  ASSERT_THAT(got, IsOk());
  EXPECT_EQ(got->der(), SpkiOf(key));
  EXPECT_THAT(PublicKey::FromCertificate(AsBytes("not one")), IsErr(Code::kInvalidArgument));
}

TEST(TokenFormsTest, ReadsEcdsaSignaturesInEachForm) {
  Bytes raw(132, 0);
  raw[65] = 0x07;   // r = 7
  raw[131] = 0x09;  // s = 9
  const auto want = EcdsaP1363ToDer(raw);
  ASSERT_THAT(want, IsOk());
  Bytes padded(2, 0);
  padded.insert(padded.end(), raw.begin(), raw.begin() + 66);
  padded.insert(padded.end(), 2, 0);
  padded.insert(padded.end(), raw.begin() + 66, raw.end());
  for (const Bytes& form : {raw, *want, padded, Bytes{7, 9}, Bytes{0, 7, 0, 9}}) {
    const auto got = EcdsaTokenToDer(form, 66);
    ASSERT_THAT(got, IsOk()) << encoding::ToHex(form);
    EXPECT_EQ(*got, *want) << encoding::ToHex(form);
  }
  padded[0] = 1;
  for (const Bytes& form : {padded, Bytes(), Bytes{7, 9, 9}, Bytes(132, 0), Bytes(131, 1)}) {
    EXPECT_THAT(EcdsaTokenToDer(form, 66), IsErr(Code::kInvalidArgument)) << encoding::ToHex(form);
  }
}

}  // namespace
}  // namespace signet::crypto
