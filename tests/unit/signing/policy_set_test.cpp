#include "signing/policy_set.hpp"

#include <gtest/gtest.h>

#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::signing {
namespace {

using ::signet::testing::IsOk;
using ::signet::testing::TempFolder;

const std::string kPolicy =
    "apiVersion: signet.dev/v1alpha1\nkind: SigningPolicy\nmetadata: {name: release}\n"
    "spec:\n  key: {uri: 'pkcs11:object=release'}\n  algorithms: [ECDSAWithSHA256]\n";

base::Result<PolicySet> Load(const TempFolder& folder) {
  auto files = PolicyFiles(folder.path());
  return LoadPolicySet(files, folder.path(), base::SystemClock());
}

TEST(PolicySetTest, NamesThePlaceOfEachPolicy) {
  const TempFolder folder;
  folder.Put("a.yaml", "# one\n---\n" + kPolicy);
  const auto set = Load(folder);
  ASSERT_THAT(set, IsOk());
  ASSERT_TRUE(set->policies.contains("release"));
  EXPECT_EQ(set->policies.at("release").policy->place, "a.yaml:2");
  EXPECT_EQ(set->policies.at("release").policy->hash.size(), 64U);
}

TEST(PolicySetTest, HashesTheSpecAndNothingElse) {
  const TempFolder folder;
  const auto hash = [&](const std::string& text) {
    folder.Put("a.yaml", text);
    const auto set = Load(folder);
    EXPECT_THAT(set, IsOk());
    return set ? set->policies.at("release").policy->hash : std::string();
  };
  const std::string plain = hash(kPolicy);
  EXPECT_EQ(hash("# comment\n" + kPolicy + "status: {observedGeneration: 3}\n"), plain);
  EXPECT_NE(hash(kPolicy + "  suspend: true\n"), plain);
}

}  // namespace
}  // namespace signet::signing
