// Signatures here are made by the openssl command, never by our own signer.
#include "crypto/public_key.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "crypto/digest.hpp"
#include "encoding/text.hpp"
#include "support/matchers.hpp"

namespace signet::crypto {
namespace {

using base::AsBytes;
using base::Bytes;
using base::Code;
using encoding::HashAlgorithm;
using encoding::KeyAlgorithm;
using encoding::SignatureAlgorithm;
using testing::IsErr;
using testing::IsOk;

struct Case {
  const char* name;
  SignatureAlgorithm algorithm;
  const char* genpkey;  ///< options of `openssl genpkey`
  const char* sign;     ///< options of `openssl dgst`; empty: `openssl pkeyutl -rawin`
  int bits;
};

class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "signet-crypto-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] std::string operator/(const char* name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void Shell(const std::string& command) { ASSERT_EQ(std::system((command + " 2>/dev/null").c_str()), 0) << command; }

class PublicKeyVerifyTest : public ::testing::TestWithParam<Case> {};

TEST_P(PublicKeyVerifyTest, AcceptsWhatOpensslSignedAndNothingElse) {
  const Folder folder;
  const Case& c = GetParam();
  std::ofstream(folder / "message") << "to be signed";
  Shell("openssl genpkey " + std::string(c.genpkey) + " -out " + (folder / "key"));
  Shell("openssl pkey -in " + (folder / "key") + " -pubout -out " + (folder / "pub"));
  if (*c.sign != 0) {
    Shell("openssl dgst " + std::string(c.sign) + " -sign " + (folder / "key") + " -out " + (folder / "sig") + " " +
          (folder / "message"));
  } else {
    Shell("openssl pkeyutl -sign -rawin -inkey " + (folder / "key") + " -in " + (folder / "message") + " -out " +
          (folder / "sig"));
  }
  const auto key = PublicKey::FromPem(Read(folder / "pub"));
  ASSERT_THAT(key, IsOk());
  EXPECT_EQ(key->bits(), c.bits);
  EXPECT_EQ(key->pem(), Read(folder / "pub"));
  EXPECT_EQ(key->keyID(), Sha256Hex(key->der()));

  const auto& info = encoding::Info(c.algorithm);
  const std::string message = Read(folder / "message");
  Bytes input = info.hash ? Hash(*info.hash, AsBytes(message)) : base::ToBytes(AsBytes(message));
  const std::string text = Read(folder / "sig");
  Bytes signature = base::ToBytes(AsBytes(text));
  EXPECT_THAT(key->Verify(c.algorithm, input, signature), IsOk());
  signature.back() ^= 1U;
  EXPECT_THAT(key->Verify(c.algorithm, input, signature), IsErr(Code::kFailedPrecondition, "VerificationFailed"));
  signature.back() ^= 1U;
  input.front() ^= 1U;
  EXPECT_THAT(key->Verify(c.algorithm, input, signature), IsErr(Code::kFailedPrecondition, "VerificationFailed"));
  for (const auto& other : encoding::Algorithms()) {
    if (other.key == info.key) continue;
    EXPECT_THAT(key->Verify(other.algorithm, input, signature), IsErr(Code::kInvalidArgument));
  }
}

using S = SignatureAlgorithm;
constexpr const char* kPss256 = "-sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest";
constexpr const char* kPss512 = "-sha512 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest";
INSTANTIATE_TEST_SUITE_P(
    Algorithms, PublicKeyVerifyTest,
    ::testing::Values(
        Case{"P256", S::kEcdsaWithSha256, "-algorithm EC -pkeyopt ec_paramgen_curve:P-256", "-sha256", 256},
        Case{"P256Sha512", S::kEcdsaWithSha512, "-algorithm EC -pkeyopt ec_paramgen_curve:P-256", "-sha512", 256},
        Case{"P384", S::kEcdsaWithSha384, "-algorithm EC -pkeyopt ec_paramgen_curve:P-384", "-sha384", 384},
        Case{"P521", S::kEcdsaWithSha512, "-algorithm EC -pkeyopt ec_paramgen_curve:P-521", "-sha512", 521},
        Case{"Rsa2048", S::kSha256WithRsa, "-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "-sha256", 2048},
        Case{"Rsa3072", S::kSha384WithRsa, "-algorithm RSA -pkeyopt rsa_keygen_bits:3072", "-sha384", 3072},
        Case{"Pss2048", S::kSha256WithRsaPss, "-algorithm RSA -pkeyopt rsa_keygen_bits:2048", kPss256, 2048},
        Case{"Pss2048Sha512", S::kSha512WithRsaPss, "-algorithm RSA -pkeyopt rsa_keygen_bits:2048", kPss512, 2048},
        Case{"Ed25519", S::kPureEd25519, "-algorithm ED25519", "", 256}),
    [](const auto& tested) { return tested.param.name; });

TEST(PublicKeyTest, RefusesKeysThatWeDoNotServe) {
  const Folder folder;
  for (const char* options :
       {"-algorithm RSA -pkeyopt rsa_keygen_bits:1024", "-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1",
        "-algorithm X25519", "-algorithm ED448"}) {
    Shell("openssl genpkey " + std::string(options) + " | openssl pkey -pubout -out " + (folder / "pub"));
    // secp256k1 has the size of P-256 and is not P-256: the size alone does not tell.
    EXPECT_THAT(PublicKey::FromPem(Read(folder / "pub")), IsErr(Code::kInvalidArgument)) << options;
  }
  EXPECT_THAT(PublicKey::FromPem("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
              IsErr(Code::kInvalidArgument));
  EXPECT_THAT(PublicKey::FromDer(AsBytes("garbage")), IsErr(Code::kInvalidArgument));
}

TEST(PublicKeyTest, BuildsRfc8032KeyFromItsPoint) {
  // RFC 8032 section 7.1, test 2.
  const auto point = encoding::FromHex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
  const auto signature = encoding::FromHex(
      "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aee"
      "b"
      "00d291612bb0c00");
  const std::string params =
      "\x13\x0c"
      "edwards25519";
  for (const bool wrapped : {false, true}) {
    Bytes octets = *point;
    if (wrapped) octets.insert(octets.begin(), {0x04, 0x20});
    const auto key = PublicKey::FromEcPoint(AsBytes(params), octets);
    ASSERT_THAT(key, IsOk());
    EXPECT_EQ(key->algorithm(), KeyAlgorithm::kEd25519);
    EXPECT_THAT(key->Verify(SignatureAlgorithm::kPureEd25519, Bytes{0x72}, *signature), IsOk());
  }
}

TEST(EcdsaEncodingTest, ConvertsBothWays) {
  Bytes raw(64, 0x00);
  raw[31] = 0x01;  // r = 1
  raw[32] = 0x80;  // s has its top bit set: DER needs a leading zero
  const auto der = EcdsaP1363ToDer(raw);
  ASSERT_THAT(der, IsOk());
  EXPECT_EQ(encoding::ToHex(*der), "30260201010221008000000000000000000000000000000000000000000000000000000000000000");
  const auto back = EcdsaDerToP1363(*der, 32);
  ASSERT_THAT(back, IsOk());
  EXPECT_EQ(*back, raw);
  EXPECT_THAT(EcdsaDerToP1363(*der, 31), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(EcdsaP1363ToDer(Bytes(64, 0)), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(EcdsaP1363ToDer(Bytes(63, 1)), IsErr(Code::kInvalidArgument));
  Bytes trailing = *der;
  trailing.push_back(0);
  EXPECT_THAT(EcdsaDerToP1363(trailing, 32), IsErr(Code::kInvalidArgument));
}

}  // namespace
}  // namespace signet::crypto
