#include "pkcs11/rv.hpp"

#include <gmock/gmock.h>

#include "support/matchers.hpp"

namespace signet::pkcs11 {
namespace {

using base::Code;

TEST(RvTest, ListsConsequencesOfLostSessions) {
  for (const Rv rv : {0xb3UL, 0xb0UL, 0x101UL, 0x60UL, 0x82UL}) {
    EXPECT_EQ(RowOf(rv).consequence, Consequence::kReplay) << NameOf(rv);
    EXPECT_EQ(RowOf(rv).code, Code::kUnavailable) << NameOf(rv);
  }
  for (const Rv rv : {0x32UL, 0xe0UL, 0xe1UL, 0x190UL}) {
    EXPECT_EQ(RowOf(rv).consequence, Consequence::kReinitialise) << NameOf(rv);
  }
}

TEST(RvTest, StopsAtEveryPinAnswer) {
  for (const Rv rv : {0xa0UL, 0xa1UL, 0xa2UL, 0xa3UL, 0xa4UL, 0x102UL}) {
    EXPECT_EQ(RowOf(rv).consequence, Consequence::kPinStop) << NameOf(rv);
    EXPECT_EQ(RowOf(rv).code, Code::kPermissionDenied) << NameOf(rv);
  }
  EXPECT_EQ(RowOf(0xa4).reason, "PinLocked");
}

TEST(RvTest, TakesAnUnlistedValueAsInternalAndFinal) {
  for (const Rv rv : {0x80000001UL, 0x4UL, 0xffffffffffffffffUL}) {
    EXPECT_TRUE(RowOf(rv).name.empty());
    const auto error = FromRv(rv, "Sign");
    EXPECT_EQ(error.code, Code::kInternal);
    EXPECT_EQ(ConsequenceOf(error), Consequence::kFinal);
    EXPECT_FALSE(CertainlyNotBegun(error));
  }
  EXPECT_EQ(NameOf(0x80000001), "0x80000001");
}

// "During the execution" leaves it open whether a signature was made; "at the time of the call" does not.
TEST(RvTest, TellsWhatWasCertainlyNotBegun) {
  EXPECT_TRUE(RowOf(0xe0).not_begun);   // TOKEN_NOT_PRESENT
  EXPECT_FALSE(RowOf(0x32).not_begun);  // DEVICE_REMOVED
  EXPECT_TRUE(RowOf(0xb3).not_begun);   // SESSION_HANDLE_INVALID
  EXPECT_FALSE(RowOf(0xb0).not_begun);  // SESSION_CLOSED
  EXPECT_FALSE(RowOf(0x30).not_begun);  // DEVICE_ERROR
}

TEST(RvTest, KeepsTheNumberForTheLogs) {
  const auto error = FromRv(0xa0, "Login");
  EXPECT_EQ(error.native.source, kNativeSource);
  EXPECT_EQ(error.native.number, 0xa0);
  EXPECT_EQ(error.message, "the HSM answered PIN_INCORRECT to Login");
}

TEST(RvTest, HasNothingToSayAboutErrorsOfOthers) {
  const auto error = base::MakeError(Code::kUnavailable, "x");
  EXPECT_EQ(ConsequenceOf(error), Consequence::kFinal);
  EXPECT_FALSE(CertainlyNotBegun(error));
}

}  // namespace
}  // namespace signet::pkcs11
