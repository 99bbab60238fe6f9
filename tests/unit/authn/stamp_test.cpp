#include "authn/stamp.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "api/approval.hpp"
#include "api/json.hpp"
#include "crypto/hmac.hpp"
#include "encoding/text.hpp"
#include "fakes/fake_clock.hpp"
#include "support/matchers.hpp"

namespace signet::testing {
namespace {

using authn::Sealer;
using authn::StampJudge;
using base::Code;
using nlohmann::json;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

constexpr std::string_view kKind = "SigningRequest";

base::Secret Key(std::uint8_t octet) { return base::Secret(base::Bytes(32, octet)); }

Sealer SealerOf(std::initializer_list<std::uint8_t> octets) {
  std::vector<base::Secret> keys;
  for (const auto octet : octets) keys.push_back(Key(octet));
  return Sealer(std::move(keys));
}

json Spec() {
  return json::parse(R"({
    "policyRef": {"name": "release"},
    "digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "algorithm": "ECDSAWithSHA256",
    "artifact": {"name": "app/a", "annotations": {"build": "7"}},
    "expiresAfter": "24h",
    "ttlSecondsAfterFinished": 60,
    "requester": {"username": "alice", "uid": "u1", "groups": ["g1", "g2"], "extra": {"scopes": ["a", "b"]}}
  })");
}

class StampTest : public ::testing::Test {
 protected:
  json Object(const std::string& uid = "uid-1") {
    json spec = Spec();
    spec["stamp"] = sealer_.Stamp(kKind, "ci", spec, clock_.Now());
    return {{"apiVersion", "signet.dev/v1alpha1"},
            {"kind", kKind},
            {"metadata",
             {{"name", "r1"},
              {"namespace", "ci"},
              {"uid", uid},
              {"creationTimestamp", base::FormatTimeSeconds(clock_.Now())}}},
            {"spec", spec}};
  }

