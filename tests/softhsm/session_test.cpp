// The PKCS#11 floor against SoftHSM, in this process.
#include "pkcs11/session.hpp"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/digest.hpp"
#include "pkcs11/rv.hpp"
#include "support/matchers.hpp"
#include "support/softhsm.hpp"

namespace signet::pkcs11 {
namespace {

using base::Code;
using encoding::KeyAlgorithm;
using testing::IsErr;
using testing::IsOk;
using testing::SoftHsm;

class SessionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto module = Module::Load(SoftHsm::module());
    ASSERT_THAT(module, IsOk());
    module_ = *module;
    auto tokens = module_->AwaitTokens([](const TokenInfo&) { return true; }, 10);
    ASSERT_THAT(tokens, IsOk());
    ASSERT_EQ(tokens->size(), 1u);
    token_ = tokens->front();
  }
  void TearDown() override {
    if (module_) module_->Finalise();
  }

  Session Open(Session::Mode mode = Session::Mode::kReadOnly) { return *Session::Open(module_, token_.slot, mode); }
  static base::ByteView Pin() { return base::AsBytes(SoftHsm::kPin); }

  SoftHsm softhsm_;
  std::shared_ptr<Module> module_;
  TokenInfo token_;
};

TEST_F(SessionTest, ShowsTheTokenWithoutPadding) {
  EXPECT_EQ(token_.label, SoftHsm::kLabel);
  EXPECT_EQ(token_.manufacturer, "SoftHSM project");
  EXPECT_FALSE(token_.serial.empty());
  EXPECT_TRUE(token_.login_required && token_.user_pin_initialised);
  EXPECT_FALSE(token_.pin_locked || token_.pin_final_try);
}

TEST_F(SessionTest, KeepsTheLoginWhileOneSessionIsOpen) {
  Session parent = Open();
  ASSERT_THAT(parent.Login(Pin()), IsOk());
  { EXPECT_TRUE(*Open().LoggedIn()); }
  EXPECT_TRUE(*parent.LoggedIn());
  EXPECT_THAT(parent.Login(Pin()), IsOk()) << "being logged in is success";
}

TEST_F(SessionTest, TellsAWrongPin) {
  const auto login = Open().Login(base::AsBytes("000000"));
  EXPECT_THAT(login, IsErr(Code::kPermissionDenied, "PinRefused"));
  EXPECT_EQ(ConsequenceOf(login.error()), Consequence::kPinStop);
}

TEST_F(SessionTest, RefusesAmbiguousKeys) {
  Session session = Open(Session::Mode::kReadWrite);
  ASSERT_THAT(session.Login(Pin()), IsOk());
  ASSERT_THAT(session.GenerateKeyPair(KeyAlgorithm::kEcdsa, 256, "twin", base::Bytes{1}), IsOk());
  EXPECT_THAT(session.FindKey({"twin", {}}), IsOk());
  ASSERT_THAT(session.GenerateKeyPair(KeyAlgorithm::kEcdsa, 256, "twin", base::Bytes{2}), IsOk());
  EXPECT_THAT(session.FindKey({"twin", {}}), IsErr(Code::kFailedPrecondition, "KeyAmbiguous"));
  EXPECT_THAT(session.FindKey({"twin", base::Bytes{2}}), IsOk());
  EXPECT_THAT(session.FindKey({"other", {}}), IsErr(Code::kNotFound, "KeyNotFound"));
}

TEST_F(SessionTest, RefusesTwoPublicKeysUnderOneId) {
  Session session = Open(Session::Mode::kReadWrite);
  ASSERT_THAT(session.Login(Pin()), IsOk());
  ASSERT_THAT(session.GenerateKeyPair(KeyAlgorithm::kEcdsa, 256, "one", base::Bytes{7}), IsOk());
  ASSERT_THAT(session.GenerateKeyPair(KeyAlgorithm::kEcdsa, 256, "two", base::Bytes{7}), IsOk());
  EXPECT_THAT(session.FindKey({"one", {}}), IsErr(Code::kFailedPrecondition, "KeyAmbiguous"));
}

TEST_F(SessionTest, NeedsAReadWriteSessionToGenerate) {
  Session session = Open();
  ASSERT_THAT(session.Login(Pin()), IsOk());
  EXPECT_THAT(session.GenerateKeyPair(KeyAlgorithm::kEcdsa, 256, "key", base::Bytes{1}),
              IsErr(Code::kFailedPrecondition));
  EXPECT_THAT(session.GenerateKeyPair(KeyAlgorithm::kEcdsa, 224, "key", base::Bytes{1}), IsErr(Code::kInvalidArgument));
}

TEST_F(SessionTest, RefusesADigestOfTheWrongSize) {
  Session session = Open(Session::Mode::kReadWrite);
  ASSERT_THAT(session.Login(Pin()), IsOk());
  ASSERT_THAT(session.GenerateKeyPair(KeyAlgorithm::kEcdsa, 256, "key", base::Bytes{1}), IsOk());
  const auto key = session.FindKey({"key", {}});
  const auto outcome = session.Sign(key->handle, encoding::SignatureAlgorithm::kEcdsaWithSha256, 256, base::Bytes(31));
  EXPECT_THAT(outcome.signature, IsErr(Code::kInvalidArgument, "DigestMismatch"));
  EXPECT_TRUE(outcome.not_begun);
}

// The child must not use what belongs to the parent, and can begin anew; the parent goes on.
TEST_F(SessionTest, SurvivesAFork) {
  Session session = Open(Session::Mode::kReadWrite);
  ASSERT_THAT(session.Login(Pin()), IsOk());
  ASSERT_THAT(session.GenerateKeyPair(KeyAlgorithm::kEcdsa, 256, "key", base::Bytes{1}), IsOk());
  const auto key = session.FindKey({"key", {}});
  const base::Bytes digest(32, 1);
  const auto algorithm = encoding::SignatureAlgorithm::kEcdsaWithSha256;
  const pid_t child = ::fork();
  if (child == 0) {
    const auto refused = session.Sign(key->handle, algorithm, 256, digest);
    if (refused.signature || !refused.not_begun) ::_exit(1);
    if (ConsequenceOf(refused.signature.error()) != Consequence::kReinitialise) ::_exit(2);
    if (!module_->Initialise()) ::_exit(3);
    auto own = Session::Open(module_, token_.slot, Session::Mode::kReadOnly);
    if (!own || !own->Login(Pin())) ::_exit(4);
    const auto again = own->FindKey({"key", {}});
    if (!again || !own->Sign(again->handle, algorithm, 256, digest).signature) ::_exit(5);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_THAT(session.Sign(key->handle, algorithm, 256, digest).signature, IsOk());
}

TEST_F(SessionTest, InitialisesAgainAfterFinalise) {
  { Session session = Open(); }
  module_->Finalise();
  EXPECT_THAT(module_->Tokens(), IsErr(Code::kUnavailable));
  ASSERT_THAT(module_->Initialise(), IsOk());
  ASSERT_THAT(module_->Initialise(), IsOk()) << "a second time is no error";
  EXPECT_EQ(module_->Tokens()->size(), 1u);
}

TEST(ModuleTest, RefusesWhatIsNoModule) {
  EXPECT_THAT(Module::Load("/nonexistent.so"), IsErr(Code::kFailedPrecondition, "ModuleFailed"));
  EXPECT_THAT(Module::Load("libc.so.6"), IsErr(Code::kFailedPrecondition, "ModuleFailed"));
}

}  // namespace
}  // namespace signet::pkcs11
