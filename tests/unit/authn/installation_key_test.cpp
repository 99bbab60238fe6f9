#include "authn/installation_key.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "encoding/text.hpp"
#include "fakes/fake_clock.hpp"
#include "fakes/fake_store.hpp"
#include "support/matchers.hpp"

namespace signet::testing {
namespace {

using authn::kSealSecret;
using authn::LoadSealer;
using authn::Secrets;
using base::Code;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::string_view kNs = "signet-system";
const json kSpec = {{"a", 1}};

class InstallationKeyTest : public ::testing::Test {
 protected:
  /// A spec with a stamp of that sealer.
  json Sealed(const authn::Sealer& sealer) {
    json spec = kSpec;
    spec["stamp"] = sealer.Stamp("SigningRequest", "ci", spec, clock_.Now());
    return spec;
  }
  static bool Verifies(const authn::Sealer& sealer, const json& spec) {
    return sealer.Verifies("SigningRequest", "ci", spec);
  }
  void Put(const json& data) {
    const json secret = {{"metadata", {{"name", kSealSecret}}}, {"data", data}};
    ASSERT_THAT(store_.Create(Secrets(), kNs, secret), IsOk());
  }
  static std::string Base64(char octet, std::size_t size) {
    return encoding::ToBase64(base::AsBytes(std::string(size, octet)));
  }

  FakeClock clock_;
  FakeStore store_{clock_};
};

TEST_F(InstallationKeyTest, MakesOneKeyThatEveryoneReads) {
  const auto first = LoadSealer(store_, kNs);
  const auto second = LoadSealer(store_, kNs);
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  EXPECT_TRUE(Verifies(*second, Sealed(*first)));
  EXPECT_EQ(store_.CountCalls("Create"), 1U);
  const auto secret = store_.Get(Secrets(), kNs, kSealSecret);
  ASSERT_THAT(secret, IsOk());
  EXPECT_EQ(encoding::FromBase64((*secret)["data"]["key"].get<std::string>())->size(), 32U);
}

TEST_F(InstallationKeyTest, ReadsTheKeyOfTheReplicaThatWasFaster) {
  Put({{"key", Base64('k', 32)}});
  int gets = 0;
  store_.set_fault([&](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
    if (call.verb == "Get" && gets++ == 0) return FakeStore::Fault{base::MakeError(Code::kNotFound, "not yet"), false};
    return std::nullopt;
  });
  const auto loser = LoadSealer(store_, kNs);
  ASSERT_THAT(loser, IsOk());
  const auto winner = LoadSealer(store_, kNs);
  ASSERT_THAT(winner, IsOk());
  EXPECT_TRUE(Verifies(*winner, Sealed(*loser)));
}

TEST_F(InstallationKeyTest, APreviousKeyVerifiesAndDoesNotSeal) {
  Put({{"key", Base64('o', 32)}});
  const auto old = LoadSealer(store_, kNs);
  ASSERT_THAT(store_.Delete(Secrets(), kNs, kSealSecret, ""), IsOk());
  Put({{"key", Base64('n', 32)}, {"previous", Base64('o', 32)}});
  const auto now = LoadSealer(store_, kNs);
  ASSERT_THAT(now, IsOk());
  EXPECT_TRUE(Verifies(*now, Sealed(*old)));
  EXPECT_FALSE(Verifies(*old, Sealed(*now)));
}

TEST_F(InstallationKeyTest, NeverOverwritesASecretThatItCannotUse) {
  for (const json& data :
       {json::object(), json({{"key", 7}}), json({{"key", "?"}}), json({{"key", Base64('k', 31)}}),
        json({{"key", Base64('k', 1025)}}), json({{"key", Base64('k', 32)}, {"previous", "eA=="}})}) {
    SCOPED_TRACE(data.dump());
    Put(data);
    const auto sealer = LoadSealer(store_, kNs);
    EXPECT_THAT(sealer, IsErr(Code::kFailedPrecondition, "SealKeyInvalid"));
    EXPECT_THAT(sealer.error().message, HasSubstr("signet-system/signet-seal"));
    EXPECT_THAT(sealer.error().message, Not(HasSubstr(Base64('k', 31).substr(0, 16))));
    ASSERT_THAT(store_.Delete(Secrets(), kNs, kSealSecret, ""), IsOk());
  }
  EXPECT_EQ(store_.CountCalls("Update"), 0U);
}

TEST_F(InstallationKeyTest, PassesOnWhatTheStoreSays) {
  store_.set_fault([](const FakeStore::Call&) {
    return FakeStore::Fault{base::MakeError(Code::kPermissionDenied, "Forbidden", "no"), false};
  });
  EXPECT_THAT(LoadSealer(store_, kNs), IsErr(Code::kPermissionDenied));
}

}  // namespace
}  // namespace signet::testing
