#include "authn/own_name.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "crypto/certificate.hpp"
#include "encoding/text.hpp"
#include "fakes/fake_clock.hpp"
#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::testing {
namespace {

using authn::OwnName;
using base::Code;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

constexpr std::string_view kName = "system:serviceaccount:signet-system:signet-operator";

base::Secret Token(const std::string& text) { return base::Secret(base::ToBytes(base::AsBytes(text))); }

/// Header and signature do not matter; the payload as RFC 7515 encodes it.
std::string Jwt(const std::string& claims) {
  std::string payload = encoding::ToBase64(base::AsBytes(claims));
  for (char& c : payload) c = c == '+' ? '-' : c == '/' ? '_' : c;
  while (payload.ends_with('=')) payload.pop_back();
  return "e30." + payload + ".c2ln";
}

std::string Certificate(const std::string& common_name) {
  FakeClock clock;
  crypto::CertificateOptions options;
  options.common_name = common_name;
  options.dns_names = {"x"};
  options.not_before = clock.Now();
  options.not_after = clock.Now() + 1h;
  return crypto::MakeServerCertificate(options)->certificate_pem;
}

TEST(OwnNameTest, IsTheSubjectOfTheToken) {
  // Payload lengths of all remainders by four, and octets whose base64 has '-' and '_'.
  for (const std::string pad : {"", "x", "xx", "xxx", "\xc3\xbf\xc3\xbe?>"}) {
    kube::ClusterConfig config;
    config.token = Token(Jwt("{\"p\":\"" + pad + "\",\"sub\":\"" + std::string(kName) + "\"}"));
    const auto name = OwnName(config);
    ASSERT_THAT(name, IsOk());
    EXPECT_EQ(*name, kName);
  }
}

TEST(OwnNameTest, IsTheUserToImpersonate) {
  kube::ClusterConfig config;
  config.token = Token(Jwt("{\"sub\":\"somebody\"}"));
  config.impersonation.user = kName;
  EXPECT_EQ(*OwnName(config), kName);
}

TEST(OwnNameTest, ReadsTheTokenFileOfAPod) {
  TempFolder folder;
  folder.Write("token", Jwt("{\"sub\":\"" + std::string(kName) + "\"}"));
  kube::ClusterConfig config;
  config.token_file = folder.path() / "token";
  EXPECT_EQ(*OwnName(config), kName);
  config.token_file = folder.path() / "absent";
  EXPECT_THAT(OwnName(config), IsErr(Code::kFailedPrecondition, "ConfigInvalid"));
}

TEST(OwnNameTest, IsTheCommonNameOfTheClientCertificate) {
  kube::ClusterConfig config;
  config.client_certificate_data = Certificate("signet");
  config.token = Token(Jwt(R"({"sub":"other"})"));
  EXPECT_EQ(*OwnName(config), "signet") << "the server looks at the certificate first";
  TempFolder folder;
  folder.Write("client.crt", Certificate("from-file"));
  config.client_certificate_data.clear();
  config.client_certificate_file = folder.path() / "client.crt";
  EXPECT_EQ(*OwnName(config), "from-file");
}

TEST(OwnNameTest, CredentialsThatNameNobodyNameTheFlag) {
  for (const std::string token : {"", "opaque", "a.b", "a.?.c", "a.e30.c", "a.W10.c", R"(a.eyJzdWIiOjd9.c)"}) {
    SCOPED_TRACE(token);
    kube::ClusterConfig config;
    config.token = Token(token);
    const auto name = OwnName(config);
    ASSERT_THAT(name, IsErr(Code::kFailedPrecondition, "ConfigInvalid"));
    EXPECT_THAT(name.error().message, HasSubstr("--username"));
  }
}

}  // namespace
}  // namespace signet::testing
