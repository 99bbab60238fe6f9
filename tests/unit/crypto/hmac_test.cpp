// Vectors: RFC 4231 section 4.
#include "crypto/hmac.hpp"

#include "encoding/text.hpp"
#include "support/matchers.hpp"

namespace signet::crypto {
namespace {

using base::AsBytes;
using base::Bytes;
using base::Code;
using testing::IsErr;
using testing::IsOk;

struct Vector {
  const char* name;
  Bytes key;
  Bytes message;
  const char* mac;  ///< hex; case 5 is cut to 128 bits
};

Bytes Hex(std::string_view text) { return encoding::FromHex(text).value(); }
Bytes Text(std::string_view text) { return base::ToBytes(AsBytes(text)); }

std::vector<Vector> Vectors() {
  return {
      {"Case1", Bytes(20, 0x0b), Text("Hi There"), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
      {"Case2", Text("Jefe"), Text("what do ya want for nothing?"),
       "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
      {"Case3", Bytes(20, 0xaa), Bytes(50, 0xdd), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
      {"Case4", Hex("0102030405060708090a0b0c0d0e0f10111213141516171819"), Bytes(50, 0xcd),
       "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
      {"Case5", Bytes(20, 0x0c), Text("Test With Truncation"), "a3b6167473100ee06e0c796c2955552b"},
      {"Case6", Bytes(131, 0xaa), Text("Test Using Larger Than Block-Size Key - Hash Key First"),
       "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
      {"Case7", Bytes(131, 0xaa),
       Text("This is a test using a larger than block-size key and a larger than block-size data. The key needs to be "
            "hashed before being used by the HMAC algorithm."),
       "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
  };
}

class HmacVectorTest : public ::testing::TestWithParam<Vector> {};

TEST_P(HmacVectorTest, MakesThePublishedMac) {
  const Vector& v = GetParam();
  const Mac mac = HmacSha256(v.key, v.message);
  const std::string_view expected = v.mac;
  EXPECT_EQ(encoding::ToHex(mac).substr(0, expected.size()), expected);
}

INSTANTIATE_TEST_SUITE_P(Rfc4231, HmacVectorTest, ::testing::ValuesIn(Vectors()),
                         [](const auto& test) { return test.param.name; });

TEST(HmacTest, TakesAnEmptyKeyAndAnEmptyMessage) {  // `openssl dgst -sha256 -mac HMAC -macopt hexkey: < /dev/null`
  (void)HmacSha256(Bytes(20, 1), Text("another key before"));
  EXPECT_EQ(encoding::ToHex(HmacSha256({}, {})), "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

TEST(Pbkdf2Test, MakesThePublishedValues) {  // RFC 7914 section 11, the first 32 octets
  EXPECT_EQ(encoding::ToHex(Pbkdf2Sha256(AsBytes("passwd"), AsBytes("salt"), 1)),
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc");
  EXPECT_EQ(encoding::ToHex(Pbkdf2Sha256(AsBytes("Password"), AsBytes("NaCl"), 80'000)),
            "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56");
}

TEST(HmacKeyTest, VerifiesItsOwnMacsAndNoOthers) {
  const HmacKey key = HmacKey::Generate();
  const HmacKey other = HmacKey::Generate();
  const Mac mac = key.Sign(AsBytes("message"));
  EXPECT_TRUE(key.Verify(AsBytes("message"), mac));
  EXPECT_FALSE(key.Verify(AsBytes("messagf"), mac));
  EXPECT_FALSE(other.Verify(AsBytes("message"), mac));
  EXPECT_FALSE(key.Verify(AsBytes("message"), base::ByteView(mac).first(31)));
  EXPECT_FALSE(key.Verify(AsBytes("message"), {}));
  for (std::size_t bit = 0; bit < mac.size() * 8; ++bit) {
    Mac tampered = mac;
    tampered[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    ASSERT_FALSE(key.Verify(AsBytes("message"), tampered)) << bit;
  }
  const auto again = HmacKey::Create(base::Secret(base::ToBytes(key.secret().Reveal())));
  ASSERT_THAT(again, IsOk());
  EXPECT_TRUE(again->Verify(AsBytes("message"), mac));
}

TEST(HmacKeyTest, RefusesShortAndEndlessKeys) {
  EXPECT_THAT(HmacKey::Create(base::Secret()), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(HmacKey::Create(base::Secret(Bytes(31, 1))), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(HmacKey::Create(base::Secret(Bytes(32, 1))), IsOk());
  EXPECT_THAT(HmacKey::Create(base::Secret(Bytes(1024, 1))), IsOk());
  EXPECT_THAT(HmacKey::Create(base::Secret(Bytes(1025, 1))), IsErr(Code::kInvalidArgument));
}

TEST(EqualConstantTimeTest, ComparesOctets) {
  EXPECT_TRUE(EqualConstantTime({}, {}));
  EXPECT_TRUE(EqualConstantTime(AsBytes("abc"), AsBytes("abc")));
  EXPECT_FALSE(EqualConstantTime(AsBytes("abc"), AsBytes("abd")));
  EXPECT_FALSE(EqualConstantTime(AsBytes("abc"), AsBytes("ab")));
  EXPECT_FALSE(EqualConstantTime(AsBytes("abc"), {}));
}

}  // namespace
}  // namespace signet::crypto
