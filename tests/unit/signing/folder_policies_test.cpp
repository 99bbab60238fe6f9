#include "signing/folder_policies.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>

#include "fakes/fake_clock.hpp"
#include "fakes/manual_reactor.hpp"
#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::signing {
namespace {

using base::Code;
using ::signet::testing::FakeClock;
using ::signet::testing::IsErr;
using ::signet::testing::IsOk;
using ::signet::testing::ManualReactor;
using ::signet::testing::TempFolder;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

// Made by the openssl command line.
constexpr std::string_view kPemA =
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEtsc5+z2v0B/z44jeGj5T6ffG8zJ6\n"
    "3j6M24NckbfnHF4kLXgX+zxzrrcPvKcoytOXWrdE01XwB+xH4FVMZodWGA==\n"
    "-----END PUBLIC KEY-----\n";
constexpr std::string_view kPemB =
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8ioN4AWLbYmWpJuP6FOXan7geU/5\n"
    "aa6dNfZ8AWCvBcqZasV1GLIJCVVzCmvSSo6xEbrtjvwDY8BObZJrO7HcKA==\n"
    "-----END PUBLIC KEY-----\n";

/// Keys by the URI's object; answers on the loop, later.
class KeyRing final : public token::Hsm {
 public:
  explicit KeyRing(base::Reactor& reactor) : reactor_(reactor) {}
  std::map<std::string, token::KeyInfo> keys;
  base::Status reachable;
  int finds = 0;

  void Put(const std::string& object, std::string_view pem) {
    token::KeyInfo key;
    key.ref = ++last_ref_;
    key.public_key = crypto::PublicKey::FromPem(pem).value();
    key.sensitive = true;
    key.extractable = false;
    key.can_sign = true;
    keys[object] = key;
  }
  void Find(const encoding::Pkcs11Uri& uri, Callback<token::KeyInfo> done) override {
    ++finds;
    reactor_.Post([this, object = uri.object.value_or(""), done = std::move(done)] {
      if (!reachable) return done(base::Error(reachable.error()));
      const auto found = keys.find(object);
      if (found == keys.end()) return done(base::MakeError(Code::kNotFound, "KeyNotFound", "no private key fits"));
      done(found->second);
    });
  }
  void Generate(const encoding::Pkcs11Uri&, const token::GenerateSpec&, Callback<token::KeyInfo>) override {
    ADD_FAILURE() << "a sidecar generates no keys";
  }
  void Sign(token::KeyRef, encoding::SignatureAlgorithm, base::ByteView, Callback<base::Bytes>) override {
    ADD_FAILURE() << "policies sign nothing";
  }
  [[nodiscard]] token::HsmState State() const override { return {}; }
  [[nodiscard]] token::HsmState StateOf(token::KeyRef) const override { return State(); }
  void OnStateChange(std::function<void()>) override {}

 private:
  base::Reactor& reactor_;
  token::KeyRef last_ref_ = 0;
};

class FolderPoliciesTest : public ::testing::Test {
 protected:
  void SetUp() override { hsm_.Put("release", kPemA); }

