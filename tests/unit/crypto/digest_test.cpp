#include "crypto/digest.hpp"

#include "encoding/text.hpp"
#include "support/matchers.hpp"

namespace signet::crypto {
namespace {

TEST(DigestTest, AgreesWithFips180) {  // FIPS 180-4 example "abc"
  const auto abc = base::AsBytes("abc");
  EXPECT_EQ(Sha256Hex(abc), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(encoding::ToHex(Hash(encoding::HashAlgorithm::kSha256, abc)), Sha256Hex(abc));
  EXPECT_EQ(encoding::ToHex(Hash(encoding::HashAlgorithm::kSha384, abc)),
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7");
  EXPECT_EQ(
      encoding::ToHex(Hash(encoding::HashAlgorithm::kSha512, abc)),
      "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643c"
      "e80e2a9ac94fa54ca49f");
}

TEST(RandomBytesTest, GivesTheSizeAskedFor) {
  EXPECT_EQ(RandomBytes(16).size(), 16U);
  EXPECT_NE(RandomBytes(16), RandomBytes(16));
}

}  // namespace
}  // namespace signet::crypto
