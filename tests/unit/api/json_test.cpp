#include "api/json.hpp"

#include <nlohmann/json.hpp>

#include "support/matchers.hpp"

namespace signet::api {
namespace {

using base::Code;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::IsErr;
using testing::IsOk;
using namespace std::chrono_literals;

constexpr const char* kPolicy = R"({
  "apiVersion": "signet.dev/v1alpha1", "kind": "SigningPolicy",
  "metadata": {"name": "release", "uid": "1c2d", "resourceVersion": "77", "generation": 3,
               "creationTimestamp": "2026-11-23T09:00:00Z", "labels": {"a": "b"}, "managedFields": []},
  "spec": {
    "description": "Production releases.", "suspend": true, "allowDirect": true,
    "key": {"uri": "pkcs11:token=prod;object=release-2026", "generate": {"algorithm": "ECDSA", "size": 384}},
    "algorithms": ["ECDSAWithSHA384", "ECDSAWithSHA256"],
    "subjects": [
      {"kind": "ServiceAccount", "namespace": "payments-ci", "name": "ci-*"},
      {"kind": "ServiceAccount", "name": "release-bot", "namespaceSelector":
        {"matchLabels": {"signet.dev/tier": "production"},
         "matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["x", "y"]}]}},
      {"kind": "Group", "name": "release-engineers"}],
    "artifacts": [{"name": "registry.example.com/payments/**", "mediaTypes": ["application/*"]}],
    "windows": [{"days": ["Mon", "Sun"], "from": "09:00", "to": "24:00", "timeZone": "Europe/Berlin"}],
    "quota": {"perSecond": 50, "perDay": 20000, "scope": "Subject"},
    "approvals": {"required": 2, "approvers": [{"kind": "User", "name": "alice"}], "validFor": "24h"},
    "verifySignatures": false}
})";

TEST(PolicyFromJsonTest, ReadsEveryField) {
  const auto policy = PolicyFromJson(json::parse(kPolicy));
  ASSERT_THAT(policy, IsOk());
  EXPECT_EQ(policy->metadata.name, "release");
  EXPECT_EQ(policy->metadata.uid, "1c2d");
  EXPECT_EQ(policy->metadata.resource_version, "77");
  EXPECT_EQ(policy->metadata.generation, 3);
  EXPECT_EQ(policy->metadata.creation_time, *base::ParseTime("2026-11-23T09:00:00Z"));
  EXPECT_FALSE(policy->metadata.deleting);
  const auto& spec = policy->spec;
  EXPECT_EQ(spec.description, "Production releases.");
  EXPECT_TRUE(spec.suspend);
  EXPECT_TRUE(spec.allow_direct);
  EXPECT_FALSE(spec.verify_signatures);
  EXPECT_EQ(spec.key.uri.object, "release-2026");
  ASSERT_TRUE(spec.key.generate);
  EXPECT_EQ(spec.key.generate->size, 384);
  EXPECT_THAT(spec.algorithms, ElementsAre(SignatureAlgorithm::kEcdsaWithSha384, SignatureAlgorithm::kEcdsaWithSha256));
  ASSERT_EQ(spec.subjects.size(), 3U);
  EXPECT_EQ(spec.subjects[0].ns, "payments-ci");
  EXPECT_EQ(spec.subjects[0].name, "ci-*");
  ASSERT_TRUE(spec.subjects[1].namespace_selector);
  EXPECT_EQ(spec.subjects[1].namespace_selector->match_labels.at("signet.dev/tier"), "production");
  EXPECT_EQ(spec.subjects[1].namespace_selector->match_expressions[0].op, LabelSelectorRequirement::Operator::kNotIn);
  EXPECT_THAT(spec.subjects[1].namespace_selector->match_expressions[0].values, ElementsAre("x", "y"));
  EXPECT_EQ(spec.subjects[2].kind, Subject::Kind::kGroup);
  EXPECT_THAT(spec.artifacts[0].media_types, ElementsAre("application/*"));
  EXPECT_THAT(spec.windows[0].days, ElementsAre(1, 0));
  EXPECT_EQ(spec.windows[0].from.minutes, 9 * 60);
  EXPECT_EQ(spec.windows[0].to.minutes, 24 * 60);
  EXPECT_EQ(spec.windows[0].time_zone, "Europe/Berlin");
  EXPECT_EQ(spec.quota->per_second, 50);
  EXPECT_EQ(spec.quota->per_day, 20000);
  EXPECT_EQ(spec.quota->scope, Quota::Scope::kSubject);
  EXPECT_EQ(spec.approvals->required, 2);
  EXPECT_EQ(spec.approvals->approvers[0].name, "alice");
  EXPECT_EQ(spec.approvals->valid_for, 24h);
}

TEST(PolicyFromJsonTest, FillsInTheDefaultsOfTheSchema) {
  const auto policy = PolicyFromJson(json::parse(
      R"({"metadata": {"name": "a"}, "spec": {"key": {"uri": "pkcs11:object=a"}, "algorithms": ["PureEd25519"],
                      "quota": {"perDay": 1}, "windows": [{"from": "01:00", "to": "02:00"}], "approvals": {}}})"));
  ASSERT_THAT(policy, IsOk());
  EXPECT_FALSE(policy->spec.suspend);
  EXPECT_FALSE(policy->spec.allow_direct);
  EXPECT_TRUE(policy->spec.verify_signatures);
  EXPECT_FALSE(policy->spec.key.generate);
  EXPECT_TRUE(policy->spec.subjects.empty());
  EXPECT_EQ(policy->spec.quota->scope, Quota::Scope::kPolicy);
  EXPECT_EQ(policy->spec.windows[0].time_zone, "");
  EXPECT_EQ(policy->spec.approvals->required, 0);
}

TEST(RequestFromJsonTest, ReadsEveryField) {
  const auto request = RequestFromJson(json::parse(R"({
    "apiVersion": "signet.dev/v1alpha1", "kind": "SigningRequest",
    "metadata": {"name": "api-1.42.0", "namespace": "payments-ci", "deletionTimestamp": "2026-11-23T09:00:00Z"},
    "spec": {"policyRef": {"name": "release"}, "message": "aGVsbG8=", "algorithm": "PureEd25519",
      "artifact": {"name": "a/b:1", "mediaType": "text/plain", "annotations": {"k": "v"}},
      "expiresAfter": "1h30m", "ttlSecondsAfterFinished": 60,
      "requester": {"username": "alice", "uid": "7", "groups": ["g", "g"], "extra": {"k": ["v", "w"]}}}})"));
  ASSERT_THAT(request, IsOk());
  EXPECT_EQ(request->metadata.ns, "payments-ci");
  EXPECT_TRUE(request->metadata.deleting);
  const auto& spec = request->spec;
  EXPECT_EQ(spec.policy_name, "release");
  EXPECT_FALSE(spec.digest);
  EXPECT_EQ(base::AsText(*spec.message), "hello");
  EXPECT_EQ(spec.algorithm, SignatureAlgorithm::kPureEd25519);
  EXPECT_EQ(spec.artifact->name, "a/b:1");
  EXPECT_EQ(spec.artifact->media_type, "text/plain");
  EXPECT_EQ(spec.artifact->annotations.at("k"), "v");
  EXPECT_EQ(spec.expires_after, 90min);
  EXPECT_EQ(spec.ttl_seconds_after_finished, 60);
  EXPECT_EQ(spec.requester->username, "alice");
  EXPECT_THAT(spec.requester->groups, ElementsAre("g", "g"));
  EXPECT_THAT(spec.requester->extra.at("k"), ElementsAre("v", "w"));
}

TEST(RequestFromJsonTest, ExpiresAfterADayByDefault) {
  const auto request = RequestFromJson(
      json::parse(R"({"metadata": {"name": "a"}, "spec": {"policyRef": {"name": "release"}, "message": ""}})"));
  ASSERT_THAT(request, IsOk());
  EXPECT_EQ(request->spec.expires_after, 24h);
  EXPECT_FALSE(request->spec.ttl_seconds_after_finished) << "there is no default";
  EXPECT_TRUE(request->spec.message->empty());
}

TEST(ObjectFromJsonTest, RefusesWhatIsNoObject) {
  for (const char* text : {"null", "[]", "1", "\"x\"", "{}", R"({"metadata":[]})", R"({"metadata":{"name":1}})"}) {
    EXPECT_THAT(PolicyFromJson(json::parse(text)), IsErr(Code::kInvalidArgument, "Invalid")) << text;
    EXPECT_THAT(RequestFromJson(json::parse(text)), IsErr(Code::kInvalidArgument, "Invalid")) << text;
    EXPECT_THAT(MetadataFromJson(json::parse(text)), IsErr(Code::kInvalidArgument, "Invalid")) << text;
  }
}

TEST(ObjectFromJsonTest, KeepsForeignTextOutOfItsMessages) {
  auto object = json::parse(kPolicy);
  object["spec"][std::string(500, 'x') + "\n\x1b[2J"] = 1;
  const auto policy = PolicyFromJson(object);
  ASSERT_THAT(policy, IsErr(Code::kInvalidArgument));
  EXPECT_LT(policy.error().message.size(), 400U);
  EXPECT_EQ(policy.error().message.find_first_of("\n\x1b"), std::string::npos);
}

TEST(MetadataFromJsonTest, IsLenientWhereKubernetesAddsFields) {
  const auto meta = MetadataFromJson(json::parse(
      R"({"metadata": {"name": "a", "generation": "x", "creationTimestamp": null, "uid": 5, "deletionTimestamp": null}})"));
  ASSERT_THAT(meta, IsOk());
  EXPECT_EQ(meta->generation, 0);
  EXPECT_EQ(meta->uid, "");
  EXPECT_FALSE(meta->deleting);
}

TEST(ArtifactFromJsonTest, NamesThePathOfItsCaller) {
  const auto artifact = ArtifactFromJson(json::parse(R"({"name": "a//b"})"), "artifact");
  ASSERT_THAT(artifact, IsErr(Code::kInvalidArgument, "Invalid"));
  EXPECT_THAT(artifact.error().message, ::testing::StartsWith("artifact.name: "));
  EXPECT_THAT(ArtifactFromJson(json::parse("\"a\""), "artifact"), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(ArtifactFromJson(json::parse(R"({"name": "a"})"), "artifact"), IsOk());
}

// ---- status ----------------------------------------------------------------------------

SigningPolicyStatus PolicyStatus() {
  SigningPolicyStatus status;
  status.observed_generation = 3;
  status.conditions = {{"Ready", true, "KeyAvailable", "ECDSA P-256 key", 3, *base::ParseTime("2026-11-23T09:00:00Z")}};
  KeyStatus key;
  key.key_id = std::string(64, 'a');
  key.algorithm = KeyAlgorithm::kRsa;
  key.size = 3072;
  key.public_key = "-----BEGIN PUBLIC KEY-----\n";
  key.sensitive = true;
  key.never_extractable = true;
  status.key = key;
  return status;
}

TEST(StatusToJsonTest, WritesAPolicysStatus) {
  EXPECT_EQ(StatusToJson(PolicyStatus()), json::parse(R"({
    "observedGeneration": 3,
    "conditions": [{"type": "Ready", "status": "True", "reason": "KeyAvailable", "message": "ECDSA P-256 key",
                    "observedGeneration": 3, "lastTransitionTime": "2026-11-23T09:00:00Z"}],
    "key": {"keyID": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "algorithm": "RSA",
            "size": 3072, "publicKey": "-----BEGIN PUBLIC KEY-----\n", "sensitive": true, "extractable": false,
            "neverExtractable": true, "local": false}})"));
}

TEST(StatusToJsonTest, IsReadBackWithTheObject) {
  auto object = json::parse(kPolicy);
  object["status"] = StatusToJson(PolicyStatus());
  const auto policy = PolicyFromJson(object);
  ASSERT_THAT(policy, IsOk());
  EXPECT_EQ(StatusToJson(policy->status), object["status"]);
}

TEST(StatusToJsonTest, LeavesOutWhatIsEmpty) {
  EXPECT_EQ(StatusToJson(SigningPolicyStatus{}), json::object());
  EXPECT_EQ(StatusToJson(SigningRequestStatus{}), json::object());
}

TEST(StatusToJsonTest, WritesARequestsStatus) {
  const auto status = json::parse(R"({
    "observedGeneration": 1, "conditions": [{"type": "Ready", "status": "False", "reason": "Denied", "message": "",
      "observedGeneration": 1, "lastTransitionTime": "2026-11-23T09:00:00Z"}],
    "signature": "MEUC", "algorithm": "ECDSAWithSHA256", "keyID": "5f0c", "publicKey": "PEM",
    "policy": {"name": "release", "uid": "1c2d", "generation": 3}, "signedAt": "2026-11-23T09:00:01Z",
    "finishedAt": "2026-11-23T09:00:02Z", "record": "01J"})");
  const auto request = RequestFromJson({{"metadata", {{"name", "a"}}},
                                        {"spec", {{"policyRef", {{"name", "release"}}}, {"message", ""}}},
                                        {"status", status}});
  ASSERT_THAT(request, IsOk());
  EXPECT_EQ(StatusToJson(request->status), status);
}

TEST(StatusFromJsonTest, ReadsWhateverAStatusHolds) {
  for (const char* status :
       {"null", "[]", "7", R"({"conditions": 1})", R"({"conditions": [1, {}, {"type": 5}], "key": [], "policy": 3})",
        R"({"key": {"keyID": 5}, "signature": {}, "observedGeneration": "x"})"}) {
    auto object = json::parse(kPolicy);
    object["status"] = json::parse(status);
    const auto policy = PolicyFromJson(object);
    ASSERT_THAT(policy, IsOk()) << status;
    EXPECT_TRUE(policy->status.conditions.empty());
    EXPECT_FALSE(policy->status.key);
  }
}

TEST(FindConditionTest, FindsByType) {
  const auto status = PolicyStatus();
  EXPECT_EQ(FindCondition(status.conditions, "Ready"), &status.conditions[0]);
  EXPECT_EQ(FindCondition(status.conditions, "ready"), nullptr);
}

// ---- small languages -------------------------------------------------------------------

TEST(ParseDigestTest, ReadsAndWritesOciDigests) {
  for (const auto& [name, size] :
       std::vector<std::pair<std::string, std::size_t>>{{"sha256", 32}, {"sha384", 48}, {"sha512", 64}}) {
    const std::string text = name + ":" + std::string(2 * size, 'e');
    const auto digest = ParseDigest(text);
    ASSERT_THAT(digest, IsOk()) << text;
    EXPECT_EQ(digest->value, base::Bytes(size, 0xEE));
    EXPECT_EQ(FormatDigest(*digest), text);
  }
  for (const std::string& text :
       {std::string(), std::string("sha256"), std::string("sha256:"), "sha256:" + std::string(63, 'a'),
        "sha256:" + std::string(65, 'a'), "sha256:" + std::string(63, 'a') + "g", "SHA256:" + std::string(64, 'a'),
        "sha256:" + std::string(64, 'A'), "sha1:" + std::string(40, 'a'), " sha256:" + std::string(64, 'a'),
        "sha256:" + std::string(64, 'a') + "\n", "sha256::" + std::string(64, 'a')}) {
    EXPECT_THAT(ParseDigest(text), IsErr(Code::kInvalidArgument)) << text;
  }
}

TEST(ParseDurationTest, ReadsWhatGoWrites) {
  const std::vector<std::pair<const char*, std::chrono::seconds>> good = {
      {"1s", 1s},       {"90s", 90s},   {"1m30s", 90s},   {"24h", 24h},      {"24h0m0s", 24h},
      {"1h30m", 90min}, {"0h0m1s", 1s}, {"8760h", 8760h}, {"00000001h", 1h}, {"31536000s", 8760h}};
  for (const auto& [text, seconds] : good) {
    ASSERT_THAT(ParseDuration(text), IsOk()) << text;
    EXPECT_EQ(*ParseDuration(text), seconds) << text;
  }
  for (const char* text :
       {"",    "0s",  "0h0m0s", "h",    "1",   "1d",      "1.5h",      "-1h",        "+1h",
        "1h ", " 1h", "1m1h",   "1h1h", "1ms", "8760h1s", "99999999h", "100000000h", "999999999999999999999h",
        "1H",  "1h30"}) {
    EXPECT_THAT(ParseDuration(text), IsErr(Code::kInvalidArgument)) << text;
  }
}

TEST(ValidateArtifactNameTest, KeepsNamesPlain) {
  for (const std::string& name : {std::string("a"), std::string("registry.example.com:5000/x/y@sha256:0"),
                                  std::string("..."), std::string(".a/b."), std::string(1024, 'a')}) {
    EXPECT_THAT(ValidateArtifactName(name), IsOk()) << name;
  }
  for (const std::string& name :
       {std::string(), std::string("/a"), std::string("a/"), std::string("a//b"), std::string("."), std::string(".."),
        std::string("a/.."), std::string("./a"), std::string("a%2fb"), std::string("a\\b"), std::string("a\0b", 3),
        std::string("a\x7f"), std::string("\xC3\xA4"), std::string(1025, 'a')}) {
    EXPECT_THAT(ValidateArtifactName(name), IsErr(Code::kInvalidArgument)) << name;
  }
}

TEST(CanonicalSpecTest, DependsOnMeaningAlone) {
  const auto one = json::parse(R"({"metadata": {"name": "a"}, "spec": {"b": 1, "a": {"d": [2, 1], "c": null}}})");
  const auto two = json::parse(R"({"spec": {"a": {"c": null, "d": [2, 1]}, "b": 1}, "status": {}})");
  EXPECT_EQ(CanonicalSpec(one), R"({"a":{"c":null,"d":[2,1]},"b":1})");
  EXPECT_EQ(CanonicalSpec(one), CanonicalSpec(two));
  EXPECT_EQ(CanonicalSpec(json::parse("{}")), "null");
  EXPECT_EQ(CanonicalSpec(json::parse("[]")), "null");
}

}  // namespace
}  // namespace signet::api
