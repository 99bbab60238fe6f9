// Policies through the webhook: warnings, what is refused, and what the record says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <string>

#include "admission_fixture.hpp"
#include "api/json.hpp"
#include "crypto/digest.hpp"

namespace signet::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class PolicyAdmissionTest : public AdmissionFixture {
 protected:
  json Create(const json& object) { return Validate(Review("CREATE", "SigningPolicy", "signingpolicies", object)); }
  json Edit(const json& before, const json& after) {
    return Validate(Review("UPDATE", "SigningPolicy", "signingpolicies", after, before));
  }
  /// The policyChange lines of the record.
  std::vector<json> Changes() { return LinesOf("policyChange"); }
  std::vector<json> LinesOf(const std::string& type) {
    std::vector<json> changes;
    std::istringstream lines(text());
    for (std::string line; std::getline(lines, line);) {
      json record = json::parse(line);
      if (record["type"] == type) changes.push_back(std::move(record));
    }
    return changes;
  }
  static std::string HashOf(const json& object) { return crypto::Sha256Hex(base::AsBytes(api::CanonicalSpec(object))); }
  static json Pinned() {
    json policy = Policy();
    policy["status"]["key"]["keyID"] = kP256KeyID;
    return policy;
  }
};

TEST_F(PolicyAdmissionTest, ChecksWithTheCodeThatActsOnItLater) {
  EXPECT_THAT(Warnings(Create(Policy())), IsEmpty());
  json bad = Policy();
  bad["spec"]["key"]["uri"] = "pkcs11:pin-value=1";
  EXPECT_THAT(Refusal(Create(bad)), HasSubstr("spec.key.uri"));
  bad = Policy();
  bad["spec"]["windows"] = {{{"from", "09:00"}, {"to", "10:00"}, {"timeZone", "Mars/Olympus"}}};
  EXPECT_THAT(Refusal(Create(bad)), HasSubstr("Mars/Olympus"));
  EXPECT_THAT(Refusal(Edit(Policy(), bad)), HasSubstr("Mars/Olympus"));
  EXPECT_THAT(Changes(), SizeIs(1)) << "what is refused is no change";
}

TEST_F(PolicyAdmissionTest, WarnsOfWhatAnEditPermits) {
  json after = Policy();
  after["spec"]["allowDirect"] = true;
  after["spec"]["subjects"].push_back({{"kind", "User"}, {"name", "bob"}});
  EXPECT_THAT(Warnings(Edit(Policy(), after)), ElementsAre(HasSubstr("User bob"), HasSubstr("allowDirect")));
  EXPECT_THAT(Warnings(Edit(after, Policy())), IsEmpty());
}

TEST_F(PolicyAdmissionTest, WarnsOfAPolicyForNobody) {
  json nobody = Policy();
  nobody["spec"].erase("subjects");
  EXPECT_THAT(Warnings(Create(nobody)), ElementsAre(HasSubstr("nobody can sign")));
}

TEST_F(PolicyAdmissionTest, WarnsWhereAnotherPolicyNamesTheKey) {
  json other = Policy();
  other["metadata"]["name"] = "other";
  other["spec"]["key"]["uri"] = "pkcs11:object=o;token=t";
  json unrelated = other;
  unrelated["metadata"]["name"] = "unrelated";
  unrelated["spec"]["key"]["uri"] = "pkcs11:object=p;token=t";
  for (const json& policy : {Policy(), other, unrelated, json("broken"), json::object()}) {
    policies_.push_back(std::make_shared<const json>(policy));
  }
  EXPECT_THAT(Warnings(Create(Policy())), ElementsAre(HasSubstr("policy other names this key too")));
}

TEST_F(PolicyAdmissionTest, AnEditThatWouldOrphanAKeyNeedsItsName) {
  json after = Pinned();
  after["spec"]["key"]["uri"] = "pkcs11:token=t;object=next";
  EXPECT_THAT(Refusal(Edit(Pinned(), after)), HasSubstr(std::string(kP256KeyID)));
  after["metadata"]["annotations"]["signet.dev/confirm-key-change"] = "something else";
  EXPECT_THAT(Refusal(Edit(Pinned(), after)), HasSubstr("confirm-key-change"));
  after["metadata"]["annotations"]["signet.dev/confirm-key-change"] = kP256KeyID;
  EXPECT_THAT(Warnings(Edit(Pinned(), after)), ElementsAre(HasSubstr("another key is used now")));
}