  FakeClock clock_;
  Sealer sealer_ = SealerOf({1});
  StampJudge judge_{sealer_, clock_};
};

TEST_F(StampTest, SealsWhatTheDesignSays) {
  const json spec = Spec();
  const json stamp = sealer_.Stamp(kKind, "ci", spec, clock_.Now());
  // The canonical text, written by hand from docs/adr/0007.
  const std::string text = R"(["signet-stamp/v1","SigningRequest","ci",)" + spec.dump() +
                           R"(,"2026-11-23T09:00:00.000000Z",")" + stamp["nonce"].get<std::string>() + R"("])";
  EXPECT_EQ(stamp["seal"], encoding::ToHex(crypto::HmacSha256(base::Bytes(32, 1), base::AsBytes(text))));
  EXPECT_EQ(stamp["nonce"].get<std::string>().size(), 32U);
  EXPECT_NE(stamp["nonce"], sealer_.Stamp(kKind, "ci", spec, clock_.Now())["nonce"]);
}

TEST_F(StampTest, MakesAStampThatTheSchemaTakes) { EXPECT_THAT(api::RequestFromJson(Object()), IsOk()); }

TEST_F(StampTest, AnyKeyVerifiesAndTheFirstSeals) {
  const Sealer rotated = SealerOf({2, 1});
  const auto object = Object();
  EXPECT_TRUE(rotated.Verifies(kKind, "ci", object["spec"]));
  json spec = Spec();
  spec["stamp"] = rotated.Stamp(kKind, "ci", spec, clock_.Now());
  EXPECT_FALSE(sealer_.Verifies(kKind, "ci", spec));
  EXPECT_TRUE(SealerOf({2}).Verifies(kKind, "ci", spec));
}

/// Every place in `value`, as JSON pointers.
void Places(const json& value, const json::json_pointer& at, std::vector<json::json_pointer>& out) {
  if (value.is_structured() && !value.empty()) {
    if (value.is_array()) {
      for (std::size_t i = 0; i < value.size(); ++i) Places(value[i], at / i, out);
    } else {
      for (const auto& [key, inner] : value.items()) Places(inner, at / key, out);
    }
    return;
  }
  out.push_back(at);
}

TEST_F(StampTest, EverySingleTamperingBreaksTheSeal) {
  const json good = Object()["spec"];
  ASSERT_TRUE(sealer_.Verifies(kKind, "ci", good));
  std::vector<json::json_pointer> places;
  Places(good, json::json_pointer(), places);
  ASSERT_GE(places.size(), 13U);
  for (const auto& place : places) {
    json changed = good;
    json& value = changed[place];
    if (value.is_number()) {
      value = value.get<int>() + 1;
    } else if (place.back() == "seal" || place.back() == "nonce") {
      auto text = value.get<std::string>();
      text[5] = text[5] == '0' ? '1' : '0';
      value = text;
    } else {
      value = value.get<std::string>() + "x";
    }
    EXPECT_FALSE(sealer_.Verifies(kKind, "ci", changed)) << place.to_string();
  }
  json added = good;
  added["message"] = "aGk=";
  EXPECT_FALSE(sealer_.Verifies(kKind, "ci", added));
  for (const auto& [key, value] : good.items()) {
    json removed = good;
    removed.erase(key);
    EXPECT_FALSE(sealer_.Verifies(kKind, "ci", removed)) << key;
  }
}

TEST_F(StampTest, AStampOfAnotherNamespaceOrKindDoesNotVerify) {
  const json spec = Object()["spec"];
  EXPECT_FALSE(sealer_.Verifies(kKind, "other", spec));
  EXPECT_FALSE(sealer_.Verifies("SigningApproval", "ci", spec));
  EXPECT_FALSE(sealer_.Verifies(kKind, "", spec));
}

TEST_F(StampTest, AShortOrMissingSealDoesNotVerify) {
  json spec = Object()["spec"];
  for (const json& seal : {json(""), json("00"), json(7), json(nullptr), json("zz")}) {
    spec["stamp"]["seal"] = seal;
    EXPECT_FALSE(sealer_.Verifies(kKind, "ci", spec)) << seal;
  }
  spec["stamp"] = json::array();
  EXPECT_FALSE(sealer_.Verifies(kKind, "ci", spec));
  EXPECT_FALSE(sealer_.Verifies(kKind, "ci", Spec()));
  EXPECT_FALSE(sealer_.Verifies(kKind, "ci", json()));
}

TEST_F(StampTest, HonoursAnObjectStampedWhenItWasMade) {
  const auto object = Object();
  EXPECT_THAT(judge_.Judge(kKind, object), IsOk());
  EXPECT_THAT(judge_.Judge(kKind, object), IsOk());
  clock_.Advance(48h);
  EXPECT_THAT(judge_.Judge(kKind, object), IsOk()) << "an object does not become bad by growing old";
}

TEST_F(StampTest, RefusesWhatWasNotStampedWithWordsForPeople) {
  auto object = Object();
  object["spec"].erase("stamp");
  const auto status = judge_.Judge(kKind, object);
  ASSERT_THAT(status, IsErr(Code::kUnauthenticated, "NotStamped"));
  EXPECT_THAT(status.error().message, HasSubstr("make it anew"));
  EXPECT_THAT(judge_.Judge(kKind, json()), IsErr(Code::kUnauthenticated, "NotStamped"));
  EXPECT_THAT(judge_.Judge(kKind, {{"spec", 3}}), IsErr(Code::kUnauthenticated, "NotStamped"));
}

TEST_F(StampTest, RefusesAnotherSpecNamespaceOrKindUnderTheSeal) {
  auto object = Object();
  object["spec"]["requester"]["username"] = "bob";
  EXPECT_THAT(judge_.Judge(kKind, object), IsErr(Code::kUnauthenticated, "SealInvalid"));
  object = Object();
  object["metadata"]["namespace"] = "other";
  EXPECT_THAT(judge_.Judge(kKind, object), IsErr(Code::kUnauthenticated, "SealInvalid"));
  EXPECT_THAT(judge_.Judge("SigningApproval", Object()), IsErr(Code::kUnauthenticated, "SealInvalid"));
}

TEST_F(StampTest, RefusesAStampFromAnotherMoment) {
  struct Case {
    std::chrono::seconds created_after_stamp;
    bool good;
  };
  for (const auto& [after, good] :
       std::vector<Case>{{0s, true}, {60s, true}, {62s, false}, {-60s, true}, {-62s, false}, {24h, false}}) {
    auto object = Object();
    object["metadata"]["uid"] = "uid-" + std::to_string(after.count());
    object["metadata"]["creationTimestamp"] = base::FormatTimeSeconds(clock_.Now() + after);
    if (good) {
      EXPECT_THAT(judge_.Judge(kKind, object), IsOk()) << after.count();
    } else {
      EXPECT_THAT(judge_.Judge(kKind, object), IsErr(Code::kUnauthenticated, "StampNotFresh")) << after.count();
    }
  }
  auto object = Object();
  object["metadata"].erase("creationTimestamp");
  EXPECT_THAT(judge_.Judge(kKind, object), IsErr(Code::kUnauthenticated, "StampNotFresh"));
}

TEST_F(StampTest, RefusesAStampOfTheFuture) {
  auto object = Object();
  json spec = Spec();
  const auto later = clock_.Now() + 10min;
  spec["stamp"] = sealer_.Stamp(kKind, "ci", spec, later);
  object["spec"] = spec;
  object["metadata"]["creationTimestamp"] = base::FormatTimeSeconds(later);
  EXPECT_THAT(judge_.Judge(kKind, object), IsErr(Code::kUnauthenticated, "StampNotFresh"));
}

TEST_F(StampTest, HonoursANonceForOneObject) {
  const auto object = Object("uid-1");
  auto copy = object;
  copy["metadata"]["uid"] = "uid-2";
  copy["metadata"]["name"] = "r2";
  EXPECT_THAT(judge_.Judge(kKind, object), IsOk());
  EXPECT_THAT(judge_.Judge(kKind, copy), IsErr(Code::kUnauthenticated, "StampReused"));
  EXPECT_THAT(judge_.Judge(kKind, object), IsOk());
}

TEST_F(StampTest, ACopyDoesNotBecomeGoodByWaiting) {
  const auto object = Object("uid-1");
  auto copy = object;
  copy["metadata"]["uid"] = "uid-2";
  EXPECT_THAT(judge_.Judge(kKind, object), IsOk());
  EXPECT_THAT(judge_.Judge(kKind, copy), IsErr(Code::kUnauthenticated, "StampReused"));
  clock_.Advance(48h);
  EXPECT_THAT(judge_.Judge(kKind, Object("uid-3")), IsOk());
  EXPECT_THAT(judge_.Judge(kKind, copy), IsErr(Code::kUnauthenticated, "StampReused"));
  EXPECT_THAT(judge_.Judge(kKind, object), IsOk());
}

TEST_F(StampTest, RemembersABoundedNumberOfCopiesAndThenRefusesWhatIsAsOld) {
  const auto copy_of = [](json object) {
    object["metadata"]["uid"] = object["metadata"]["uid"].get<std::string>() + "-copy";
    return object;
  };
  const auto before = Object("uid-before");
  clock_.Advance(2s);
  const auto first = Object("uid-first");
  for (std::size_t i = 0; i < StampJudge::kMostContested + 2; ++i) {
    const auto object = i == 0 ? first : Object("uid-" + std::to_string(i));
    ASSERT_THAT(judge_.Judge(kKind, object), IsOk());
    ASSERT_THAT(judge_.Judge(kKind, copy_of(object)), IsErr(Code::kUnauthenticated, "StampReused"));
    clock_.Advance(10ms);
  }
  clock_.Advance(2s);
  const auto after = Object("uid-after");
  clock_.Advance(48h);
  EXPECT_THAT(judge_.Judge(kKind, Object("uid-last")), IsOk());
  EXPECT_LE(judge_.remembered(), StampJudge::kMostContested + 1);
  EXPECT_THAT(judge_.Judge(kKind, copy_of(first)), IsErr(Code::kUnauthenticated, "StampReused"));
  EXPECT_THAT(judge_.Judge(kKind, before), IsErr(Code::kUnauthenticated, "StampReused"));
  EXPECT_THAT(judge_.Judge(kKind, after), IsOk());
}

TEST_F(StampTest, ForgetsNoncesThatNoFreshCopyCanCarry) {
  for (int i = 0; i < 100; ++i) {
    ASSERT_THAT(judge_.Judge(kKind, Object("uid-" + std::to_string(i))), IsOk());
    clock_.Advance(1s);
  }
  EXPECT_EQ(judge_.remembered(), 100U);
  const auto old = Object("uid-old");
  clock_.Advance(StampJudge::kMemory + 1s);
  EXPECT_THAT(judge_.Judge(kKind, Object("uid-last")), IsOk());
  EXPECT_EQ(judge_.remembered(), 1U);
  EXPECT_THAT(judge_.Judge(kKind, old), IsOk());
  EXPECT_EQ(judge_.remembered(), 1U) << "an old object's nonce takes no memory";
}

}  // namespace
}  // namespace signet::testing
