#include "kube/cluster_config.hpp"

#include <filesystem>
#include <fstream>

#include "kube/rest_store.hpp"
#include "support/matchers.hpp"

namespace signet::kube {
namespace {

using base::Code;
using testing::IsErr;
using testing::IsOk;

ClusterConfig Good() {
  ClusterConfig config;
  config.server = "https://127.0.0.1:6443";
  config.ca_data = "-----BEGIN CERTIFICATE-----";
  return config;
}
base::Secret SecretOf(std::string_view text) { return base::Secret(base::ToBytes(base::AsBytes(text))); }

TEST(ClusterConfigTest, AcceptsWhatIsComplete) { EXPECT_THAT(Validate(Good()), IsOk()); }

TEST(ClusterConfigTest, RefusesWhatIsUnsafeOrUnclear) {
  const auto refuses = [](const std::function<void(ClusterConfig&)>& change) {
    ClusterConfig config = Good();
    change(config);
    EXPECT_THAT(Validate(config), IsErr(Code::kInvalidArgument, "ConfigInvalid"));
  };
  refuses([](auto& c) { c.server = "http://127.0.0.1:8080"; });
  refuses([](auto& c) { c.server = "https://"; });
  refuses([](auto& c) { c.server = "https://user@host"; });
  refuses([](auto& c) { c.server = "https://host\r\nX: y"; });
  refuses([](auto& c) { c.ca_data.clear(); });
  refuses([](auto& c) { c.ca_file = "/ca.crt"; });
  refuses([](auto& c) { c.token = SecretOf("a"), c.token_file = "/token"; });
  refuses([](auto& c) { c.client_certificate_file = "/crt"; });
  refuses([](auto& c) { c.client_key_data = SecretOf("key"); });
  refuses([](auto& c) { c.impersonation.groups = {"g"}; });
  refuses([](auto& c) { c.impersonation = {"jane", "", {"g\r\nImpersonate-Group: system:masters"}, {}}; });
  refuses([](auto& c) { c.impersonation = {"jane\n", "", {}, {}}; });
  refuses([](auto& c) { c.impersonation = {"jane", "", {""}, {}}; });
  refuses([](auto& c) { c.impersonation = {"jane", "", {}, {{"k", {"a\rb"}}}}; });
  refuses([](auto& c) { c.proxy_url = "ftp://proxy"; });
}

TEST(ClusterConfigTest, RefusesPluginsWhereNobodyRunsThem) {
  ClusterConfig config = Good();
  config.exec.emplace();
  config.exec->where = "/etc/kubeconfig: user \"u\"";
  const auto opened = RestStore::Open(std::move(config), {});
  ASSERT_THAT(opened, IsErr(Code::kInvalidArgument, "ConfigInvalid"));
  EXPECT_EQ(opened.error().message.find("/etc/kubeconfig: user \"u\" runs a credential plugin"), 0U);
}

TEST(ClusterConfigTest, RefusesCertificatesThatAreNone) {
  EXPECT_THAT(RestStore::Open(Good(), {}), IsErr(Code::kInvalidArgument, "ConfigInvalid"));
  ClusterConfig missing = Good();
  missing.ca_data.clear();
  missing.ca_file = "/nonexistent/ca.crt";
  EXPECT_THAT(RestStore::Open(std::move(missing), {}), IsErr(Code::kNotFound));
}

class InClusterConfigTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directory(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void Write(const std::string& name, const std::string& text) { std::ofstream(folder_ + "/" + name) << text; }

  const std::string folder_ = ::testing::TempDir() + "service-account-" + std::to_string(::getpid());
};

TEST_F(InClusterConfigTest, ReadsThePodsFolder) {
  Write("token", "t");
  Write("ca.crt", "c");
  Write("namespace", "signet-system");
  auto config = InClusterConfig(folder_, "10.96.0.1", "443");
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->server, "https://10.96.0.1:443");
  EXPECT_EQ(config->ca_file, folder_ + "/ca.crt");
  EXPECT_EQ(config->token_file, folder_ + "/token");
  EXPECT_EQ(config->namespace_name, "signet-system");
  EXPECT_EQ(InClusterConfig(folder_, "fd00::1", "443")->server, "https://[fd00::1]:443");
}

TEST_F(InClusterConfigTest, SaysWhenThisIsNoPod) {
  EXPECT_THAT(InClusterConfig(folder_, "", ""), IsErr(Code::kNotFound, "NotInCluster"));
  EXPECT_THAT(InClusterConfig(folder_, "10.96.0.1", "443"), IsErr(Code::kNotFound, "NotInCluster"));
}

}  // namespace
}  // namespace signet::kube
