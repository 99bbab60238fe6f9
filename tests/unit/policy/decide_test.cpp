#include "policy/decide.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

#include "support/matchers.hpp"

namespace {
thread_local std::size_t allocations = 0;
}
// Counts this program's allocations, for the one test that promises none.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;  // NOLINT
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }               // NOLINT
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }  // NOLINT

namespace signet::policy {
namespace {

using api::SignatureAlgorithm;
using api::Subject;
using identity::Principal;
using ::testing::HasSubstr;
using testing::IsErr;
using testing::IsOk;
using Labels = std::map<std::string, std::string>;
using Op = api::LabelSelectorRequirement::Operator;

base::TimePoint Noon() { return *base::ParseTime("2026-11-23T12:00:00Z"); }  // a Monday

Subject Account(std::string ns, std::string name) {
  return {Subject::Kind::kServiceAccount, std::move(name), std::move(ns), std::nullopt};
}
Subject Selected(api::LabelSelector selector, std::string name) {
  return {Subject::Kind::kServiceAccount, std::move(name), "", std::move(selector)};
}
Subject User(std::string name) { return {Subject::Kind::kUser, std::move(name), "", std::nullopt}; }
Subject Group(std::string name) { return {Subject::Kind::kGroup, std::move(name), "", std::nullopt}; }

Principal Builder(std::string ns = "ci", std::string name = "builder") {
  Principal principal;
  principal.username = "system:serviceaccount:" + ns + ":" + name;
  principal.groups = {"system:serviceaccounts", "system:serviceaccounts:" + ns, "system:authenticated"};
  return principal;
}
Principal Human(std::string name, std::vector<std::string> groups = {}) {
  Principal principal;
  principal.username = std::move(name);
  principal.groups = std::move(groups);
  return principal;
}

api::SigningPolicy Policy(std::vector<Subject> subjects = {Account("ci", "builder")}) {
  api::SigningPolicy policy;
  policy.metadata.name = "release";
  policy.spec.algorithms = {SignatureAlgorithm::kEcdsaWithSha256, SignatureAlgorithm::kEcdsaWithSha384};
  policy.spec.subjects = std::move(subjects);
  return policy;
}

class DecideTest : public ::testing::Test {
 protected:
  Decision Decide(const api::SigningPolicy& policy) {
    auto compiled = CompiledPolicy::Compile(policy);
    EXPECT_THAT(compiled, IsOk());
    facts_.principal = &principal_;
    facts_.now = now_;
    if (cluster_) facts_.namespace_labels = &lookup_;
    return (*compiled)->Decide(facts_);
  }
  Reason Ask(const api::SigningPolicy& policy) { return Decide(policy).reason; }
  bool Serves(std::vector<Subject> subjects, Principal principal) {
    principal_ = std::move(principal);
    const auto reason = Ask(Policy(std::move(subjects)));
    EXPECT_TRUE(reason == Reason::kAllowed || reason == Reason::kNotAllowed);
    return reason == Reason::kAllowed;
  }

