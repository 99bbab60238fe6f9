#include "config/approval_roots.hpp"

#include "support/matchers.hpp"
#include "support/ssh_keygen.hpp"
#include "support/temp_folder.hpp"

namespace signet::config {
namespace {

using base::Code;
using ::testing::HasSubstr;
using testing::IsErr;
using testing::IsOk;

class ApprovalRootsTest : public ::testing::Test {
 protected:
  base::Result<std::shared_ptr<const policy::ApprovalRoots>> Load(const std::string& yaml) {
    folder_.Write("roots.yaml", yaml);
    return LoadApprovalRoots((folder_.path() / "roots.yaml").string());
  }
  void Refuses(const std::string& yaml, const std::string& why) {
    const auto loaded = Load(yaml);
    ASSERT_THAT(loaded, IsErr(Code::kInvalidArgument, "ConfigInvalid"));
    EXPECT_THAT(loaded.error().message, HasSubstr(why));
    EXPECT_THAT(loaded.error().message, HasSubstr("roots.yaml"));
  }
  static std::string Rule(const std::string& people, const std::string& more = "") {
    return "rules:\n- policy: release\n" + more + "  approvers:\n" + people;
  }
  [[nodiscard]] static std::string Person(const std::string& name, const std::string& key) {
    return "  - username: " + name + "\n    keys: ['" + key + "']\n";
  }

  testing::TempFolder folder_;
  testing::SshSigner alice_, bob_{"ecdsa"};
};

TEST_F(ApprovalRootsTest, ReadsTheExample) {
  const auto roots = LoadApprovalRoots(SIGNET_SOURCE_DIR "/examples/approval-roots.yaml");
  ASSERT_THAT(roots, IsOk());
  ASSERT_EQ((*roots)->rules().size(), 1U);
  EXPECT_EQ((*roots)->rules()[0].required, 2);
  EXPECT_EQ((*roots)->rules()[0].approvers[1].keys[0].algorithm(), "ecdsa-sha2-nistp256");
}

TEST_F(ApprovalRootsTest, FindsRulesByNameAndByKey) {
  const std::string id(64, 'b');
  const auto roots = Load(Rule(Person("alice", alice_.public_key()), "  keyID: " + id + "\n"));
  ASSERT_THAT(roots, IsOk());
  EXPECT_EQ((*roots)->For("release", "").size(), 1U);
  EXPECT_EQ((*roots)->For("another", id).size(), 1U);
  EXPECT_TRUE((*roots)->For("another", "").empty()) << "a key that is not known is no key";
  EXPECT_TRUE((*roots)->For("another", std::string(64, 'c')).empty());
}

TEST_F(ApprovalRootsTest, RefusesWhatWouldNotHold) {
  Refuses("rules: []\n", "at least one rule");
  Refuses("{}\n", "at least one rule");
  Refuses(Rule(Person("alice", alice_.public_key()), "  required: 2\n"), "2 are required");
  Refuses(Rule(Person("alice", alice_.public_key()), "  required: 0\n"), "rules[0].required");
  Refuses(Rule(Person("alice", "ssh-ed25519 AAAA")), "rules[0].approvers[0].keys");
  Refuses(Rule(Person("alice", alice_.public_key()) + Person("bob", alice_.public_key())),
          "one key stands for one person");
  Refuses(Rule("  - username: alice\n    keys: []\n"), "at least one SSH public key");
  Refuses(Rule("  - keys: ['" + alice_.public_key() + "']\n"), "username");
  Refuses(Rule(Person("alice", alice_.public_key()), "  keyID: abc\n"), "64 hex digits");
  Refuses(Rule(Person("alice", alice_.public_key()), "  threshold: 2\n"), "threshold");
}

}  // namespace
}  // namespace signet::config
