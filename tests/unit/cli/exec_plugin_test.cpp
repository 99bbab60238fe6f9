#include "cli/exec_plugin.hpp"

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::cli {
namespace {

using base::Code;
using kube::ExecPlugin;
using signet::testing::IsErr;
using signet::testing::IsOk;
using std::chrono::milliseconds;
using ::testing::HasSubstr;

class ExecPluginTest : public ::testing::Test {
 protected:
  /// A plugin that runs `script`, a shell's.
  kube::ClusterConfig Config(const std::string& script) {
    folder_.Write("plugin", "#!/bin/sh\n" + script);
    const std::string path = folder_.path() / "plugin";
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    kube::ClusterConfig config;
    config.server = "https://127.0.0.1:6443";
    config.exec = ExecPlugin{"config: user \"u\"", "client.authentication.k8s.io/v1", path, {}, {}, ""};
    return config;
  }
  static base::Result<std::shared_ptr<const kube::Credential>> Run(const kube::ClusterConfig& config, bool terminal,
                                                                   milliseconds limit) {
    TRY(const auto source, MakePluginCredentials(config, "", terminal, limit));
    return source->Get();
  }

  signet::testing::TempFolder folder_;
};

constexpr const char* kPrints =
    R"(echo '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"t"}}')";

TEST_F(ExecPluginTest, EndsAPluginThatDoesNotEnd) {
  const std::string note = folder_.path() / "pid";
  const auto config = Config("echo $$ > " + note + "\n" + kPrints + "\nexec sleep 1000\n");
  const auto got = Run(config, false, milliseconds(300));
  ASSERT_THAT(got, IsErr(Code::kFailedPrecondition, std::string(kPluginFailed)));
  EXPECT_THAT(got.error().message, HasSubstr("config: user \"u\": credential plugin "));
  EXPECT_THAT(got.error().message, HasSubstr("has not ended after 300 ms"));
  pid_t plugin = 0;
  std::ifstream(note) >> plugin;
  if (plugin > 0) {  // else it was ended before its first line
    EXPECT_EQ(::kill(plugin, 0), -1);
    EXPECT_EQ(errno, ESRCH) << "killed, and waited for";
  }
}

TEST_F(ExecPluginTest, GivesAPersonAllTheTimeThatItTakes) {
  auto config = Config(kPrints);
  const milliseconds none(0);
  EXPECT_THAT(Run(config, true, none), IsOk());
  const auto without = Run(config, false, none);
  ASSERT_THAT(without, IsErr(Code::kFailedPrecondition, std::string(kPluginFailed)));
  EXPECT_THAT(without.error().message, HasSubstr("has not ended after "));
  config.exec->interactive = ExecPlugin::Interactive::kNever;
  EXPECT_THAT(Run(config, true, none), IsErr(Code::kFailedPrecondition, std::string(kPluginFailed)));
}

TEST_F(ExecPluginTest, HasFiveMinutes) { EXPECT_EQ(kPluginTimeLimit, std::chrono::seconds(300)); }

}  // namespace
}  // namespace signet::cli
