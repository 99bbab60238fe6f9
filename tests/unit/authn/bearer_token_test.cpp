#include "authn/bearer_token.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fakes/fake_clock.hpp"
#include "fakes/tokens.hpp"
#include "support/matchers.hpp"

namespace signet::testing {
namespace {

using authn::BearerOf;
using authn::CheckToken;
using base::Code;
using ::testing::HasSubstr;
using ::testing::Not;
using namespace std::chrono_literals;

class BearerTokenTest : public ::testing::Test {
 protected:
  base::Result<base::TimePoint> Check(const std::string& token) { return CheckToken(token, kAudience, clock_.Now()); }
  void ExpectRefused(const std::string& token, const std::string& why) {
    const auto checked = Check(token);
    ASSERT_THAT(checked, IsErr(Code::kUnauthenticated, "Unauthenticated")) << token;
    EXPECT_THAT(checked.error().message, HasSubstr(why)) << token;
  }
  FakeClock clock_;
};

TEST_F(BearerTokenTest, KnowsWhenAGoodTokenEnds) {
  const auto ends = Check(MakeToken(clock_, 600s));
  ASSERT_THAT(ends, IsOk());
  EXPECT_EQ(*ends, clock_.Now() + 600s);
  EXPECT_THAT(Check(TokenOf({{"aud", kAudience}, {"exp", 1'795'424'401.5}})), IsOk()) << "one second left";
}

TEST_F(BearerTokenTest, RefusesATokenThatIsOver) {
  const auto token = MakeToken(clock_, 600s);
  clock_.Advance(600s - 1us);
  EXPECT_THAT(Check(token), IsOk());
  clock_.Advance(1us);
  ExpectRefused(token, "expired");
}

TEST_F(BearerTokenTest, RefusesATokenForOthers) {
  const auto exp = 1'795'425'000;
  for (const nlohmann::json& aud : {nlohmann::json("signet"), nlohmann::json("signet.dev2"), nlohmann::json(7),
                                    nlohmann::json::array(), nlohmann::json{"api", 7}, nlohmann::json()}) {
    ExpectRefused(TokenOf({{"aud", aud}, {"exp", exp}}), "another audience");
  }
  ExpectRefused(TokenOf({{"exp", exp}}), "another audience");
  EXPECT_THAT(Check(TokenOf({{"aud", {"api", kAudience}}, {"exp", exp}})), IsOk());
}

TEST_F(BearerTokenTest, RefusesATokenWithoutAnEnd) {
  ExpectRefused(TokenOf({{"aud", kAudience}}), "when it ends");
  ExpectRefused(TokenOf({{"aud", kAudience}, {"exp", "soon"}}), "when it ends");
  for (const double exp : {-1.0, 0.0, 1e300}) ExpectRefused(TokenOf({{"aud", kAudience}, {"exp", exp}}), "no time");
}

TEST_F(BearerTokenTest, RefusesGarbageWithoutRepeatingIt) {
  for (const std::string token :
       {"", ".", "..", "...", "a", "a.b", "a.b.c.d", "a.b.c", "a.!.c", "a.e30=.c", "a.W10.c", "a.e30.", ".e30.c",
        "a.\xff.c", "a. e30.c", "a.bnVsbA.c", "hunter2.hunter2.hunter2"}) {
    const auto checked = Check(token);
    ASSERT_THAT(checked, IsErr(Code::kUnauthenticated)) << token;
    EXPECT_THAT(checked.error().message, Not(HasSubstr("hunter2")));
  }
  ExpectRefused(std::string(authn::kMostTokenOctets + 1, 'a'), "too long");
}

TEST(AuthorizationFieldTest, HasASchemeAndAToken) {
  EXPECT_EQ(BearerOf("Bearer abc").value(), "abc");
  EXPECT_EQ(BearerOf("bearer  abc").value(), "abc");
  for (const std::string_view value : {"", "Bearer", "Bearer ", "Basic abc", "abc", "Bearerabc", "Bear abc"}) {
    EXPECT_THAT(BearerOf(value), IsErr(Code::kUnauthenticated)) << value;
  }
}

}  // namespace
}  // namespace signet::testing
