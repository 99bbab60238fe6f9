// A public key is believed once its private half has proven it: real tokens whose objects somebody has replaced, and
// the forms in which key pairs are kept.
#include <gmock/gmock.h>
#include <signal.h>

#include "crypto/digest.hpp"
#include "softhsm/worker_fixture.hpp"
#include "support/softhsm_objects.hpp"

namespace signet::token {
namespace {

using base::Bytes;
using base::Code;
using encoding::KeyAlgorithm;
using encoding::SignatureAlgorithm;
using testing::IsErr;
using testing::IsOk;
using testing::Own;
using testing::Pkey;
using testing::PublicHalf;
using testing::SoftHsm;
using testing::SoftHsmObjects;

constexpr const char* kUri = "pkcs11:object=release";

class KeyProofTest : public SoftHsmTest {
 protected:
  /// Makes the key `release`, then ends the workers.
  void MakeKey(KeyAlgorithm algorithm = KeyAlgorithm::kEcdsa, int bits = 256) {
    StartReady(Options());
    auto made = Generate(kUri, algorithm, bits);
    ASSERT_THAT(made, IsOk());
    key_ = *std::move(made);
    hsm_.reset();
    id_ = SoftHsmObjects(SoftHsm::kPin).IdOf(CKO_PRIVATE_KEY, "release");
  }
  /// New workers in the place of those that run: whatever they knew of the token is gone.
  void ReplaceWorkers() {
    for (const pid_t pid : hsm_->WorkerPidsForTest()) ::kill(pid, SIGKILL);
    ASSERT_TRUE(loop_.Until([&] { return !hsm_->State().ready; }));
    ASSERT_TRUE(Ready(1));
  }
  base::Result<Bytes> SignWith(const KeyInfo& key) {
    const auto& info = encoding::Info(key.mechanisms.front());
    return Sign(key.ref, info.algorithm, Input(info));
  }
  void ExpectSigns(const KeyInfo& key) {
    const auto& info = encoding::Info(key.mechanisms.front());
    const auto signature = SignWith(key);
    ASSERT_THAT(signature, IsOk());
    EXPECT_THAT(key.public_key.Verify(info.algorithm, Input(info), *signature), IsOk());
  }
  static Bytes Input(const encoding::AlgorithmInfo& info) {
    return info.hash ? crypto::Hash(*info.hash, base::AsBytes("text")) : base::ToBytes(base::AsBytes("text"));
  }
  [[nodiscard]] Pkey RealPublicKey() const { return PublicHalf(key_.public_key.der()); }

