// Keys and signatures in the forms that modules in the field show: used, or refused by one reason that policies and
// requests share.
#include <gmock/gmock.h>

#include "crypto/digest.hpp"
#include "support/fake_p11.hpp"
#include "support/loop.hpp"
#include "support/matchers.hpp"
#include "token/worker_hsm.hpp"

namespace signet::token {
namespace {

using base::Code;
using encoding::SignatureAlgorithm;
using testing::IsErr;
using testing::IsOk;

class KeyFormsTest : public ::testing::Test {
 protected:
  void Start() {
    WorkerHsmOptions options;
    options.module = FAKE_P11_MODULE;
    options.tokens = {{std::nullopt, fake_.pin_file()}};
    options.workers_per_token = 1;
    auto created = WorkerHsm::Create(std::move(options), loop_.reactor());
    ASSERT_THAT(created, IsOk());
    hsm_ = *std::move(created);
    ASSERT_TRUE(loop_.Until([&] { return hsm_->State().ready; })) << hsm_->State().message;
  }
  base::Result<KeyInfo> Find() {
    return loop_.Await<KeyInfo>([&](auto done) { hsm_->Find(*encoding::ParsePkcs11Uri("pkcs11:object=key"), done); });
  }
  base::Result<base::Bytes> Sign(KeyRef key) {
    return loop_.Await<base::Bytes>(
        [&](auto done) { hsm_->Sign(key, SignatureAlgorithm::kEcdsaWithSha256, digest_, done); });
  }
  void ExpectSigns() {
    Start();
    const auto key = Find();
    ASSERT_THAT(key, IsOk());
    const auto signature = Sign(key->ref);
    ASSERT_THAT(signature, IsOk());
    EXPECT_THAT(key->public_key.Verify(SignatureAlgorithm::kEcdsaWithSha256, digest_, *signature), IsOk());
  }
  void ExpectRefused(const std::string& reason, const std::string& says) {
    Start();
    const auto key = Find();
    ASSERT_THAT(key, IsErr(Code::kFailedPrecondition, reason));
    EXPECT_THAT(key.error().message, ::testing::HasSubstr(says));
  }

  const base::Bytes digest_ = crypto::Hash(encoding::HashAlgorithm::kSha256, base::AsBytes("to be signed"));
  testing::FakeP11 fake_;
  testing::Loop loop_;
  std::unique_ptr<WorkerHsm> hsm_;
};

class UsedFormTest : public KeyFormsTest, public ::testing::WithParamInterface<std::pair<const char*, const char*>> {};
TEST_P(UsedFormTest, Signs) {
  fake_.Set(GetParam().first, GetParam().second);
  ExpectSigns();
}
INSTANTIATE_TEST_SUITE_P(All, UsedFormTest,
                         ::testing::Values(std::pair{"point", "raw"}, std::pair{"point", "coordinates"},
                                           std::pair{"point", "bitstring"}, std::pair{"point", "private"},
                                           std::pair{"signature", "der"}, std::pair{"signature", "padded"},
                                           std::pair{"sign_flag", "hidden"}),
                         [](const auto& row) { return std::string(row.param.first) + "_" + row.param.second; });

TEST_F(KeyFormsTest, RefusesATokenThatOffersHashingMechanismsOnly) {
  fake_.Set("hashing_only", "1");
  ExpectRefused("MechanismMissing", "one that hashes by itself cannot sign the digest of a request");
}

TEST_F(KeyFormsTest, RefusesAKeyThatWantsThePinForEverySignature) {
  fake_.Set("always_authenticate", "1");
  ExpectRefused("KeyNotUsable", "CKA_ALWAYS_AUTHENTICATE");
}

TEST_F(KeyFormsTest, RefusesAKeyThatMayNotSign) {
  fake_.Set("sign_flag", "no");
  ExpectRefused("KeyNotUsable", "CKA_SIGN is false");
}

TEST_F(KeyFormsTest, RefusesAPrivateHalfThatNamesAnotherPublicKey) {
  const std::string file = (fake_.folder().path() / "foreign.der").string();
  const std::string command =
      "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 2> /dev/null | openssl "
      "pkey -pubout -outform DER -out " +
      file;
  ASSERT_EQ(std::system(command.c_str()), 0);
  fake_.Set("foreign_info", file);
  ExpectRefused("KeyMismatch", "remove the one that does not belong to it");
}

TEST_F(KeyFormsTest, RefusesSignaturesThatDoNotVerify) {
  fake_.Set("sign", "*:flip");
  ExpectRefused("KeyMismatch", "does not belong to the public key");
}

TEST_F(KeyFormsTest, RefusesSignaturesThatCannotBeRead) {
  fake_.Set("signature", "text");
  ExpectRefused("KeyNotUsable", "a form that Signet does not know");
}

// The module keeps its handle, but another private key is behind it, or it has gone.
TEST_F(KeyFormsTest, TellsOfAKeyThatHasChangedByOneReason) {
  Start();
  const auto key = Find();
  ASSERT_THAT(key, IsOk());
  ASSERT_THAT(Sign(key->ref), IsOk());
  fake_.NewKey();
  fake_.Set("handles", "2");
  const auto signature = Sign(key->ref);
  ASSERT_THAT(signature, IsErr(Code::kFailedPrecondition, "KeyChanged"));
  EXPECT_TRUE(IsKeyTrouble(signature.error()));
}

}  // namespace
}  // namespace signet::token