TEST_F(PolicyAdmissionTest, WithoutAPinnedKeyNothingIsOrphaned) {
  json after = Policy();
  after["spec"]["key"]["uri"] = "pkcs11:token=t;object=next";
  EXPECT_THAT(Warnings(Edit(Policy(), after)), SizeIs(1));
}

TEST_F(PolicyAdmissionTest, APolicyThatIsBrokenAlreadyMayBePutRight) {
  json before = Policy();
  before["spec"]["algorithms"] = {"Nonsense"};
  EXPECT_EQ(Edit(before, Policy())["allowed"], true);
}

TEST_F(PolicyAdmissionTest, EveryChangeIsRecordedBeforeItIsAllowed) {
  json after = Policy();
  after["spec"]["suspend"] = true;
  Create(Policy());
  Edit(Policy(), after);
  json gone = Review("DELETE", "SigningPolicy", "signingpolicies", nullptr, after);
  EXPECT_EQ(Validate(gone)["allowed"], true);
  const auto changes = Changes();
  ASSERT_THAT(changes, SizeIs(3));
  const auto fields = [](const json& change) {
    json out = change;
    for (const char* member : {"stream", "seq", "prev", "time", "type"}) out.erase(member);
    return out;
  };
  const std::string one = HashOf(Policy());
  const std::string two = HashOf(after);
  EXPECT_EQ(fields(changes[0]), json({{"policy", "release"},
                                      {"uid", "uid-p"},
                                      {"verb", "CREATE"},
                                      {"user", "alice"},
                                      {"newHash", one},
                                      {"state", "unconfirmed"}}));
  EXPECT_EQ(fields(changes[1]), json({{"policy", "release"},
                                      {"uid", "uid-p"},
                                      {"verb", "UPDATE"},
                                      {"user", "alice"},
                                      {"oldHash", one},
                                      {"newHash", two},
                                      {"state", "unconfirmed"}}));
  EXPECT_EQ(fields(changes[2]), json({{"policy", "release"},
                                      {"uid", "uid-p"},
                                      {"verb", "DELETE"},
                                      {"user", "alice"},
                                      {"oldHash", two},
                                      {"state", "unconfirmed"}}));
}

TEST_F(PolicyAdmissionTest, AChangeIsConfirmedWhenAWatchShowsIt) {
  const auto show = [this](const std::string& policy, const json* before, const json* now) {
    changes_->Observe(policy, before, now);
    reactor_.RunReady();
  };
  json after = Policy();
  after["spec"]["suspend"] = true;
  Create(Policy());
  show("another", nullptr, nullptr);
  EXPECT_THAT(LinesOf("policyChangeConfirmed"), IsEmpty());
  const json created = Policy();
  show("release", nullptr, &created);
  show("release", &created, &created);
  ASSERT_THAT(LinesOf("policyChangeConfirmed"), SizeIs(1)) << "once";
  EXPECT_EQ(LinesOf("policyChangeConfirmed")[0]["verb"], "CREATE");
  EXPECT_EQ(LinesOf("policyChangeConfirmed")[0]["user"], "alice");
  Edit(Policy(), after);
  show("release", &created, &created);
  EXPECT_THAT(LinesOf("policyChangeConfirmed"), SizeIs(1)) << "the watch has not shown this one";
  show("release", &created, &after);
  ASSERT_THAT(LinesOf("policyChangeConfirmed"), SizeIs(2));
  EXPECT_EQ(LinesOf("policyChangeConfirmed")[1]["newHash"], HashOf(after));
  Validate(Review("DELETE", "SigningPolicy", "signingpolicies", nullptr, after));
  show("release", &after, &after);
  EXPECT_THAT(LinesOf("policyChangeConfirmed"), SizeIs(2));
  show("release", &after, nullptr);
  EXPECT_THAT(LinesOf("policyChangeConfirmed"), SizeIs(3));
}

