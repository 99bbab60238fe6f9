// Tokens that do not say of themselves what is true, or allow less than others: real worker processes.
#include <gmock/gmock.h>

#include <cstdlib>

#include "base/environment.hpp"
#include "crypto/digest.hpp"
#include "support/fake_p11.hpp"
#include "support/loop.hpp"
#include "support/matchers.hpp"
#include "token/worker_hsm.hpp"

namespace signet::token {
namespace {

using namespace std::chrono_literals;
using base::Code;
using encoding::SignatureAlgorithm;
using testing::IsErr;
using testing::IsOk;

const base::Bytes kDigest = crypto::Hash(encoding::HashAlgorithm::kSha256, base::AsBytes("to be signed"));

class OddTokenTest : public ::testing::Test {
 protected:
  void Start(std::optional<std::string> uri = std::nullopt) {
    hsm_.reset();
    WorkerHsmOptions options;
    options.module = FAKE_P11_MODULE;
    options.tokens = {{std::nullopt, fake_.pin_file()}};
    if (uri) options.tokens[0].uri = *encoding::ParsePkcs11Uri(*uri);
    options.workers_per_token = 1;
    options.sign_timeout = options.generate_timeout = 5s;
    auto created = WorkerHsm::Create(std::move(options), loop_.reactor());
    ASSERT_THAT(created, IsOk());
    hsm_ = *std::move(created);
  }
  bool Ready() {
    return loop_.Until([&] { return hsm_->State().workers_ready == 1; });
  }
  bool Reason(const std::string& reason) {
    return loop_.Until([&] { return hsm_->State().reason == reason; });
  }
  base::Result<KeyInfo> Find() {
    return loop_.Await<KeyInfo>([&](auto done) { hsm_->Find(*encoding::ParsePkcs11Uri("pkcs11:object=key"), done); });
  }
  base::Result<base::Bytes> Sign(KeyRef key) {
    return loop_.Await<base::Bytes>(
        [&](auto done) { hsm_->Sign(key, SignatureAlgorithm::kEcdsaWithSha256, kDigest, done); });
  }
  void ExpectSigns() {
    ASSERT_TRUE(Ready()) << hsm_->State().reason << ": " << hsm_->State().message;
    const auto key = Find();
    ASSERT_THAT(key, IsOk());
    EXPECT_THAT(Sign(key->ref), IsOk());
  }