  Principal principal_ = Builder();
  base::TimePoint now_ = Noon();
  bool cluster_ = true;
  std::map<std::string, Labels, std::less<>> namespaces_ = {{"ci", {{"tier", "production"}, {"team", "payments"}}}};
  std::function<const Labels*(std::string_view)> lookup_ = [this](std::string_view ns) {
    const auto it = namespaces_.find(ns);
    return it == namespaces_.end() ? nullptr : &it->second;
  };
  Facts facts_;
};

// ---- subjects --------------------------------------------------------------------------

TEST_F(DecideTest, ServesNobodyWithoutSubjects) { EXPECT_FALSE(Serves({}, Builder())); }

TEST_F(DecideTest, MatchesServiceAccountsByNamespaceAndNameGlob) {
  EXPECT_TRUE(Serves({Account("ci", "builder")}, Builder()));
  EXPECT_TRUE(Serves({Account("ci", "build*")}, Builder()));
  EXPECT_TRUE(Serves({Account("other", "*"), Account("ci", "*")}, Builder()));
  EXPECT_FALSE(Serves({Account("ci", "build")}, Builder()));
  EXPECT_FALSE(Serves({Account("CI", "builder")}, Builder()));
  EXPECT_FALSE(Serves({Account("c", "*")}, Builder()));
  EXPECT_FALSE(Serves({Account("ci", "*")}, Builder("ci2")));
}

TEST_F(DecideTest, TakesOnlyWellFormedServiceAccountNames) {
  for (const char* name : {"system:serviceaccount:ci", "system:serviceaccount:ci:", "system:serviceaccount::builder",
                           "system:serviceaccount:ci:a:b", "serviceaccount:ci:builder", "ci:builder", "builder"}) {
    EXPECT_FALSE(Serves({Account("ci", "*")}, Human(name))) << name;
  }
}

TEST_F(DecideTest, MatchesUsersButNeverSystemNames) {
  EXPECT_TRUE(Serves({User("alice")}, Human("alice")));
  EXPECT_TRUE(Serves({User("*@example.com")}, Human("alice@example.com")));
  EXPECT_TRUE(Serves({User("https://issuer.example.com/**")}, Human("https://issuer.example.com/a/b")));
  EXPECT_FALSE(Serves({User("*@example.com")}, Human("alice@example.com.evil.net")));
  EXPECT_FALSE(Serves({User("alice")}, Human("Alice")));
  for (const char* glob :
       {"*", "**", "system:*", "s*", "?ystem:serviceaccount:ci:builder", "system:serviceaccount:ci:builder"}) {
    EXPECT_FALSE(Serves({User(glob)}, Builder())) << glob;
    EXPECT_FALSE(Serves({User(glob)}, Human("system:anonymous"))) << glob;
    EXPECT_FALSE(Serves({User(glob)}, Human("system:admin"))) << glob;
  }
  EXPECT_FALSE(Serves({User("*")}, Human(""))) << "nobody is no user";
}

TEST_F(DecideTest, MatchesGroups) {
  EXPECT_TRUE(Serves({Group("release-*")}, Human("alice", {"staff", "release-engineers"})));
  EXPECT_TRUE(Serves({Group("system:serviceaccounts:ci")}, Builder()));
  EXPECT_FALSE(Serves({Group("release-*")}, Human("alice", {"staff"})));
  EXPECT_FALSE(Serves({Group("release-*")}, Human("release-engineers")));
  EXPECT_FALSE(Serves({Group("")}, Human("alice")));
}

TEST_F(DecideTest, KeepsKindsApart) {
  EXPECT_FALSE(Serves({User("builder"), Group("builder")}, Builder()));
  EXPECT_FALSE(Serves({Account("ci", "alice")}, Human("alice")));
}

TEST_F(DecideTest, InDirectModeGroupsAndSelectorsNeverMatch) {
  cluster_ = false;
  facts_.match_groups = false;
  EXPECT_FALSE(Serves({Group("*")}, Human("alice", {"release-engineers"})));
  EXPECT_FALSE(Serves({Selected({{{"tier", "production"}}, {}}, "*")}, Builder()));
  EXPECT_TRUE(Serves({Account("ci", "builder")}, Builder()));
  EXPECT_TRUE(Serves({User("alice")}, Human("alice")));
}

struct SelectorCase {
  const char* what;
  api::LabelSelector selector;
  bool matches;
};
void PrintTo(const SelectorCase& c, std::ostream* out) { *out << c.what; }
class SelectorTest : public DecideTest, public ::testing::WithParamInterface<SelectorCase> {};

// The namespace is labelled tier=production, team=payments. Semantics: Kubernetes' labels and selectors.
TEST_P(SelectorTest, DecidesLikeKubernetes) {
  EXPECT_EQ(Serves({Selected(GetParam().selector, "builder")}, Builder()), GetParam().matches);
}
INSTANTIATE_TEST_SUITE_P(
    Table, SelectorTest,
    ::testing::Values(SelectorCase{"label", {{{"tier", "production"}}, {}}, true},
                      SelectorCase{"label differs", {{{"tier", "staging"}}, {}}, false},
                      SelectorCase{"label absent", {{{"zone", ""}}, {}}, false},
                      SelectorCase{"all labels", {{{"tier", "production"}, {"team", "payments"}}, {}}, true},
                      SelectorCase{"one label wrong", {{{"tier", "production"}, {"team", "x"}}, {}}, false},
                      SelectorCase{"In", {{}, {{"tier", Op::kIn, {"staging", "production"}}}}, true},
                      SelectorCase{"In without it", {{}, {{"tier", Op::kIn, {"staging"}}}}, false},
                      SelectorCase{"In, absent", {{}, {{"zone", Op::kIn, {"a"}}}}, false},
                      SelectorCase{"NotIn", {{}, {{"tier", Op::kNotIn, {"staging"}}}}, true},
                      SelectorCase{"NotIn with it", {{}, {{"tier", Op::kNotIn, {"production"}}}}, false},
                      SelectorCase{"NotIn, absent", {{}, {{"zone", Op::kNotIn, {"a"}}}}, true},
                      SelectorCase{"Exists", {{}, {{"tier", Op::kExists, {}}}}, true},
                      SelectorCase{"Exists, absent", {{}, {{"zone", Op::kExists, {}}}}, false},
                      SelectorCase{"DoesNotExist", {{}, {{"zone", Op::kDoesNotExist, {}}}}, true},
                      SelectorCase{"DoesNotExist, present", {{}, {{"tier", Op::kDoesNotExist, {}}}}, false},
                      SelectorCase{
                          "labels and expressions", {{{"tier", "production"}}, {{"zone", Op::kExists, {}}}}, false},
                      SelectorCase{"empty", {{}, {}}, false}));

TEST_F(DecideTest, UnknownNamespaceMatchesNoSelector) {
  EXPECT_FALSE(Serves({Selected({{}, {{"zone", Op::kDoesNotExist, {}}}}, "*")}, Builder("unknown")));
}

// ---- everything else ---------------------------------------------------------------------

TEST_F(DecideTest, TellsAStrangerNothing) {
  auto policy = Policy();
  policy.spec.suspend = true;
  policy.spec.artifacts = {{"a/**", {}}};
  principal_ = Builder("elsewhere");
  facts_.algorithm = SignatureAlgorithm::kSha256WithRsa;
  const auto decision = Decide(policy);
  EXPECT_EQ(decision.reason, Reason::kNotAllowed);
  EXPECT_EQ(decision.message, "this caller may not sign with this policy");
}

TEST_F(DecideTest, RefusesInTheOrderOfTheHeader) {
  auto policy = Policy();
  policy.spec.suspend = true;
  policy.spec.artifacts = {{"a/**", {}}};
  policy.spec.windows = {{{0}, {0}, {60}, ""}};
  policy.spec.approvals = api::Approvals{1, {User("alice")}, std::nullopt, false};
  facts_.algorithm = SignatureAlgorithm::kSha256WithRsa;
  EXPECT_EQ(Ask(policy), Reason::kSuspended);
  policy.spec.suspend = false;
  EXPECT_EQ(Ask(policy), Reason::kAlgorithmNotAllowed);
  facts_.algorithm = SignatureAlgorithm::kEcdsaWithSha384;
  EXPECT_EQ(Ask(policy), Reason::kArtifactNotAllowed);
  const api::Artifact artifact{"a/b", "", {}};
  facts_.artifact = &artifact;
  EXPECT_EQ(Ask(policy), Reason::kOutsideWindow);
  policy.spec.windows.clear();
  EXPECT_EQ(Ask(policy), Reason::kAwaitingApproval);
  policy.spec.approvals->required = 0;
  EXPECT_EQ(Ask(policy), Reason::kAllowed);
}

TEST_F(DecideTest, TakesTheFirstAlgorithmByDefault) {
  EXPECT_EQ(Decide(Policy()).algorithm, SignatureAlgorithm::kEcdsaWithSha256);
  facts_.algorithm = SignatureAlgorithm::kEcdsaWithSha384;
  EXPECT_EQ(Decide(Policy()).algorithm, SignatureAlgorithm::kEcdsaWithSha384);
}

TEST_F(DecideTest, NamesTheAlgorithmsThatAreAllowed) {
  facts_.algorithm = SignatureAlgorithm::kEcdsaWithSha512;
  EXPECT_THAT(Decide(Policy()).message, HasSubstr("ECDSAWithSHA256, ECDSAWithSHA384"));
}

TEST_F(DecideTest, AllowsNoAlgorithmWhereNoneIsListed) {
  auto policy = Policy();
  policy.spec.algorithms.clear();
  EXPECT_EQ(Ask(policy), Reason::kAlgorithmNotAllowed);
}

TEST_F(DecideTest, HoldsArtifactsToTheList) {
  auto policy = Policy();
  policy.spec.artifacts = {{"registry/payments/**", {"application/vnd.oci.*"}}, {"docs/*", {}}};
  const auto ask = [&](const char* name, const char* type) {
    const api::Artifact artifact{name, type, {}};
    facts_.artifact = &artifact;
    return Ask(policy);
  };
  EXPECT_EQ(ask("registry/payments/api:1", "application/vnd.oci.image.manifest.v1+json"), Reason::kAllowed);
  EXPECT_EQ(ask("registry/payments/api:1", "application/zip"), Reason::kArtifactNotAllowed);
  EXPECT_EQ(ask("registry/payments/api:1", ""), Reason::kArtifactNotAllowed) << "a media type is asked for";
  EXPECT_EQ(ask("registry/other/api:1", "application/vnd.oci.image.manifest.v1+json"), Reason::kArtifactNotAllowed);
  EXPECT_EQ(ask("docs/a", ""), Reason::kAllowed);
  EXPECT_EQ(ask("docs/a", "text/plain"), Reason::kAllowed);
  EXPECT_EQ(ask("docs/a/b", ""), Reason::kArtifactNotAllowed);
}

TEST_F(DecideTest, WantsAnArtifactWhereArtifactsAreListed) {
  auto policy = Policy();
  policy.spec.artifacts = {{"**", {}}};
  const auto decision = Decide(policy);
  EXPECT_EQ(decision.reason, Reason::kArtifactNotAllowed);
  EXPECT_THAT(decision.message, HasSubstr("say which artifact"));
}

TEST_F(DecideTest, SaysWhenTheNextWindowOpens) {
  auto policy = Policy();
  policy.spec.windows = {{{1, 2}, {9 * 60}, {11 * 60}, "Europe/Berlin"}};
  const auto decision = Decide(policy);  // Monday 13:00 in Berlin
  EXPECT_EQ(decision.reason, Reason::kOutsideWindow);
  EXPECT_EQ(decision.retry_at, *base::ParseTime("2026-11-24T08:00:00Z"));
  EXPECT_THAT(decision.message, HasSubstr("2026-11-24T08:00:00Z"));
}

TEST_F(DecideTest, TellsSubjectsFromStrangersWhateverElseHolds) {
  auto policy = Policy();
  policy.spec.suspend = true;
  const auto compiled = CompiledPolicy::Compile(policy);
  ASSERT_THAT(compiled, IsOk());
  facts_.principal = &principal_;
  EXPECT_TRUE((*compiled)->IsSubject(facts_));
  principal_ = Builder("elsewhere");
  EXPECT_FALSE((*compiled)->IsSubject(facts_));
  facts_.principal = nullptr;
  EXPECT_FALSE((*compiled)->IsSubject(facts_));
}

TEST_F(DecideTest, RefusesToCompileAnUnknownTimeZone) {
  auto policy = Policy();
  policy.spec.windows = {{{}, {0}, {60}, "Mars/Olympus"}};
  EXPECT_THAT(CompiledPolicy::Compile(policy), IsErr(base::Code::kInvalidArgument, "Invalid"));
}

TEST_F(DecideTest, AllocatesNothingWhenItAllows) {
  auto policy = Policy({User("someone-else"), Account("ci", "b*r")});
  policy.spec.artifacts = {{"other/**", {}}, {"registry.example.com/payments/**", {"application/*"}}};
  policy.spec.windows = {{{1, 2, 3, 4, 5}, {6 * 60}, {20 * 60}, "Europe/Berlin"}};
  const auto compiled = CompiledPolicy::Compile(policy);
  ASSERT_THAT(compiled, IsOk());
  const api::Artifact artifact{
      "registry.example.com/payments/api:1.42.0", "application/vnd.oci.image.manifest.v1+json", {}};
  facts_.principal = &principal_;
  facts_.artifact = &artifact;
  facts_.now = now_;
  ASSERT_TRUE((*compiled)->Decide(facts_).allowed());
  const auto before = allocations;
  const bool allowed = (*compiled)->Decide(facts_).allowed();
  EXPECT_EQ(allocations, before);
  EXPECT_TRUE(allowed);
}

TEST(ReasonTest, HasTheNamesOfTheConditions) {
  EXPECT_EQ(Name(Reason::kAllowed), "Allowed");
  EXPECT_EQ(Name(Reason::kNotAllowed), "NotAllowed");
  EXPECT_EQ(Name(Reason::kSuspended), "Suspended");
  EXPECT_EQ(Name(Reason::kAlgorithmNotAllowed), "AlgorithmNotAllowed");
  EXPECT_EQ(Name(Reason::kArtifactNotAllowed), "ArtifactNotAllowed");
  EXPECT_EQ(Name(Reason::kQuotaExceeded), "QuotaExceeded");
  EXPECT_EQ(Name(Reason::kImageNotAllowed), "ImageNotAllowed");
  EXPECT_EQ(Name(Reason::kPodPending), "PodPending");
  EXPECT_EQ(Name(Reason::kOutsideWindow), "OutsideWindow");
  EXPECT_EQ(Name(Reason::kAwaitingApproval), "AwaitingApproval");
  EXPECT_EQ(Name(Reason::kQuotaExceeded), "QuotaExceeded");
}

// ---- the calling pod's images ------------------------------------------------------------

class PodRuleTest : public DecideTest {
 protected:
  void SetUp() override {
    policy_.spec.pod = api::PodRule{{"sha256:builder", "sha256:sidecar"}};
    facts_.from_pod = true;
    facts_.images = &images_;
  }
  Reason Runs(std::vector<std::string> digests, bool complete = true) {
    images_ = {std::move(digests), complete};
    return Ask(policy_);
  }
  api::SigningPolicy policy_ = Policy();
  identity::PodImages images_;
};

TEST_F(PodRuleTest, WantsEveryContainerToRunAListedImage) {
  EXPECT_EQ(Runs({"sha256:builder", "sha256:sidecar"}), Reason::kAllowed);
  EXPECT_EQ(Runs({"sha256:sidecar"}), Reason::kAllowed);
  EXPECT_EQ(Runs({"sha256:builder", "sha256:other"}), Reason::kImageNotAllowed);
  EXPECT_EQ(Runs({"sha256:other", "sha256:builder"}), Reason::kImageNotAllowed);
  EXPECT_THAT(Decide(policy_).message, HasSubstr("sha256:other"));
}

TEST_F(PodRuleTest, RefusesImagesThatTheSpecNamesWithoutADigest) {
  EXPECT_EQ(Runs({"sha256:builder"}), Reason::kAllowed);
  images_.unpinned = {"main"};
  EXPECT_EQ(Ask(policy_), Reason::kImageNotAllowed);
  EXPECT_THAT(Decide(policy_).message, HasSubstr("image of main without a digest"));
}

TEST_F(PodRuleTest, WaitsUntilEveryImageIsKnown) {
  EXPECT_EQ(Runs({"sha256:builder"}, false), Reason::kPodPending);
  EXPECT_EQ(Runs({}, false), Reason::kPodPending);
  EXPECT_EQ(Runs({}, true), Reason::kPodPending) << "no container at all proves nothing";
  EXPECT_EQ(Runs({"sha256:other"}, false), Reason::kImageNotAllowed) << "one that is wrong stays wrong";
  facts_.images = nullptr;
  EXPECT_EQ(Ask(policy_), Reason::kPodPending);
}

TEST_F(PodRuleTest, RefusesCallersWithoutAPodThatCanBeChecked) {
  facts_.from_pod = false;  // whatever images somebody claims
  EXPECT_EQ(Runs({"sha256:builder"}), Reason::kImageNotAllowed);
  EXPECT_THAT(Decide(policy_).message, HasSubstr("only callers of the gateway"));
}

TEST_F(PodRuleTest, IsNobodysBusinessWhoIsNoSubject) {
  principal_ = Builder("ci", "stranger");
  EXPECT_EQ(Runs({"sha256:other"}), Reason::kNotAllowed);
}

}  // namespace
}  // namespace signet::policy