  KeyInfo key_;
  Bytes id_;
};

struct Kind {
  const char* name;
  KeyAlgorithm algorithm;
  int bits;
  std::function<EVP_PKEY*()> another;
};
class PlantedPublicKeyTest : public KeyProofTest, public ::testing::WithParamInterface<Kind> {};

// SoftHSM lets a session without login replace public objects.
TEST_P(PlantedPublicKeyTest, IsRefusedBeforeTheStart) {
  MakeKey(GetParam().algorithm, GetParam().bits);
  {
    SoftHsmObjects anybody;
    anybody.Remove(CKO_PUBLIC_KEY, "release");
    anybody.AddPublicKey(Own(GetParam().another()), "release", id_);
  }
  StartReady(Options());
  EXPECT_THAT(Find(kUri), IsErr(Code::kFailedPrecondition, "KeyMismatch"));
}

TEST_P(PlantedPublicKeyTest, IsRefusedWhileRunning) {
  MakeKey(GetParam().algorithm, GetParam().bits);
  StartReady(Options());
  const auto key = Find(kUri);
  ASSERT_THAT(key, IsOk());
  ExpectSigns(*key);
  {
    SoftHsmObjects anybody;
    anybody.Remove(CKO_PUBLIC_KEY, "release");
    anybody.AddPublicKey(Own(GetParam().another()), "release", id_);
  }
  EXPECT_THAT(Find(kUri), IsErr(Code::kFailedPrecondition, "KeyMismatch"));
  ReplaceWorkers();
  const auto signature = SignWith(*key);
  ASSERT_FALSE(signature.has_value()) << "the new worker resolves anew";
  EXPECT_TRUE(IsKeyTrouble(signature.error())) << base::Describe(signature.error());
}
INSTANTIATE_TEST_SUITE_P(All, PlantedPublicKeyTest,
                         ::testing::Values(Kind{"P256", KeyAlgorithm::kEcdsa, 256, [] { return EVP_EC_gen("P-256"); }},
                                           Kind{"P384", KeyAlgorithm::kEcdsa, 384, [] { return EVP_EC_gen("P-384"); }},
                                           Kind{"P521", KeyAlgorithm::kEcdsa, 521, [] { return EVP_EC_gen("P-521"); }},
                                           Kind{"Rsa2048", KeyAlgorithm::kRsa, 2048, [] { return EVP_RSA_gen(2048); }},
                                           Kind{"Ed25519", KeyAlgorithm::kEd25519, 256,
                                                [] { return EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"); }}),
                         [](const auto& row) { return row.param.name; });

TEST_F(KeyProofTest, RefusesSeveralPublicKeysUnderOneId) {
  MakeKey();
  SoftHsmObjects().AddPublicKey(Own(EVP_EC_gen("P-256")), "other", id_);
  StartReady(Options());
  EXPECT_THAT(Find(kUri), IsErr(Code::kFailedPrecondition, "KeyAmbiguous"));
}

// Deleted and made again under its label and id, with the old public half beside it, while a worker holds its handle.
TEST_F(KeyProofTest, RefusesAPrivateKeyThatWasExchangedWhileAWorkerLives) {
  MakeKey();
  StartReady(Options());
  const auto key = Find(kUri);
  ASSERT_THAT(key, IsOk());
  ExpectSigns(*key);
  {
    SoftHsmObjects user(SoftHsm::kPin);
    user.Remove(CKO_PRIVATE_KEY, "release");
    user.AddPrivateKey(Own(EVP_EC_gen("P-256")), "release", id_);
  }
  EXPECT_THAT(SignWith(*key), IsErr(Code::kFailedPrecondition, "KeyMismatch"));
  EXPECT_THAT(Find(kUri), IsErr(Code::kFailedPrecondition, "KeyMismatch"));
}

// A session without login may write private keys, too, if they need no login to be used.
TEST_F(KeyProofTest, TakesNoPrivateKeyThatNeedsNoLogin) {
  MakeKey();
  const Pkey planted = Own(EVP_EC_gen("P-256"));
  {
    SoftHsmObjects anybody;
    anybody.AddPrivateKey(planted, "release", id_, false);
    anybody.AddPrivateKey(planted, "alone", {9}, false);
    anybody.AddPublicKey(planted, "alone", {9});
  }
  StartReady(Options());
  const auto key = Find(kUri);
  ASSERT_THAT(key, IsOk());
  EXPECT_EQ(key->public_key.keyID(), key_.public_key.keyID());
  ExpectSigns(*key);
  EXPECT_THAT(Find("pkcs11:object=alone"), IsErr(Code::kFailedPrecondition, "KeyNotUsable"));
}

TEST_F(KeyProofTest, TakesThePublicKeyFromACertificate) {
  MakeKey();
  {
    SoftHsmObjects user(SoftHsm::kPin);
    user.Remove(CKO_PUBLIC_KEY, "release");
    user.AddCertificate(RealPublicKey(), "leaf of somebody", id_);
  }
  StartReady(Options());
  const auto key = Find(kUri);
  ASSERT_THAT(key, IsOk());
  EXPECT_EQ(key->public_key.keyID(), key_.public_key.keyID());
  ExpectSigns(*key);
}

TEST_F(KeyProofTest, RefusesACertificateOfAnotherKey) {
  MakeKey();
  {
    SoftHsmObjects anybody;
    anybody.Remove(CKO_PUBLIC_KEY, "release");
    anybody.AddCertificate(Own(EVP_EC_gen("P-256")), "release", id_);
  }
  std::vector<KeyProof> recorded;
  auto options = Options();
  options.record_proof = [&](const KeyProof& proof, const std::function<void(base::Status)>& done) {
    recorded.push_back(proof);
    done({});
  };
  StartReady(options);
  EXPECT_THAT(Find(kUri), IsErr(Code::kFailedPrecondition, "KeyMismatch"));
  ASSERT_EQ(recorded.size(), 1u) << "the private key did sign";
  EXPECT_FALSE(recorded[0].verified);
  EXPECT_EQ(recorded[0].key_label, "release");
  EXPECT_EQ(recorded[0].signature_sha256.size(), 64u);
  EXPECT_THAT(Find(kUri), IsErr(Code::kFailedPrecondition, "KeyMismatch"));
  EXPECT_EQ(recorded.size(), 1u) << "not each time that a policy looks";
}

TEST_F(KeyProofTest, RefusesAKeyWithoutAnyPublicHalf) {
  MakeKey();
  SoftHsmObjects().Remove(CKO_PUBLIC_KEY, "release");
  StartReady(Options());
  EXPECT_THAT(Find(kUri), IsErr(Code::kFailedPrecondition, "KeyNotUsable"));
}

TEST_F(KeyProofTest, FindsHalvesThatAgreeInLabelAlone) {
  MakeKey();
  SoftHsmObjects(SoftHsm::kPin).Change(CKO_PUBLIC_KEY, "release", CKA_ID, {0x77});
  StartReady(Options());
  const auto key = Find(kUri);
  ASSERT_THAT(key, IsOk());
  ExpectSigns(*key);
  ReplaceWorkers();
  ExpectSigns(*key);
}

// What Find finds, Sign must find again: a key without one of its names once made policies Ready whose requests waited.
TEST_F(KeyProofTest, SignsWithAKeyThatHasNoLabel) {
  MakeKey();
  {
    SoftHsmObjects user(SoftHsm::kPin);
    user.Change(CKO_PUBLIC_KEY, "release", CKA_LABEL, {});
    user.Change(CKO_PRIVATE_KEY, "release", CKA_LABEL, {});
    user.Change(CKO_PRIVATE_KEY, "", CKA_ID, {0x0a, 0x01});
    user.Change(CKO_PUBLIC_KEY, "", CKA_ID, {0x0a, 0x01});
  }
  StartReady(Options());
  const auto key = Find("pkcs11:id=%0a%01");
  ASSERT_THAT(key, IsOk());
  ExpectSigns(*key);
}

TEST_F(KeyProofTest, SignsWithAKeyThatHasNoId) {
  MakeKey();
  {
    SoftHsmObjects user(SoftHsm::kPin);
    user.Change(CKO_PUBLIC_KEY, "release", CKA_ID, {});
    user.Change(CKO_PRIVATE_KEY, "release", CKA_ID, {});
  }
  StartReady(Options());
  const auto key = Find(kUri);
  ASSERT_THAT(key, IsOk());
  ExpectSigns(*key);
}

TEST_F(KeyProofTest, GoesOnRecordBeforeTheKeyIsFound) {
  MakeKey();
  std::vector<KeyProof> recorded;
  base::Status answer = base::MakeError(Code::kUnavailable, "AuditUnavailable", "the disk is full");
  auto options = Options();
  options.record_proof = [&](const KeyProof& proof, const std::function<void(base::Status)>& done) {
    if (answer) recorded.push_back(proof);
    done(answer);
  };
  StartReady(options);
  EXPECT_THAT(Find(kUri), IsErr(Code::kUnavailable, "AuditUnavailable"));
  answer = {};
  const auto key = Find(kUri);
  ASSERT_THAT(key, IsOk());
  ASSERT_EQ(recorded.size(), 1u);
  EXPECT_EQ(recorded[0].public_key.keyID(), key->public_key.keyID());
  EXPECT_EQ(recorded[0].token_label, SoftHsm::kLabel);
  EXPECT_EQ(recorded[0].key_label, "release");
  EXPECT_EQ(recorded[0].challenge.size(), 64u);
  EXPECT_EQ(recorded[0].signature_sha256.size(), 64u);
  ASSERT_THAT(Find(kUri), IsOk());
  EXPECT_EQ(recorded.size(), 1u) << "the proof still holds";

  ReplaceWorkers();
  ExpectSigns(*key);
  ASSERT_EQ(recorded.size(), 2u) << "the new worker had the key prove itself before it signed";
  EXPECT_NE(recorded[1].challenge, recorded[0].challenge);
  EXPECT_EQ(recorded[1].public_key.keyID(), key->public_key.keyID());
}

}  // namespace
}  // namespace signet::token