TEST_F(PolicyAdmissionTest, WhatWasOnlyClaimedToTheWebhookStaysUnconfirmed) {
  json forged = Policy();
  forged["spec"]["suspend"] = true;
  Edit(Policy(), forged);
  json same = Policy();
  same["metadata"]["annotations"]["a"] = "b";
  Edit(Policy(), same);
  const json live = Policy();
  changes_->Observe("release", nullptr, &live);
  json other_uid = forged;
  other_uid["metadata"]["uid"] = "another";
  changes_->Observe("release", &live, &other_uid);
  Edit(Policy(), forged);
  clock_.Advance(frontend::PolicyChanges::kPatience);
  changes_->Observe("release", &live, &forged);
  EXPECT_THAT(Changes(), SizeIs(3));
  EXPECT_THAT(LinesOf("policyChangeConfirmed"), IsEmpty());
}

TEST_F(PolicyAdmissionTest, AChangeIsConfirmedOnlyFromTheSpecThatItNames) {
  json tightened = Policy();
  tightened["spec"]["suspend"] = true;
  json other = Policy();
  other["spec"]["description"] = "other";
  // The live policy never was as the claim says.
  Edit(other, tightened);
  const json live = Policy();
  for (const json* before : {&live, static_cast<const json*>(nullptr)}) {
    changes_->Observe("release", before, &tightened);
    reactor_.RunReady();
    EXPECT_THAT(LinesOf("policyChangeConfirmed"), IsEmpty());
  }
  // The claim says that nothing changes, and something does.
  Edit(live, live);
  changes_->Observe("release", &live, &tightened);
  reactor_.RunReady();
  EXPECT_THAT(LinesOf("policyChangeConfirmed"), IsEmpty());
}

TEST_F(PolicyAdmissionTest, OfAChangeThatTwoUsersClaimNoneIsConfirmed) {
  const json live = Policy();
  json after = Policy();
  after["spec"]["suspend"] = true;
  const auto claim = [&](const json& before, const json& next, const char* user) {
    frontend::PolicyChange change{"release", "uid-p", "UPDATE", user, HashOf(before), HashOf(next)};
    changes_->Record(change, [](const base::Status&) {});
  };
  claim(live, after, "alice");
  claim(live, after, "mallory");
  changes_->Observe("release", &live, &after);
  reactor_.RunReady();
  EXPECT_THAT(LinesOf("policyChangeConfirmed"), IsEmpty());
  // They are over: a later change there and back is somebody else's.
  claim(after, live, "bob");
  claim(live, after, "bob");
  changes_->Observe("release", &after, &live);
  changes_->Observe("release", &live, &after);
  reactor_.RunReady();
  ASSERT_THAT(LinesOf("policyChangeConfirmed"), SizeIs(2));
  EXPECT_EQ(LinesOf("policyChangeConfirmed")[1]["user"], "bob");
}

TEST_F(PolicyAdmissionTest, ChangesThatAWatchShowsAsOneAreAllConfirmed) {
  const json live = Policy();
  json second = Policy();
  second["spec"]["description"] = "second";
  json third = second;
  third["spec"]["suspend"] = true;
  Edit(live, second);
  Edit(live, second);  // asked twice by the API server
  Edit(second, third);
  changes_->Observe("release", &live, &third);
  reactor_.RunReady();
  ASSERT_THAT(LinesOf("policyChangeConfirmed"), SizeIs(2));
  EXPECT_EQ(LinesOf("policyChangeConfirmed")[0]["newHash"], HashOf(second));
  EXPECT_EQ(LinesOf("policyChangeConfirmed")[1]["newHash"], HashOf(third));
}

TEST_F(PolicyAdmissionTest, ADryRunRecordsNothing) {
  json review = Review("CREATE", "SigningPolicy", "signingpolicies", Policy());
  review["request"]["dryRun"] = true;
  EXPECT_EQ(Validate(review)["allowed"], true);
  EXPECT_THAT(Changes(), IsEmpty());
}

TEST_F(PolicyAdmissionTest, WithoutARecordNoPolicyChanges) {
  files_.write_error = ENOSPC;
  const json response = Create(Policy());
  EXPECT_THAT(Refusal(response), HasSubstr("audit record"));
  EXPECT_EQ(response["status"]["code"], 503);
  files_.write_error = 0;
}

}  // namespace
}  // namespace signet::testing
