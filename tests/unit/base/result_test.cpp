#include "base/result.hpp"

#include "base/secret.hpp"
#include "support/matchers.hpp"

namespace signet::base {
namespace {

using testing::IsErr;
using testing::IsOk;

Result<int> Half(int value) {
  if (value % 2 != 0) return MakeError(Code::kInvalidArgument, "Odd", "odd");
  return value / 2;
}
Result<int> Quarter(int value) {
  TRY(const int half, Half(value));
  return Half(half);
}
Status CheckEven(int value) {
  TRY_VOID(Half(value));
  return {};
}

TEST(ResultTest, TryPassesValuesAndErrorsOn) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_THAT(Quarter(6), IsErr(Code::kInvalidArgument, "Odd"));
  EXPECT_THAT(CheckEven(2), IsOk());
  EXPECT_THAT(CheckEven(3), IsErr(Code::kInvalidArgument, "Odd"));
}

TEST(ResultTest, OnlyUnavailableMayBeRepeatedAsItIs) {
  EXPECT_TRUE(IsRetryable(Code::kUnavailable));
  for (const Code code : {Code::kInternal, Code::kAborted, Code::kDeadlineExceeded, Code::kPermissionDenied}) {
    EXPECT_FALSE(IsRetryable(code)) << Name(code);
  }
}

TEST(ResultTest, DescribesNativeNumbers) {
  EXPECT_EQ(Describe({Code::kPermissionDenied, "PinRefused", "PIN refused", {"pkcs11", 0xA0}}),
            "PIN refused (pkcs11 0xa0)");
  EXPECT_EQ(Describe({Code::kAborted, "", "conflict", {"http", 409}}), "conflict (http 409)");
}

TEST(SecretTest, IsGoneAfterAMove) {
  Secret first(ToBytes(AsBytes("1234")));
  const Secret second(std::move(first));
  EXPECT_TRUE(first.empty());  // NOLINT(bugprone-use-after-move)
  EXPECT_TRUE(second.Equals(Secret(ToBytes(AsBytes("1234")))));
  EXPECT_FALSE(second.Equals(Secret(ToBytes(AsBytes("1235")))));
  EXPECT_FALSE(second.Equals(Secret(ToBytes(AsBytes("123")))));
}

}  // namespace
}  // namespace signet::base
