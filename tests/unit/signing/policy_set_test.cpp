#include "signing/policy_set.hpp"

#include <gtest/gtest.h>

#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::signing {
namespace {

using base::Code;
using ::signet::testing::IsErr;
using ::signet::testing::IsOk;
using ::signet::testing::TempFolder;

const std::string kPolicy =
    "apiVersion: signet.dev/v1alpha1\nkind: SigningPolicy\nmetadata: {name: release}\n"
    "spec:\n  key: {uri: 'pkcs11:object=release'}\n  algorithms: [ECDSAWithSHA256]\n";

TEST(PolicySetTest, NamesThePlaceOfEachPolicy) {
  const TempFolder folder;
  folder.Put("a.yaml", "# one\n---\n" + kPolicy);
  const auto set = LoadPolicySet(folder.path(), *store::ListFolder(folder.path(), kPolicyFolderLimits));
  ASSERT_THAT(set, IsOk());
  ASSERT_TRUE(set->contains("release"));
  EXPECT_EQ(set->at("release").place, "a.yaml:2");
  EXPECT_EQ(set->at("release").hash.size(), 64U);
}

TEST(PolicySetTest, HashesTheSpecAndNothingElse) {
  const TempFolder folder;
  const auto hash = [&](const std::string& text) {
    folder.Put("a.yaml", text);
    const auto set = LoadPolicySet(folder.path(), *store::ListFolder(folder.path(), kPolicyFolderLimits));
    EXPECT_THAT(set, IsOk());
    return set ? set->at("release").hash : std::string();
  };
  const std::string plain = hash(kPolicy);
  EXPECT_EQ(hash("# comment\n" + kPolicy + "status: {observedGeneration: 3}\n"), plain);
  EXPECT_NE(hash(kPolicy + "  suspend: true\n"), plain);
}

TEST(PolicySetTest, RefusesFilesOfDifferentMoments) {
  const TempFolder folder;
  folder.Put("a.yaml", kPolicy);
  const auto listing = *store::ListFolder(folder.path(), kPolicyFolderLimits);
  folder.Put("b.yaml", "");
  EXPECT_THAT(LoadPolicySet(folder.path(), listing), IsErr(Code::kAborted));
  std::filesystem::remove(folder.path() / "b.yaml");
  EXPECT_THAT(LoadPolicySet(folder.path(), listing), IsOk());
  std::filesystem::remove(folder.path() / "a.yaml");
  EXPECT_THAT(LoadPolicySet(folder.path(), listing), IsErr(Code::kAborted));
}

}  // namespace
}  // namespace signet::signing
