#include "token/pin_guard.hpp"

#include <gmock/gmock.h>

#include "pkcs11/rv.hpp"
#include "support/matchers.hpp"

namespace signet::token {
namespace {

using testing::IsErr;
using testing::IsOk;

const FileIdentity kFile{1, 2, 5, 1000};
const FileIdentity kTouched{1, 2, 5, 2000};
const std::string kSerial = "0001";

/// As after a restart: what is on disk is all that is known.
PinGuard Restarted(const PinRecord& on_disk) {
  auto record = ParsePinRecord(FormatPinRecord(on_disk));
  EXPECT_THAT(record, IsOk());
  return PinGuard(*record);
}

TEST(PinGuardTest, AllowsAFreshPinAndNotARefusedOne) {
  PinGuard guard(std::nullopt);
  EXPECT_TRUE(guard.MayTry(kFile, kSerial, false));
  const auto attempt = guard.Begin(kFile, kSerial);
  guard.End(attempt, LoginOutcome::kRefused);
  EXPECT_FALSE(guard.MayTry(kFile, kSerial, false));
  EXPECT_FALSE(guard.LooksNew(kFile));
  PinGuard restarted = Restarted(attempt.refused);
  EXPECT_FALSE(restarted.MayTry(kFile, kSerial, false));
}

TEST(PinGuardTest, AllowsAnotherPinAfterARefusal) {
  PinGuard guard(std::nullopt);
  guard.End(guard.Begin(kFile, kSerial), LoginOutcome::kRefused);
  EXPECT_TRUE(guard.LooksNew(kTouched));
  EXPECT_TRUE(guard.MayTry(kTouched, kSerial, false));
}

TEST(PinGuardTest, RemembersATouchedFileWithTheSamePin) {
  PinGuard guard(std::nullopt);
  guard.End(guard.Begin(kFile, kSerial), LoginOutcome::kRefused);
  EXPECT_FALSE(guard.MayTry(kTouched, kSerial, true));
  EXPECT_FALSE(guard.LooksNew(kTouched));
  EXPECT_FALSE(guard.MayTry(kTouched, kSerial, false));
}

TEST(PinGuardTest, TakesAnUnknownEndAsARefusal) {
  PinGuard guard(std::nullopt);
  const auto attempt = guard.Begin(kFile, kSerial);
  EXPECT_FALSE(guard.MayTry(kFile, kSerial, false));
  PinGuard restarted = Restarted(attempt.trying);
  EXPECT_FALSE(restarted.MayTry(kFile, kSerial, false));
}

TEST(PinGuardTest, AllowsAKnownGoodPinOneMoreTryAfterAnUnknownEnd) {
  PinGuard guard(std::nullopt);
  guard.End(guard.Begin(kFile, kSerial), LoginOutcome::kAccepted);
  PinGuard first = Restarted(guard.Begin(kFile, kSerial).trying);
  EXPECT_TRUE(first.MayTry(kFile, kSerial, false));
  PinGuard second = Restarted(first.Begin(kFile, kSerial).trying);
  EXPECT_FALSE(second.MayTry(kFile, kSerial, false));
}

TEST(PinGuardTest, ForgetsThatAPinWasGoodOnceItIsRefused) {
  PinGuard guard(std::nullopt);
  guard.End(guard.Begin(kFile, kSerial), LoginOutcome::kAccepted);
  const auto attempt = guard.Begin(kFile, kSerial);
  EXPECT_TRUE(attempt.trying.known_good);
  EXPECT_FALSE(attempt.refused.known_good);
  guard.End(attempt, LoginOutcome::kRefused);
  EXPECT_FALSE(guard.MayTry(kFile, kSerial, false));
}

TEST(PinGuardTest, ForgetsAnAttemptThatTheTokenDidNotLookAt) {
  PinGuard guard(std::nullopt);
  guard.End(guard.Begin(kFile, kSerial), LoginOutcome::kUncounted);
  EXPECT_TRUE(guard.MayTry(kFile, kSerial, false));
  EXPECT_FALSE(guard.record().has_value());
}

TEST(PinGuardTest, KeepsARefusalToItsToken) {
  PinGuard guard(std::nullopt);
  guard.End(guard.Begin(kFile, kSerial), LoginOutcome::kRefused);
  EXPECT_TRUE(guard.MayTry(kFile, "0002", false));
}

TEST(PinGuardTest, RefusesADamagedRecord) {
  for (const char* text :
       {"x", "{}", "[1]", R"({"version":2})",
        R"({"version":1,"state":"maybe","device":1,"inode":1,"size":1,"mtimeNs":1,"serial":"",)"
        R"("knownGood":false,"unresolved":0})",
        R"({"version":1e99,"state":"refused"})",
        R"({"version":1,"state":"refused","device":1,"inode":1,"size":1e99,"mtimeNs":1,"serial":"",)"
        R"("knownGood":false,"unresolved":0})",
        R"({"version":1,"state":"refused","device":1,"inode":1,"size":1,"mtimeNs":-1e99,"serial":"",)"
        R"("knownGood":false,"unresolved":0})",
        R"({"version":1,"state":"refused","device":1,"inode":1,"size":1,"mtimeNs":1,"serial":"",)"
        R"("knownGood":false,"unresolved":4294967296})"}) {
    EXPECT_THAT(ParsePinRecord(text), IsErr(base::Code::kFailedPrecondition)) << text;
  }
}

struct Answer {
  pkcs11::Rv rv;
  bool known_good;
  bool counted;
  LoginOutcome outcome;
};
class LoginAnswerTest : public ::testing::TestWithParam<Answer> {};

TEST_P(LoginAnswerTest, IsClassified) {
  const base::Status login = pkcs11::FromRv(GetParam().rv, "Login");
  EXPECT_EQ(ClassifyLogin(login, GetParam().known_good, GetParam().counted), GetParam().outcome);
}
INSTANTIATE_TEST_SUITE_P(All, LoginAnswerTest,
                         ::testing::Values(Answer{0xa0, true, false, LoginOutcome::kRefused},  // PIN_INCORRECT
                                           Answer{0xa4, true, false, LoginOutcome::kRefused},  // PIN_LOCKED
                                           Answer{0x102, false, true,
                                                  LoginOutcome::kUncounted},  // USER_PIN_NOT_INITIALIZED
                                           Answer{0x80000001, true, false, LoginOutcome::kRefused},  // unlisted
                                           Answer{0x80000001, false, false, LoginOutcome::kRefused},
                                           Answer{0xe0, false, true, LoginOutcome::kUncounted},  // TOKEN_NOT_PRESENT
                                           Answer{0xb1, false, true, LoginOutcome::kUncounted},  // SESSION_COUNT
                                           Answer{0x30, false, true, LoginOutcome::kRefused},    // DEVICE_ERROR
                                           Answer{0x30, false, false, LoginOutcome::kUnclear},
                                           Answer{0x30, true, true, LoginOutcome::kUncounted}));

TEST(PinGuardTest, BoundsAttemptsThatStayUnclear) {
  PinGuard guard(std::nullopt);
  int attempts = 0;
  while (guard.MayTry(kFile, kSerial, false) && attempts < 100) {
    const auto attempt = guard.Begin(kFile, kSerial);
    guard.End(attempt, LoginOutcome::kUnclear);
    guard = Restarted(attempt.unclear);
    ++attempts;
  }
  EXPECT_EQ(attempts, 5);
}

}  // namespace
}  // namespace signet::token
