#include "token/pin_guard.hpp"

#include <gmock/gmock.h>

#include "pkcs11/rv.hpp"
#include "support/matchers.hpp"

namespace signet::token {
namespace {

using namespace std::chrono_literals;
using testing::IsErr;
using testing::IsOk;
using Kind = PinGuard::Verdict::Kind;

const std::string kPin(64, 'a');
const std::string kOther(64, 'b');

class PinGuardTest : public ::testing::Test {
 protected:
  Kind Claim(const std::string& pin, const std::string& holder = "one") {
    Restart();
    return guard_.Claim(pin, base::Bytes(guard_.key()), holder, now_, 30s).kind;
  }
  void Settle(const std::string& pin, LoginOutcome outcome, const std::string& holder = "one") {
    Restart();
    guard_.Settle(pin, holder, outcome, "the answer", now_);
  }
  /// What is kept is all that is known.
  void Restart() {
    auto parsed = PinGuard::Parse(guard_.Format(), {});
    ASSERT_THAT(parsed, IsOk());
    guard_ = *std::move(parsed);
  }

  base::TimePoint now_ = *base::ParseTime("2026-12-01T00:00:00Z");
  PinGuard guard_{pkcs11::TokenInfo{}};
};

TEST_F(PinGuardTest, NeverAllowsARefusedPinAgain) {
  EXPECT_EQ(Claim(kPin), Kind::kTry);
  Settle(kPin, LoginOutcome::kRefused);
  now_ += 24h * 365;
  EXPECT_EQ(Claim(kPin, "two"), Kind::kRefused);
}

TEST_F(PinGuardTest, RemembersEachOfSeveralRefusedPins) {
  for (const auto& pin : {kPin, kOther}) {
    EXPECT_EQ(Claim(pin), Kind::kTry);
    Settle(pin, LoginOutcome::kRefused);
  }
  EXPECT_EQ(Claim(kPin), Kind::kRefused);  // a replica whose volume still has the first one
  EXPECT_EQ(Claim(kOther), Kind::kRefused);
}

TEST_F(PinGuardTest, LetsOneTryAtATime) {
  EXPECT_EQ(Claim(kPin, "one"), Kind::kTry);
  EXPECT_EQ(Claim(kPin, "two"), Kind::kTaken);
  EXPECT_EQ(Claim(kOther, "two"), Kind::kTaken);
  Settle(kPin, LoginOutcome::kAccepted, "one");
  EXPECT_EQ(Claim(kPin, "two"), Kind::kTry);
}

TEST_F(PinGuardTest, KeepsTheClaimOfAProcessThatDied) {
  EXPECT_EQ(Claim(kPin, "dead"), Kind::kTry);
  now_ += 29s;
  EXPECT_EQ(Claim(kPin, "two"), Kind::kTaken);
  now_ += 2s;  // over: an attempt without an answer
  EXPECT_EQ(Claim(kPin, "two"), Kind::kWait);
  EXPECT_EQ(Claim(kOther, "two"), Kind::kTry);
  Settle(kOther, LoginOutcome::kRefused, "two");
  now_ += 60s;
  EXPECT_EQ(Claim(kPin, "two"), Kind::kTry) << "nobody said that it is wrong";
}

TEST_F(PinGuardTest, EndsTheClaimOfOneWhoIsKnownToBeGone) {
  const auto ask = [&](const std::string& pin) {
    Restart();
    return guard_.Claim(pin, base::Bytes(guard_.key()), "two", now_, 30s,
                        [](const std::string& holder) { return holder == "dead"; });
  };
  ASSERT_EQ(Claim(kPin, "dead"), Kind::kTry);
  const auto verdict = ask(kPin);
  EXPECT_EQ(verdict.kind, Kind::kWait) << "the attempt got no answer, and may have been refused";
  EXPECT_EQ(verdict.until, now_ + 60s);
  EXPECT_EQ(ask(kOther).kind, Kind::kTry);
  Settle(kOther, LoginOutcome::kAccepted, "two");
  ASSERT_EQ(Claim(kOther, "alive"), Kind::kTry);
  EXPECT_EQ(ask(kOther).kind, Kind::kTaken);
  Settle(kOther, LoginOutcome::kUncounted, "alive");
  ASSERT_EQ(Claim(kOther, "dead"), Kind::kTry);
  const auto good = ask(kOther);
  EXPECT_EQ(good.kind, Kind::kWait) << "it was good, but may have been changed at the token since";
  EXPECT_EQ(good.until, now_ + 5s);
}

TEST_F(PinGuardTest, DoesNotTryAKnownGoodPinAtTheSpeedOfRestarts) {
  ASSERT_EQ(Claim(kPin), Kind::kTry);
  Settle(kPin, LoginOutcome::kAccepted);
  int tries = 0;
  for (const auto end = now_ + 1h; now_ < end; now_ += 1s) {  // killed in each login, and started again at once
    Restart();
    const auto verdict = guard_.Claim(kPin, base::Bytes(guard_.key()), std::to_string(tries), now_, 35s,
                                      [](const std::string&) { return true; });
    if (verdict.kind != Kind::kTry) continue;
    EXPECT_TRUE(verdict.known_good);
    ++tries;
  }
  EXPECT_LE(tries, 20);
  EXPECT_GE(tries, 12) << "it goes on, so that it recovers by itself";
}

TEST_F(PinGuardTest, TriesAKnownGoodPinAgainAfterAnAttemptWithoutAnAnswer) {
  ASSERT_EQ(Claim(kPin), Kind::kTry);
  Settle(kPin, LoginOutcome::kAccepted);
  ASSERT_EQ(Claim(kPin, "dead"), Kind::kTry);
  now_ += 31s;
  EXPECT_EQ(Claim(kPin), Kind::kWait) << "five seconds from the end of its time";
  now_ += 4s;
  ASSERT_EQ(Claim(kPin), Kind::kTry);
  Settle(kPin, LoginOutcome::kUnanswered);
  now_ += 9s;
  EXPECT_EQ(Claim(kPin), Kind::kWait) << "the second one in a row: ten seconds";
  now_ += 1s;
  ASSERT_EQ(Claim(kPin), Kind::kTry);
  Settle(kPin, LoginOutcome::kUncounted);
  EXPECT_EQ(Claim(kPin), Kind::kTry) << "the token has answered: it is not the PIN";
  Settle(kPin, LoginOutcome::kAccepted);
  ASSERT_EQ(Claim(kPin, "dead"), Kind::kTry);
  now_ += 35s;
  EXPECT_EQ(Claim(kPin), Kind::kTry) << "counted anew";
  Settle(kPin, LoginOutcome::kRefused);
  EXPECT_EQ(Claim(kPin), Kind::kRefused) << "changed at the token";
}

TEST_F(PinGuardTest, ForgetsAMomentThatIsStillToCome) {
  ASSERT_EQ(Claim(kPin), Kind::kTry);
  now_ += 24h * 365;  // of a clock that was wrong
  Settle(kPin, LoginOutcome::kUnclear);
  now_ -= 24h * 365;
  EXPECT_EQ(Claim(kPin), Kind::kWait);
  now_ += 2s;
  EXPECT_EQ(Claim(kPin), Kind::kTry) << "the pause runs from the first look";
}

TEST_F(PinGuardTest, DoublesThePauseAfterEachUnclearAnswer) {
  auto pause = 0us;
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(Claim(kPin), Kind::kTry);
    Settle(kPin, LoginOutcome::kUnclear);
    const auto began = now_;
    while (Claim(kPin, "two") == Kind::kWait) now_ += 1s;
    Settle(kPin, LoginOutcome::kUncounted, "two");
    const auto waited = now_ - began;
    EXPECT_GE(waited, std::min<base::Duration>(pause, 5min));
    EXPECT_LE(waited, 5min + 1s);
    pause = waited;
    now_ += 5min;
  }
  EXPECT_GE(pause, 4min);
}

TEST_F(PinGuardTest, ForgetsAnAttemptThatTheTokenDidNotLookAt) {
  const std::string before = guard_.Format();
  EXPECT_EQ(Claim(kPin), Kind::kTry);
  Settle(kPin, LoginOutcome::kUncounted);
  EXPECT_EQ(guard_.Format(), before);
}

TEST_F(PinGuardTest, RemembersAVerdictWhoseClaimIsGone) {
  EXPECT_EQ(Claim(kPin, "slow"), Kind::kTry);
  guard_ = PinGuard(pkcs11::TokenInfo{});  // somebody removed the memory meanwhile
  Settle(kPin, LoginOutcome::kUnclear, "slow");
  EXPECT_EQ(Claim(kPin), Kind::kTry);
  Settle(kPin, LoginOutcome::kRefused, "slow");
  EXPECT_EQ(Claim(kPin), Kind::kRefused);
}

TEST_F(PinGuardTest, AsksForANewFingerprintWhenTheKeyIsAnotherOne) {
  const base::Bytes key = guard_.key();
  guard_ = PinGuard(pkcs11::TokenInfo{});
  EXPECT_EQ(guard_.Claim(kPin, key, "one", now_, 30s).kind, Kind::kKeyChanged);
}

TEST_F(PinGuardTest, IsBoundedAndKeepsTheLatest) {
  std::string pin(64, 'c');
  for (char c = '!'; c < '~'; ++c) {
    pin[0] = c;
    if (c == '"' || c == '\\') continue;
    ASSERT_EQ(Claim(pin), Kind::kTry);
    Settle(pin, LoginOutcome::kRefused);
  }
  EXPECT_LT(guard_.Format().size(), 16'000U);
  EXPECT_EQ(Claim(pin), Kind::kRefused);
}

TEST_F(PinGuardTest, DoesNotWaitForeverForAClockThatWasWrong) {
  EXPECT_EQ(Claim(kPin, "dead"), Kind::kTry);
  now_ -= 24h;
  EXPECT_EQ(Claim(kPin, "two"), Kind::kWait);
  Settle(kPin, LoginOutcome::kUnclear, "dead");
  now_ -= 24h;
  const auto verdict = guard_.Claim(kPin, base::Bytes(guard_.key()), "two", now_, 30s);
  EXPECT_LE(verdict.until, now_ + 10s);
}

TEST_F(PinGuardTest, RefusesADamagedText) {
  for (const char* text : {"x", "{}", "[1]", R"({"version":1})", R"({"version":2,"key":"00","token":{},"pins":[]})",
                           R"({"version":2,"key":5,"token":{},"pins":[]})"}) {
    EXPECT_THAT(PinGuard::Parse(text, {}), IsErr(base::Code::kFailedPrecondition, "StateUnreadable")) << text;
  }
  std::string cut = guard_.Format();
  cut.resize(cut.size() - 4);
  EXPECT_THAT(PinGuard::Parse(cut, {}), IsErr(base::Code::kFailedPrecondition, "StateUnreadable"));
}

TEST(PinFingerprintTest, DependsOnPinAndKeyAlone) {
  const auto of = [](std::string_view pin, std::string_view key) {
    return PinFingerprint(base::Secret(base::ToBytes(base::AsBytes(pin))), base::AsBytes(key));
  };
  EXPECT_EQ(of("1234", "k"), of("1234", "k"));
  EXPECT_NE(of("1234", "k"), of("1235", "k"));
  EXPECT_NE(of("1234", "k"), of("1234", "l"));
  EXPECT_EQ(of("1234", "k").size(), 64U);
}

struct Answer {
  pkcs11::Rv rv;
  bool known_good;
  PinFlags flags;
  LoginOutcome outcome;
};
class LoginAnswerTest : public ::testing::TestWithParam<Answer> {};

TEST_P(LoginAnswerTest, IsClassified) {
  const base::Status login = pkcs11::FromRv(GetParam().rv, "Login");
  EXPECT_EQ(ClassifyLogin(login, GetParam().known_good, GetParam().flags), GetParam().outcome);
}
constexpr PinFlags kNone{};
constexpr PinFlags kCounted{true, false};
constexpr PinFlags kLocked{true, true};
using enum LoginOutcome;
INSTANTIATE_TEST_SUITE_P(
    All, LoginAnswerTest,
    ::testing::Values(
        Answer{0xa0, true, kNone, kRefused}, Answer{0xa0, false, kNone, kRefused},         // PIN_INCORRECT
        Answer{0xa4, true, kNone, kRefused}, Answer{0xa4, true, kLocked, kUncounted},      // PIN_LOCKED
        Answer{0xa1, false, kNone, kRefused}, Answer{0xa1, true, kNone, kUncounted},       // PIN_INVALID
        Answer{0xa2, false, kNone, kRefused}, Answer{0xa2, true, kNone, kUncounted},       // PIN_LEN_RANGE
        Answer{0xa3, false, kNone, kUncounted}, Answer{0xa3, true, kNone, kUncounted},     // PIN_EXPIRED
        Answer{0x102, false, kNone, kUncounted},                                           // USER_PIN_NOT_INITIALIZED
        Answer{0x103, false, kNone, kUncounted}, Answer{0x104, false, kNone, kUncounted},  // USER_TYPE_INVALID, ANOTHER
        Answer{0x105, false, kNone, kUncounted}, Answer{0xb1, false, kNone, kUncounted},   // TOO_MANY_TYPES, COUNT
        Answer{0xe0, false, kNone, kUncounted}, Answer{0xb3, false, kNone, kUncounted},    // TOKEN, SESSION gone
        Answer{0x5, false, kNone, kUnclear}, Answer{0x5, true, kNone, kUncounted},         // GENERAL_ERROR
        Answer{0x6, false, kNone, kUnclear}, Answer{0x6, true, kCounted, kUncounted},      // FUNCTION_FAILED
        Answer{0x30, false, kCounted, kRefused}, Answer{0x30, false, kNone, kUnclear},     // DEVICE_ERROR
        Answer{0x80000001, false, kNone, kUnclear}, Answer{0x80000001, true, kNone, kUncounted},  // of a vendor
        Answer{0x1c1, false, kNone, kUnclear}, Answer{0x1c1, true, kNone, kUncounted}));          // unlisted

}  // namespace
}  // namespace signet::token