  testing::FakeP11 fake_;
  testing::Loop loop_;
  std::unique_ptr<WorkerHsm> hsm_;
};

// ---- Flags are claims: a PIN that was given is used. ----

class OddFlagTest : public OddTokenTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(OddFlagTest, UsesThePinThatWasGiven) {
  fake_.Set(GetParam(), "1");
  Start();
  ExpectSigns();
  EXPECT_EQ(fake_.Calls("C_Login"), 1);
}
INSTANTIATE_TEST_SUITE_P(All, OddFlagTest,
                         ::testing::Values("no_login_flag", "no_pin_flag", "no_init_flag", "pin_pad", "hide",
                                           "no_flags"));

TEST_F(OddTokenTest, NoticesALostLoginOfATokenThatSaysItNeedsNone) {
  fake_.Set("no_login_flag", "1");
  Start();
  ASSERT_TRUE(Ready());
  const auto key = Find();
  ASSERT_THAT(key, IsOk());
  fake_.Set("logged_out", "1");
  EXPECT_THAT(Find(), IsOk()) << "an invisible key is not a lost one";
  EXPECT_THAT(Sign(key->ref), IsOk());
  EXPECT_EQ(fake_.Calls("C_Login"), 2);
}

TEST_F(OddTokenTest, ServesATokenThatHasNoLogin) {
  fake_.Set("no_login_flag", "1");
  fake_.Set("no_login", "1");
  Start();
  ExpectSigns();
}

TEST_F(OddTokenTest, RefusesAPinThatTheTokensLimitsRuleOutAndAsksNothing) {
  for (const auto& [least, most] : {std::pair{"6", "8"}, {"1", "3"}}) {
    fake_.Set("min_pin", least);
    fake_.Set("max_pin", most);
    Start();
    ASSERT_TRUE(Reason("PinFileUnreadable")) << hsm_->State().reason;
    EXPECT_THAT(hsm_->State().message, ::testing::HasSubstr("bytes that the token"));
  }
  EXPECT_EQ(fake_.Calls("C_Login"), 0);
}

TEST_F(OddTokenTest, DisregardsLimitsOfThePinThatMakeNoSense) {
  for (const auto& [least, most] :
       {std::pair{"8", "4"}, {"18446744073709551615", "18446744073709551615"}, {"0", "0"}}) {
    fake_.Set("min_pin", least);
    fake_.Set("max_pin", most);
    Start();
    ASSERT_TRUE(Ready()) << hsm_->State().message;
  }
}

// ---- Sessions ----

class OddSessionTest : public OddTokenTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(OddSessionTest, FallsBackToReadWriteSessions) {
  fake_.Set("ro_rv", GetParam());
  Start();
  ExpectSigns();
}
INSTANTIATE_TEST_SUITE_P(All, OddSessionTest,
                         ::testing::Values("0xb8", "0xb5", "0x6", "0x7", "0x5", "0xb4", "0x80000001"));

TEST_F(OddTokenTest, ServesATokenThatAllowsOneSessionAProcess) {
  fake_.Set("sessions", "1");
  Start();
  ExpectSigns();
  EXPECT_EQ(fake_.Calls("C_Login"), 1);
  fake_.Set("handles", "7");  // the search comes again in the same session
  EXPECT_THAT(Sign(Find()->ref), IsOk());
  EXPECT_EQ(fake_.Calls("C_Login"), 1);
  fake_.Set("sessions_lost", "1");
  EXPECT_THAT(Sign(Find()->ref), IsOk());
}

TEST_F(OddTokenTest, ServesOneSessionOfATokenThatIsReadOnly) {
  fake_.Set("sessions", "1");
  fake_.Set("rw_rv", "0xe2");  // TOKEN_WRITE_PROTECTED
  Start();
  ExpectSigns();
}

TEST_F(OddTokenTest, SaysThatNoSessionIsLeft) {
  fake_.Set("sessions", "0");
  Start();
  ASSERT_TRUE(Reason("SessionLimit")) << hsm_->State().reason;
  EXPECT_THAT(hsm_->State().message, ::testing::HasSubstr("SESSION_COUNT"));
  fake_.Set("sessions", "");
  EXPECT_TRUE(Ready()) << "by itself";
}

TEST_F(OddTokenTest, SaysWhatTheTokenAnsweredToOpenSession) {
  fake_.Set("open_rv", "*:0x30");
  Start();
  ASSERT_TRUE(Reason("SessionRefused")) << hsm_->State().reason;
  EXPECT_THAT(hsm_->State().message, ::testing::HasSubstr("DEVICE_ERROR"));
  fake_.Set("open_rv", "");
  EXPECT_TRUE(Ready());
}

// ---- Errors before C_Sign began: nothing was signed, so that asking again is right. ----

class BeforeSignTest : public OddTokenTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(BeforeSignTest, SaysThatNothingWasSigned) {
  Start();
  ASSERT_TRUE(Ready());
  const auto key = Find();
  ASSERT_THAT(key, IsOk());
  const int proofs = fake_.Calls("C_Sign");
  for (const char* call : {"signinit_rv", "find_rv", "attribute_rv"}) {
    SCOPED_TRACE(call);
    fake_.Set(call, std::string("*:") + GetParam());
    fake_.Set("handles", std::to_string(10 + *call));  // forgotten handles: the key is looked for again
    EXPECT_THAT(Sign(key->ref), IsErr(Code::kUnavailable, "HSMUnavailable"));
    EXPECT_EQ(fake_.Calls("C_Sign"), proofs);
    fake_.Set(call, "");
  }
  ASSERT_TRUE(Ready());
  EXPECT_THAT(Sign(key->ref), IsOk());
}
INSTANTIATE_TEST_SUITE_P(All, BeforeSignTest,
                         ::testing::Values("0x2", "0x5", "0x6", "0x30", "0x31", "0x32", "0x80000123"));

TEST_F(OddTokenTest, FindsNoKeyUnusableBecauseOfADeviceError) {
  Start();
  ASSERT_TRUE(Ready());
  for (int nth = 1; nth <= 20; ++nth) {
    const int before = fake_.Calls("C_GetAttributeValue");
    fake_.Set("attribute_rv", std::to_string(before + nth) + ":0x30");
    const auto found = Find();
    ASSERT_THAT(found, IsOk()) << nth;  // asked once more
    EXPECT_TRUE(found->can_sign) << nth;
    EXPECT_FALSE(found->mechanisms.empty()) << nth;
  }
}

// ---- The administrator's environment ----

TEST_F(OddTokenTest, GivesTheModuleTheEnvironmentOfItsAdministrator) {
  ::setenv("SSL_CERT_FILE", "/etc/ssl/mine.pem", 1);
  ::unsetenv("SSL_CERT_DIR");
  base::SetForThisProcess("SSL_CERT_FILE", "/dev/null");
  base::SetForThisProcess("SSL_CERT_FILE", "/dev/zero");
  base::SetForThisProcess("SSL_CERT_DIR", "/nonexistent");
  fake_.Set("env", (fake_.folder().path() / "env").string());
  Start();
  ASSERT_TRUE(Ready());
  const std::string seen = fake_.folder().Read("env");
  EXPECT_THAT(seen, ::testing::HasSubstr("SSL_CERT_FILE=/etc/ssl/mine.pem\n"));
  EXPECT_THAT(seen, ::testing::Not(::testing::HasSubstr("SSL_CERT_DIR=")));
  EXPECT_THAT(seen, ::testing::Not(::testing::HasSubstr("/dev/")));
}

}  // namespace
}  // namespace signet::token
