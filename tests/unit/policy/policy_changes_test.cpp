#include "policy/policy_changes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "api/json.hpp"
#include "support/matchers.hpp"

namespace signet::testing {
namespace {

using nlohmann::json;
using ::testing::IsEmpty;
using ::testing::StartsWith;

/// A policy that uses every field.
json Full() {
  return json::parse(R"({
    "suspend": true, "allowDirect": false, "verifySignatures": true,
    "key": {"uri": "pkcs11:token=t;object=o", "generate": {"algorithm": "ECDSA", "size": 256}},
    "algorithms": ["ECDSAWithSHA256"],
    "subjects": [{"kind": "ServiceAccount", "namespace": "ci", "name": "builder"}, {"kind": "User", "name": "alice"}],
    "artifacts": [{"name": "app/*", "mediaTypes": ["a/b", "c/d"]}, {"name": "lib/*"}],
    "windows": [{"days": ["Mon", "Tue"], "from": "09:00", "to": "17:00", "timeZone": "UTC"}],
    "quota": {"perSecond": 5, "perDay": 100, "scope": "Policy"},
    "approvals": {"required": 2, "approvers": [{"kind": "Group", "name": "release"}], "validFor": "1h", "requireSigned": true}
  })");
}

api::SigningPolicySpec Parse(const json& spec) {
  auto policy = api::PolicyFromJson({{"apiVersion", "signet.dev/v1alpha1"},
                                     {"kind", "SigningPolicy"},
                                     {"metadata", {{"name", "p"}}},
                                     {"spec", spec}});
  EXPECT_THAT(policy, IsOk());
  return policy ? policy->spec : api::SigningPolicySpec{};
}

struct Edit {
  const char* name;
  const char* merge;    ///< RFC 7396 on Full()
  const char* warning;  ///< beginning of the one line; nullptr: nothing new is permitted
};

void PrintTo(const Edit& edit, std::ostream* out) { *out << edit.name; }

class PolicyChangesTest : public ::testing::TestWithParam<Edit> {};

TEST_P(PolicyChangesTest, TellsWhatIsNewlyPermitted) {
  json after = Full();
  after.merge_patch(json::parse(GetParam().merge));
  const auto lines = policy::Widenings(Parse(Full()), Parse(after));
  if (GetParam().warning == nullptr) {
    EXPECT_THAT(lines, IsEmpty());
  } else {
    EXPECT_THAT(lines, ::testing::ElementsAre(StartsWith(GetParam().warning)));
  }
}

const std::vector<Edit> kEdits = {
    {"Nothing", "{}", nullptr},
    {"Description", R"({"description": "x"})", nullptr},
    {"KeyUri", R"({"key": {"uri": "pkcs11:token=t;object=other"}})", "spec.key.uri: another key"},
    {"KeyUriSpelledOtherwise", R"({"key": {"uri": "pkcs11:object=o;token=t"}})", nullptr},
    {"Subject", R"({"subjects": [{"kind": "ServiceAccount", "namespace": "ci", "name": "builder"},
                    {"kind": "User", "name": "alice"}, {"kind": "User", "name": "bob"}]})",
     "spec.subjects: User bob may ask"},
    {"SubjectOfAnotherNamespace", R"({"subjects": [{"kind": "ServiceAccount", "namespace": "cd", "name": "builder"}]})",
     "spec.subjects: ServiceAccount cd/builder"},
    {"SubjectBySelector",
     R"({"subjects": [{"kind": "ServiceAccount", "namespaceSelector": {"matchLabels": {"a": "b"}}, "name": "builder"}]})",
     "spec.subjects: ServiceAccount builder of the namespaces"},
    {"SubjectKind", R"({"subjects": [{"kind": "Group", "name": "alice"}]})", "spec.subjects: Group alice"},
    {"SubjectRemoved", R"({"subjects": [{"kind": "User", "name": "alice"}]})", nullptr},
    {"Algorithm", R"({"algorithms": ["ECDSAWithSHA256", "ECDSAWithSHA384"]})", "spec.algorithms: ECDSAWithSHA384"},
    {"AlgorithmExchanged", R"({"algorithms": ["ECDSAWithSHA384"]})", "spec.algorithms: ECDSAWithSHA384"},
    {"ArtifactsRemoved", R"({"artifacts": null})", "spec.artifacts: removed"},
    {"ArtifactRule", R"({"artifacts": [{"name": "app/**", "mediaTypes": ["a/b"]}]})", "spec.artifacts: app/**"},
    {"ArtifactMediaType", R"({"artifacts": [{"name": "app/*", "mediaTypes": ["a/b", "e/f"]}]})",
     "spec.artifacts: app/*"},
    {"ArtifactAnyMediaType", R"({"artifacts": [{"name": "app/*"}]})", "spec.artifacts: app/*"},
    {"ArtifactFewerMediaTypes", R"({"artifacts": [{"name": "app/*", "mediaTypes": ["c/d"]}]})", nullptr},
    {"ArtifactNarrowedAnyMediaType", R"({"artifacts": [{"name": "lib/*", "mediaTypes": ["a/b"]}]})", nullptr},
    {"WindowsRemoved", R"({"windows": null})", "spec.windows: removed"},
    {"WindowLonger", R"({"windows": [{"days": ["Mon"], "from": "09:00", "to": "18:00", "timeZone": "UTC"}]})",
     "spec.windows: 09:00 to 18:00 UTC"},
    {"WindowMoreDays", R"({"windows": [{"days": ["Mon", "Wed"], "from": "09:00", "to": "17:00"}]})",
     "spec.windows: 09:00 to 17:00"},
    {"WindowEveryDay", R"({"windows": [{"from": "09:00", "to": "17:00"}]})", "spec.windows: 09:00 to 17:00"},
    {"WindowZone", R"({"windows": [{"days": ["Mon"], "from": "09:00", "to": "17:00", "timeZone": "Europe/Berlin"}]})",
     "spec.windows: 09:00 to 17:00 Europe/Berlin"},
    {"WindowFewerDays", R"({"windows": [{"days": ["Tue"], "from": "09:00", "to": "17:00"}]})", nullptr},
    {"QuotaRaised", R"({"quota": {"perDay": 101}})", "spec.quota.perDay: raised from 100 to 101"},
    {"QuotaRateRaised", R"({"quota": {"perSecond": 6}})", "spec.quota.perSecond: raised"},
    {"QuotaLimitRemoved", R"({"quota": {"perDay": null}})", "spec.quota.perDay: removed"},
    {"QuotaLowered", R"({"quota": {"perDay": 99, "perSecond": 4}})", nullptr},
    {"QuotaPerSubject", R"({"quota": {"scope": "Subject"}})", "spec.quota.scope"},
    {"ApprovalsRemoved", R"({"approvals": null})", "spec.approvals: removed"},
    {"FewerApprovals", R"({"approvals": {"required": 1}})", "spec.approvals.required: lowered from 2 to 1"},
    {"MoreApprovals", R"({"approvals": {"required": 3}})", nullptr},
    {"Approver",
     R"({"approvals": {"approvers": [{"kind": "Group", "name": "release"}, {"kind": "User", "name": "eve"}]}})",
     "spec.approvals.approvers: User eve"},
    {"ApproverExchanged", R"({"approvals": {"approvers": [{"kind": "User", "name": "eve"}]}})",
     "spec.approvals.approvers"},
    {"UnsignedApprovals", R"({"approvals": {"requireSigned": false}})", "spec.approvals.requireSigned"},
    {"ApprovalsValidLonger", R"({"approvals": {"validFor": "2h"}})", "spec.approvals.validFor: lengthened"},
    {"ApprovalsValidForEver", R"({"approvals": {"validFor": null}})", "spec.approvals.validFor: removed"},
    {"ApprovalsValidShorter", R"({"approvals": {"validFor": "30m"}})", nullptr},
    {"Resumed", R"({"suspend": false})", "spec.suspend: switched off"},
    {"Direct", R"({"allowDirect": true})", "spec.allowDirect: switched on"},
    {"Unverified", R"({"verifySignatures": false})", "spec.verifySignatures: switched off"},
};
INSTANTIATE_TEST_SUITE_P(Edits, PolicyChangesTest, ::testing::ValuesIn(kEdits),
                         [](const auto& param) { return std::string(param.param.name); });

TEST(PolicyChangesDirectionTest, AddingALimitPermitsNothing) {
  json open = Full();
  for (const char* member : {"artifacts", "windows", "quota", "approvals"}) open.erase(member);
  open["suspend"] = false;
  open["allowDirect"] = true;
  open["verifySignatures"] = false;
  EXPECT_THAT(policy::Widenings(Parse(open), Parse(Full())), IsEmpty());
}

TEST(PolicyChangesDirectionTest, EachWideningHasALineOfItsOwn) {
  json open = Full();
  for (const char* member : {"artifacts", "windows", "quota", "approvals"}) open.erase(member);
  EXPECT_EQ(policy::Widenings(Parse(Full()), Parse(open)).size(), 5U) << "perSecond and perDay are two";
}

TEST(PolicyChangesDirectionTest, MoreImagesOrNoRuleAboutThemPermitMore) {
  const auto spec = [](const std::vector<std::string>& images) {
    json out = Full();
    out.erase("approvals");
    if (!images.empty()) out["pod"] = {{"imageDigests", images}};
    return Parse(out);
  };
  const std::string one = "sha256:" + std::string(64, '1');
  const std::string two = "sha256:" + std::string(64, '2');
  EXPECT_THAT(policy::Widenings(spec({one}), spec({two, one})),
              ::testing::ElementsAre("spec.pod.imageDigests: containers may run " + two + " now"));
  EXPECT_THAT(policy::Widenings(spec({one}), spec({})), ::testing::ElementsAre(StartsWith("spec.pod: removed")));
  EXPECT_THAT(policy::Widenings(spec({one, two}), spec({two})), IsEmpty());
  EXPECT_THAT(policy::Widenings(spec({}), spec({one})), IsEmpty());
}

TEST(PolicyKeyChangeTest, IsAboutTheKeyThatAnswers) {
  struct Case {
    const char* merge;
    bool changes;
  };
  for (const auto& [merge, changes] : std::vector<Case>{
           {"{}", false},
           {R"({"key": {"uri": "pkcs11:object=o;token=t"}})", false},
           {R"({"key": {"uri": "pkcs11:token=t;object=p"}})", true},
           {R"({"key": {"uri": "pkcs11:token=t;object=o;id=%01", "generate": null}})", true},
           {R"({"key": {"generate": {"size": 384}}})", true},
           {R"({"key": {"generate": {"algorithm": "RSA", "size": 3072}}, "algorithms": ["SHA256WithRSA"]})", true},
           {R"({"key": {"generate": null}})", false},
           {R"({"suspend": false})", false},
       }) {
    json after = Full();
    after.merge_patch(json::parse(merge));
    EXPECT_EQ(policy::ChangesKey(Parse(Full()), Parse(after)), changes) << merge;
  }
}

}  // namespace
}  // namespace signet::testing