  static std::string Policy(std::string_view name, std::string_view spec = "", std::string_view metadata = "") {
    return fmt::format(
        "apiVersion: signet.dev/v1alpha1\nkind: SigningPolicy\nmetadata: {{name: {}{}}}\n"
        "spec:\n  allowDirect: true\n  key: {{uri: 'pkcs11:object={}'}}\n  algorithms: [ECDSAWithSHA256]\n"
        "  subjects: [{{kind: ServiceAccount, namespace: ci, name: builder}}]\n{}",
        name, metadata, name, spec);
  }
  base::Result<std::unique_ptr<FolderPolicies>> TryOpen() {
    return FolderPolicies::Open({.folder = folder_.path(), .state_dir = state_}, reactor_, clock_, hsm_);
  }
  std::unique_ptr<FolderPolicies> Open() {
    auto opened = TryOpen();
    EXPECT_THAT(opened, IsOk());
    reactor_.RunReady();
    return opened ? std::move(*opened) : nullptr;
  }
  void Look() { reactor_.Advance(milliseconds(1'200)); }  // one look, and one more while files settle

  TempFolder folder_;
  std::filesystem::path state_;
  FakeClock clock_;
  ManualReactor reactor_{clock_};
  KeyRing hsm_{reactor_};
};

TEST_F(FolderPoliciesTest, BindsEachPolicyToItsKey) {
  folder_.Put("a.yaml", Policy("release") + "---\n" + Policy("nightly"));
  hsm_.Put("nightly", kPemB);
  const auto policies = Open();
  const auto release = policies->Find("release");
  ASSERT_NE(release, nullptr);
  ASSERT_TRUE(release->key.has_value());
  EXPECT_EQ(release->key->public_key.keyID(), crypto::PublicKey::FromPem(kPemA)->keyID());
  EXPECT_EQ(release->hash.size(), 64U);
  EXPECT_EQ(release->compiled->policy().metadata.generation, 1);
  EXPECT_EQ(policies->All().size(), 2U);
  EXPECT_EQ(policies->Find("other"), nullptr);
  EXPECT_EQ(policies->State().keys_ready, 2U);
  EXPECT_EQ(policies->State().problem, "");
}

TEST_F(FolderPoliciesTest, TakesChangesOverAndCountsGenerations) {
  folder_.Put("a.yaml", Policy("release", "", ", uid: u-1, generation: 4"));
  const auto policies = Open();
  EXPECT_EQ(policies->Find("release")->compiled->policy().metadata.generation, 4);
  EXPECT_EQ(policies->Find("release")->compiled->policy().metadata.uid, "u-1");
  const std::string hash = policies->Find("release")->hash;
  folder_.Put("a.yaml", Policy("release", "  suspend: true\n", ", uid: u-1"));
  Look();
  EXPECT_TRUE(policies->Find("release")->compiled->policy().spec.suspend);
  EXPECT_EQ(policies->Find("release")->compiled->policy().metadata.generation, 5);
  EXPECT_NE(policies->Find("release")->hash, hash);
  EXPECT_TRUE(policies->Find("release")->key.has_value());
}

TEST_F(FolderPoliciesTest, SuspendsWithinTwoSeconds) {
  folder_.Put("a.yaml", Policy("release"));
  const auto policies = Open();
  reactor_.Advance(milliseconds(300));
  folder_.Write("a.yaml", Policy("release", "  suspend: true\n"));  // in place, as an editor may
  reactor_.Advance(seconds(2));
  EXPECT_TRUE(policies->Find("release")->compiled->policy().spec.suspend);
}

TEST_F(FolderPoliciesTest, RemovesPoliciesThatAreGone) {
  folder_.Put("a.yaml", Policy("release"));
  folder_.Put("b.yaml", Policy("nightly"));
  const auto policies = Open();
  std::filesystem::remove(folder_.path() / "b.yaml");
  Look();
  EXPECT_EQ(policies->Find("nightly"), nullptr);
  EXPECT_NE(policies->Find("release"), nullptr);
}

TEST_F(FolderPoliciesTest, FollowsTheSwapOfAConfigMapMount) {
  std::filesystem::create_directory(folder_.path() / "..v1");
  folder_.Put("..v1/p.yaml", Policy("release"));
  std::filesystem::create_directory_symlink("..v1", folder_.path() / "..data");
  std::filesystem::create_symlink("..data/p.yaml", folder_.path() / "p.yaml");
  const auto policies = Open();
  ASSERT_NE(policies->Find("release"), nullptr);
  std::filesystem::create_directory(folder_.path() / "..v2");
  folder_.Put("..v2/p.yaml", Policy("release", "  suspend: true\n"));
  std::filesystem::create_directory_symlink("..v2", folder_.path() / "..data_tmp");
  std::filesystem::rename(folder_.path() / "..data_tmp", folder_.path() / "..data");
  Look();
  EXPECT_TRUE(policies->Find("release")->compiled->policy().spec.suspend);
}

struct WrongNeighbour {
  std::string name;
  std::function<void(const TempFolder&)> make;
};
class FolderPoliciesBesideTest : public FolderPoliciesTest, public ::testing::WithParamInterface<WrongNeighbour> {};

// Issue 11, row 4: one broken file must not keep a stop from taking force.
TEST_P(FolderPoliciesBesideTest, SuspendsAndRemovesWhateverElseIsWrong) {
  folder_.Put("a.yaml", Policy("release"));
  folder_.Put("b.yaml", Policy("nightly"));
  folder_.Put("c.yaml", Policy("gone"));
  const auto policies = Open();
  std::filesystem::remove(folder_.path() / "b.yaml");
  GetParam().make(folder_);
  folder_.Put("a.yaml", Policy("release", "  suspend: true\n"));
  std::filesystem::remove(folder_.path() / "c.yaml");
  reactor_.Advance(seconds(4));
  EXPECT_TRUE(policies->Find("release")->compiled->policy().spec.suspend);
  EXPECT_EQ(policies->Find("gone"), nullptr);
  ASSERT_NE(policies->Find("nightly"), nullptr);
  reactor_.Advance(seconds(120));  // what cannot be read goes stale; the rest does not
  EXPECT_GT(clock_.Steady() - policies->Find("nightly")->confirmed_at, seconds(115));
  EXPECT_LT(clock_.Steady() - policies->Find("release")->confirmed_at, seconds(10));
  EXPECT_THAT(policies->State().problem, HasSubstr("b.yaml"));
  folder_.Put("a.yaml", Policy("release", "  description: edited\n"));
  Look();
  EXPECT_GT(clock_.Steady() - policies->Find("nightly")->confirmed_at, seconds(115)) << "no word of its own file";
  std::filesystem::remove_all(folder_.path() / "b.yaml");
  folder_.Put("b.yaml", Policy("nightly"));
  Look();
  Look();
  EXPECT_LT(clock_.Steady() - policies->Find("nightly")->confirmed_at, seconds(10));
  EXPECT_EQ(policies->State().problem, "");
}
INSTANTIATE_TEST_SUITE_P(
    All, FolderPoliciesBesideTest,
    ::testing::Values(
        WrongNeighbour{"BrokenYaml", [](const TempFolder& folder) { folder.Put("b.yaml", "spec: [\n"); }},
        WrongNeighbour{"NotText", [](const TempFolder& folder) { folder.Put("b.yaml", std::string("\xff\0", 2)); }},
        WrongNeighbour{"HugeFile", [](const TempFolder& folder) { folder.Put("b.yaml", std::string(17U << 20, '#')); }},
        WrongNeighbour{"Folder",
                       [](const TempFolder& folder) { std::filesystem::create_directory(folder.path() / "b.yaml"); }},
        WrongNeighbour{
            "DanglingLink",
            [](const TempFolder& folder) { std::filesystem::create_symlink("none.txt", folder.path() / "b.yaml"); }},
        WrongNeighbour{
            "LinkOut",
            [](const TempFolder& folder) { std::filesystem::create_symlink("/dev/null", folder.path() / "b.yaml"); }},
        WrongNeighbour{"InvalidPolicy",
                       [](const TempFolder& folder) {
                         folder.Put("b.yaml",
                                    "apiVersion: signet.dev/v1alpha1\nkind: SigningPolicy\nmetadata: {name: nightly}\n"
                                    "spec: {subjets: []}\n");
                       }},
        WrongNeighbour{"UnknownTimeZone",
                       [](const TempFolder& folder) {
                         folder.Put("b.yaml",
                                    "apiVersion: signet.dev/v1alpha1\nkind: SigningPolicy\nmetadata: {name: nightly}\n"
                                    "spec:\n  key: {uri: 'pkcs11:object=nightly'}\n  algorithms: [ECDSAWithSHA256]\n"
                                    "  subjects: [{kind: User, name: x}]\n"
                                    "  windows: [{days: [Mon], from: '09:00', to: '10:00', timeZone: Mars/Base}]\n");
                       }}),
    [](const auto& info) { return info.param.name; });

TEST_F(FolderPoliciesTest, SuspendsFromADocumentBesideABrokenOne) {
  folder_.Put("a.yaml", Policy("release") + "---\n" + Policy("nightly") + "---\n" + Policy("gone"));
  const auto policies = Open();
  folder_.Put("a.yaml",
              Policy("release", "  suspend: true\n") + "---\nspec: [\n---\n" + Policy("gone", "  suspend: true\n"));
  Look();
  EXPECT_TRUE(policies->Find("release")->compiled->policy().spec.suspend);
  EXPECT_TRUE(policies->Find("gone")->compiled->policy().spec.suspend);
  ASSERT_NE(policies->Find("nightly"), nullptr);  // it may stand in the part that cannot be read
  reactor_.Advance(seconds(60));
  EXPECT_GT(clock_.Steady() - policies->Find("nightly")->confirmed_at, seconds(55));
}

TEST_F(FolderPoliciesTest, SuspendsFromADocumentThatIsNotValidOtherwise) {
  folder_.Put("a.yaml", Policy("release"));
  const auto policies = Open();
  folder_.Put("a.yaml", Policy("release", "  suspend: true\n  suspendReason: a typo\n"));
  Look();
  EXPECT_TRUE(policies->Find("release")->compiled->policy().spec.suspend);
  EXPECT_EQ(policies->Find("release")->compiled->policy().metadata.generation, 2);
  EXPECT_TRUE(policies->Find("release")->key.has_value());
  EXPECT_THAT(policies->State().problem, HasSubstr("a.yaml:1"));
  folder_.Put("a.yaml", Policy("release"));
  Look();
  EXPECT_FALSE(policies->Find("release")->compiled->policy().spec.suspend);
  EXPECT_EQ(policies->Find("release")->compiled->policy().metadata.generation, 3);
}

TEST_F(FolderPoliciesTest, SuspendsForAnythingButAPlainFalse) {
  const std::vector<std::string> suspends = {"\"true\"",
                                             "1",
                                             "0",
                                             "'false'",
                                             "!!bool true",
                                             "!!bool false",
                                             "&a true",
                                             "*a",
                                             "",
                                             "null",
                                             "[]",
                                             "{}",
                                             "yess",
                                             "tru",
                                             "true\n  suspend: true",
                                             "true\n  suspend: false",
                                             "false\n  suspend: true",
                                             "\n    true",
                                             "|\n    true"};
  for (const auto& value : suspends) {
    SCOPED_TRACE(value);
    folder_.Put("a.yaml", Policy("release"));
    const auto policies = Open();
    folder_.Put("a.yaml", Policy("release", "  suspend: " + value + "\n"));
    Look();
    ASSERT_NE(policies->Find("release"), nullptr);
    EXPECT_TRUE(policies->Find("release")->compiled->policy().spec.suspend);
    folder_.Put("a.yaml", Policy("release"));
    Look();
    EXPECT_FALSE(policies->Find("release")->compiled->policy().spec.suspend);
  }
  for (const std::string text :
       {"spec: {suspend: true, key: [}\n", "{\"spec\": {\"suspend\" : true, \"x\": [}\n", "'suspend' : on\nx: [\n"}) {
    SCOPED_TRACE(text);
    folder_.Put("a.yaml", Policy("release"));
    const auto policies = Open();
    folder_.Put("a.yaml", text);
    Look();
    ASSERT_NE(policies->Find("release"), nullptr);
    EXPECT_TRUE(policies->Find("release")->compiled->policy().spec.suspend);
  }
}

TEST_F(FolderPoliciesTest, DoesNotSuspendForAnythingElseThatIsBroken) {
  for (const std::string text :
       {"spec: [\n", "suspend: false\nspec: [\n", "{\"suspend\":false,\n", "# suspend it soon\nspec: [\n",
        "unsuspend: true\nspec: [\n", "suspendReason: x\nspec: [\n", "suspend: false # not true\nspec: [\n"}) {
    SCOPED_TRACE(text);
    folder_.Put("a.yaml", Policy("release"));
    folder_.Put("b.yaml", Policy("nightly", "  suspend: true\n"));
    const auto policies = Open();
    folder_.Put("a.yaml", text);
    Look();
    ASSERT_NE(policies->Find("release"), nullptr);
    EXPECT_FALSE(policies->Find("release")->compiled->policy().spec.suspend);
  }
}

TEST_F(FolderPoliciesTest, SuspendsInAFolderThatIsTooFull) {
  folder_.Put("release.yaml", Policy("release"));
  const auto policies = Open();
  for (int i = 0; i < 1200; ++i) folder_.Put("a" + std::to_string(i) + ".yaml", "");
  folder_.Put("release.yaml", Policy("release", "  suspend: true\n"));
  Look();
  EXPECT_TRUE(policies->Find("release")->compiled->policy().spec.suspend);
  EXPECT_THAT(policies->State().problem, HasSubstr("more than 1000"));
  std::filesystem::remove(folder_.path() / "release.yaml");
  Look();
  Look();
  EXPECT_EQ(policies->Find("release"), nullptr);
}

TEST_F(FolderPoliciesTest, SuspendsBesideFilesThatFillTheFolder) {
  folder_.Put("release.yaml", Policy("release"));
  const auto policies = Open();
  for (int i = 0; i < 17; ++i) folder_.Put("a" + std::to_string(i) + ".yaml", std::string((1U << 20U) - 1, '#'));
  folder_.Put("release.yaml", Policy("release", "  suspend: true\n"));
  Look();
  EXPECT_TRUE(policies->Find("release")->compiled->policy().spec.suspend);
  EXPECT_THAT(policies->State().problem, HasSubstr("fill"));
}

TEST_F(FolderPoliciesTest, ConfirmsNoneOfTwoDifferentPoliciesWithOneName) {
  folder_.Put("a.yaml", Policy("release"));
  const auto policies = Open();
  folder_.Put("b.yaml", Policy("release"));  // the same twice: moved by copying first
  reactor_.Advance(seconds(60));
  EXPECT_LT(clock_.Steady() - policies->Find("release")->confirmed_at, seconds(10));
  EXPECT_EQ(policies->State().problem, "");
  folder_.Put("b.yaml", Policy("release", "  description: other\n"));
  reactor_.Advance(seconds(60));
  EXPECT_GT(clock_.Steady() - policies->Find("release")->confirmed_at, seconds(50));
  EXPECT_THAT(policies->State().problem, HasSubstr("defined in a.yaml:1 already"));
  folder_.Put("b.yaml", Policy("release", "  suspend: true\n"));
  Look();
  EXPECT_TRUE(policies->Find("release")->compiled->policy().spec.suspend);
}

TEST_F(FolderPoliciesTest, TakesOverWhileAFileNeverSettles) {
  folder_.Put("a.yaml", Policy("release"));
  folder_.Put("b.yaml", Policy("nightly"));
  const auto policies = Open();
  folder_.Put("a.yaml", Policy("release", "  suspend: true\n"));
  const auto write_for = [&](int times) {
    for (int i = 0; i < times; ++i) {
      folder_.Put("b.yaml", Policy("nightly") + "# " + std::to_string(i) + "\n");
      reactor_.Advance(milliseconds(50));
    }
  };
  write_for(60);
  EXPECT_TRUE(policies->Find("release")->compiled->policy().spec.suspend);
  write_for(340);
  EXPECT_GT(clock_.Steady() - policies->Find("nightly")->confirmed_at, seconds(15)) << "nobody has read it since";
  EXPECT_LT(clock_.Steady() - policies->Find("release")->confirmed_at, seconds(10));
}

TEST_F(FolderPoliciesTest, DoesNotConfirmAPolicyThatIsInvalidElsewhere) {
  folder_.Put("a.yaml", Policy("release"));
  const auto policies = Open();
  folder_.Put("b.yaml", Policy("release", "  suspendReason: a typo\n"));  // which of the two is meant?
  reactor_.Advance(seconds(60));
  EXPECT_GT(clock_.Steady() - policies->Find("release")->confirmed_at, seconds(50));
  EXPECT_THAT(policies->State().problem, HasSubstr("b.yaml:1"));
  std::filesystem::remove(folder_.path() / "b.yaml");
  Look();
  Look();
  EXPECT_LT(clock_.Steady() - policies->Find("release")->confirmed_at, seconds(10));
}

TEST_F(FolderPoliciesTest, RemovesAPolicyFromAGoodFileBesideABrokenOne) {
  folder_.Put("a.yaml", Policy("release") + "---\n" + Policy("nightly"));
  folder_.Put("b.yaml", "# nothing yet\n");
  const auto policies = Open();
  folder_.Put("a.yaml", Policy("release"));
  folder_.Put("b.yaml", "spec: [\n");
  Look();
  EXPECT_EQ(policies->Find("nightly"), nullptr);
}

class WrongFolderTest : public FolderPoliciesTest, public ::testing::WithParamInterface<const char*> {};
TEST_P(WrongFolderTest, IsRefusedAtStart) {
  folder_.Put("a.yaml", Policy("release"));
  folder_.Put("b.yaml", GetParam());
  const auto opened = TryOpen();
  ASSERT_THAT(opened, IsErr(Code::kInvalidArgument, "PoliciesInvalid"));
  EXPECT_THAT(opened.error().message, HasSubstr("b.yaml"));
}
INSTANTIATE_TEST_SUITE_P(
    All, WrongFolderTest,
    ::testing::Values("a: [\n", "[1]\n", "just text\n", "kind: SigningPolicy\n",
                      "apiVersion: signet.dev/v2\nkind: SigningPolicy\nmetadata: {name: x}\nspec: {}\n",
                      "apiVersion: signet.dev/v1alpha1\nkind: SigningPolicy\nmetadata: {name: x}\nspec: {}\n",
                      "apiVersion: signet.dev/v1alpha1\nkind: SigningPolicy\nmetadata: {}\nspec: {}\n",
                      "apiVersion: signet.dev/v1alpha1\nkind: SigningPolicy\nmetadata: {name: release}\nspec:\n"
                      "  key: {uri: 'pkcs11:object=release'}\n  algorithms: [ECDSAWithSHA256]\n",
                      "apiVersion: signet.dev/v1alpha1\nkind: SigningPolicy\nmetadata: {name: x}\nspec:\n"
                      "  key: {uri: 'pkcs11:object=x?pin-value=1'}\n  algorithms: [ECDSAWithSHA256]\n"));

TEST_F(FolderPoliciesTest, IgnoresOtherKinds) {
  folder_.Put("a.yaml", Policy("release") + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n---\n" +
                            "apiVersion: signet.dev/v1alpha1\nkind: SigningRequest\nmetadata: {name: x}\nspec: {}\n");
  const auto policies = Open();
  EXPECT_EQ(policies->All().size(), 1U);
}

TEST_F(FolderPoliciesTest, IgnoresAStatusThatWasExportedWithThePolicy) {
  folder_.Put("a.yaml", Policy("release") + "status: {key: {keyID: 5}}\n");
  EXPECT_NE(Open()->Find("release"), nullptr);
}

TEST_F(FolderPoliciesTest, StartsWithoutAnyPolicy) {
  const auto policies = Open();
  EXPECT_TRUE(policies->All().empty());
  folder_.Put("a.yaml", Policy("release"));
  Look();
  EXPECT_EQ(policies->All().size(), 1U);
}

TEST_F(FolderPoliciesTest, SaysThatTheFolderIsNotThere) {
  const auto opened = FolderPolicies::Open({.folder = "/no/such", .state_dir = {}}, reactor_, clock_, hsm_);
  ASSERT_THAT(opened, IsErr(Code::kFailedPrecondition, "PoliciesNotFound"));
  EXPECT_THAT(opened.error().message, HasSubstr("/no/such"));
}

TEST_F(FolderPoliciesTest, LeavesPoliciesUnconfirmedWhileTheFolderCannotBeRead) {
  const TempFolder parent;
  std::filesystem::create_directory(parent.path() / "p");
  parent.Put("p/a.yaml", Policy("release"));
  auto policies = FolderPolicies::Open({.folder = parent.path() / "p", .state_dir = {}}, reactor_, clock_, hsm_);
  ASSERT_THAT(policies, IsOk());
  reactor_.Advance(seconds(60));
  EXPECT_LT(clock_.Steady() - (*policies)->Find("release")->confirmed_at, seconds(10));
  std::filesystem::rename(parent.path() / "p", parent.path() / "q");
  reactor_.Advance(seconds(120));
  ASSERT_NE((*policies)->Find("release"), nullptr);
  EXPECT_GT(clock_.Steady() - (*policies)->Find("release")->confirmed_at, seconds(110));
  EXPECT_NE((*policies)->State().problem, "");
  std::filesystem::rename(parent.path() / "q", parent.path() / "p");
  reactor_.Advance(seconds(2));
  EXPECT_LT(clock_.Steady() - (*policies)->Find("release")->confirmed_at, seconds(3));
  EXPECT_EQ((*policies)->State().problem, "");
}

TEST_F(FolderPoliciesTest, WaitsForAKeyAndSaysWhoMakesIt) {
  folder_.Put("a.yaml", Policy("nightly"));
  folder_.Put("b.yaml", Policy("made").insert(Policy("made").find("'pkcs11:object=made'") + 20,
                                              ", generate: {algorithm: ECDSA, size: 256}"));
  const auto policies = Open();
  EXPECT_FALSE(policies->Find("nightly")->key.has_value());
  EXPECT_EQ(policies->Find("nightly")->not_ready_reason, "KeyNotFound");
  EXPECT_THAT(policies->Find("nightly")->not_ready_message, ::testing::Not(HasSubstr("operator")));
  EXPECT_THAT(policies->Find("made")->not_ready_message, HasSubstr("the operator generates keys"));
  hsm_.Put("made", kPemB);
  reactor_.Advance(seconds(11));
  EXPECT_TRUE(policies->Find("made")->key.has_value());
  EXPECT_EQ(policies->Find("made")->not_ready_reason, "");
}

TEST_F(FolderPoliciesTest, AsksForAMissingKeyLessAndLessOften) {
  folder_.Put("a.yaml", Policy("nightly"));
  const auto policies = Open();
  reactor_.Advance(seconds(120));
  EXPECT_GE(hsm_.finds, 10);
  EXPECT_LE(hsm_.finds, 20);
  const int before = hsm_.finds;
  policies->RetryKeys();
  EXPECT_EQ(hsm_.finds, before + 1);
}

TEST_F(FolderPoliciesTest, KeepsAKnownKeyWhileTheHsmIsAway) {
  folder_.Put("a.yaml", Policy("release"));
  const auto policies = Open();
  hsm_.reachable = base::MakeError(Code::kUnavailable, "HSMUnavailable", "no worker");
  reactor_.Advance(seconds(60));
  EXPECT_TRUE(policies->Find("release")->key.has_value());
}

TEST_F(FolderPoliciesTest, RefusesAnotherKeyUntilThePolicyIsEdited) {
  folder_.Put("a.yaml", Policy("release"));
  const auto policies = Open();
  hsm_.Put("release", kPemB);
  reactor_.Advance(seconds(40));
  EXPECT_FALSE(policies->Find("release")->key.has_value());
  EXPECT_EQ(policies->Find("release")->not_ready_reason, "KeyChanged");
  folder_.Put("a.yaml", "# only a comment\n" + Policy("release"));
  reactor_.Advance(seconds(40));
  EXPECT_EQ(policies->Find("release")->not_ready_reason, "KeyChanged");
  folder_.Put("a.yaml", Policy("release", "  description: accepts the new key\n"));
  Look();
  ASSERT_TRUE(policies->Find("release")->key.has_value());
  EXPECT_EQ(policies->Find("release")->key->public_key.keyID(), crypto::PublicKey::FromPem(kPemB)->keyID());
}

TEST_F(FolderPoliciesTest, CallsAPinnedKeyThatIsGoneLost) {
  folder_.Put("a.yaml", Policy("release"));
  const auto policies = Open();
  hsm_.keys.clear();
  reactor_.Advance(seconds(40));
  EXPECT_FALSE(policies->Find("release")->key.has_value());
  EXPECT_EQ(policies->Find("release")->not_ready_reason, "KeyLost");
  hsm_.Put("release", kPemA);
  reactor_.Advance(seconds(11));
  EXPECT_TRUE(policies->Find("release")->key.has_value());
}

TEST_F(FolderPoliciesTest, RemembersPinsOverARestartWhereAStateFolderIsGiven) {
  const TempFolder state;
  state_ = state.path();
  folder_.Put("a.yaml", Policy("release"));
  auto policies = Open();
  policies.reset();
  hsm_.Put("release", kPemB);
  policies = Open();
  EXPECT_EQ(policies->Find("release")->not_ready_reason, "KeyChanged");
  policies.reset();
  state.Write("policy-keys.json", "{");
  EXPECT_THAT(TryOpen(), IsErr(Code::kInvalidArgument, "StateInvalid"));
}

TEST_F(FolderPoliciesTest, DropsAnswersToPoliciesThatHaveChangedMeanwhile) {
  folder_.Put("a.yaml", Policy("release"));
  auto opened = TryOpen();  // the answer for "release" is still on its way
  ASSERT_THAT(opened, IsOk());
  opened->reset();
  reactor_.RunReady();  // must not touch what is gone
  SUCCEED();
}

}  // namespace
}  // namespace signet::signing
