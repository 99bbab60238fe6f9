#include "config/exec_credential.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "support/matchers.hpp"

namespace signet::config {
namespace {

using base::Code;
using nlohmann::json;
using ::signet::testing::IsErr;
using ::signet::testing::IsOk;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Printed(std::string_view status, std::string_view version = kExecV1) {
  return fmt::format(R"({{"kind":"ExecCredential","apiVersion":"{}","status":{}}})", version, status);
}

TEST(ExecCredentialTest, TakesTokensAndCertificates) {
  const auto token =
      ParseExecCredential(Printed(R"({"token":"t","expirationTimestamp":"2026-12-01T01:00:00+01:00"})"), kExecV1);
  ASSERT_THAT(token, IsOk());
  EXPECT_EQ(base::AsText(token->credential.token.Reveal()), "t");
  ASSERT_TRUE(token->expires.has_value());
  EXPECT_EQ(base::FormatTimeSeconds(*token->expires), "2026-12-01T00:00:00Z");
  const auto pair =
      ParseExecCredential(Printed(R"({"clientCertificateData":"C","clientKeyData":"K"})", kExecV1Beta1), kExecV1Beta1);
  ASSERT_THAT(pair, IsOk());
  EXPECT_EQ(pair->credential.certificate, "C");
  EXPECT_EQ(base::AsText(pair->credential.key.Reveal()), "K");
  EXPECT_FALSE(pair->expires.has_value());
  EXPECT_THAT(ParseExecCredential(
                  "kind: ExecCredential\napiVersion: client.authentication.k8s.io/v1\nstatus: {token: t}\n", kExecV1),
              IsOk());
}

TEST(ExecCredentialTest, RefusesEverythingElseWithoutRepeatingIt) {
  for (const std::string& printed :
       {std::string(), std::string("s3cret"), std::string("[1]"), std::string("{"),
        Printed(R"({"token":"s3cret"})", kExecV1Beta1), Printed("{}"), Printed("null"), Printed(R"({"token":7})"),
        Printed(R"({"token":""})"), Printed(R"({"clientKeyData":"s3cret"})"),
        Printed(R"({"clientCertificateData":"C","token":"s3cret"})"),
        Printed(R"({"token":"s3cret","expirationTimestamp":"tomorrow"})"),
        Printed(R"({"token":"s3cret","expirationTimestamp":5})"),
        std::string(R"({"kind":"Secret","status":{"token":"s3cret"}})")}) {
    const auto parsed = ParseExecCredential(printed, kExecV1);
    ASSERT_THAT(parsed, IsErr(Code::kInvalidArgument, "CredentialInvalid")) << printed;
    EXPECT_THAT(parsed.error().message, Not(HasSubstr("s3cret")));
  }
}

TEST(ExecCredentialTest, TellsThePluginOfTheClusterOnlyWhereAsked) {
  kube::ClusterConfig config;
  config.server = "https://[::1]:6443/prefix";
  config.ca_data = "CA";
  config.tls_server_name = "api.internal";
  config.proxy_url = "http://proxy:3128";
  config.exec.emplace();
  config.exec->api_version = kExecV1;
  EXPECT_EQ(
      json::parse(*MakeExecInfo(config, false)),
      json::parse(
          R"({"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","spec":{"interactive":false}})"));
  config.exec->provide_cluster_info = true;
  config.exec->cluster_config = R"({"audience":"a"})";
  EXPECT_EQ(
      json::parse(*MakeExecInfo(config, true))["spec"],
      json::parse(
          R"({"interactive":true,"cluster":{"server":"https://[::1]:6443/prefix","certificate-authority-data":"Q0E=",
                            "tls-server-name":"api.internal","proxy-url":"http://proxy:3128","config":{"audience":"a"}}})"));
}

}  // namespace
}  // namespace signet::config
