// Certificates are judged by openssl and curl, and foreign ones come from openssl.
#include "crypto/certificate.hpp"

#include <algorithm>
#include <cstdlib>
#include <set>

#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::crypto {
namespace {

using base::Code;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsErr;
using testing::IsOk;
using ::testing::Not;
using ::testing::StartsWith;

CertificateOptions Options() {
  CertificateOptions options;
  options.common_name = "signet-operator";
  options.dns_names = {"signet-operator.signet-system.svc", "*.example.com"};
  options.ip_addresses = {"127.0.0.1", "::1"};
  options.not_before = base::ParseTime("2026-01-02T03:04:05.900Z").value();
  options.not_after = base::ParseTime("2099-06-07T08:09:10Z").value();
  return options;
}

class CertificateTest : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  /// What a command prints; its exit code must be 0.
  std::string Print(const std::string& command) const {
    EXPECT_EQ(std::system((command + " > " + path("out") + " 2>&1").c_str()), 0) << command << "\n"
                                                                                 << folder_.Read("out");
    return folder_.Read("out");
  }
  testing::TempFolder folder_;
};

TEST_F(CertificateTest, ReadsBackWhatItMade) {
  const auto made = MakeServerCertificate(Options());
  ASSERT_THAT(made, IsOk());
  EXPECT_THAT(made->certificate_pem, StartsWith("-----BEGIN CERTIFICATE-----\n"));
  EXPECT_THAT(std::string(base::AsText(made->key_pem.Reveal())), StartsWith("-----BEGIN PRIVATE KEY-----\n"));
  const auto info = ReadCertificate(made->certificate_pem);
  ASSERT_THAT(info, IsOk());
  EXPECT_EQ(base::FormatTimeSeconds(info->not_before), "2026-01-02T03:04:05Z");
  EXPECT_EQ(base::FormatTimeSeconds(info->not_after), "2099-06-07T08:09:10Z");
  EXPECT_THAT(info->dns_names, ElementsAre("signet-operator.signet-system.svc", "*.example.com"));
  EXPECT_THAT(info->ip_addresses, ElementsAre("127.0.0.1", "::1"));
  EXPECT_EQ(info->common_name, "signet-operator");
  EXPECT_THAT(info->organizations, IsEmpty());
  const auto with_key = ReadCertificate(std::string(base::AsText(made->key_pem.Reveal())) + made->certificate_pem);
  ASSERT_THAT(with_key, IsOk());
  EXPECT_EQ(with_key->sha256, info->sha256);
}

TEST_F(CertificateTest, MakesWhatOpensslExpectsOfAServer) {
  const auto made = MakeServerCertificate(Options()).value();
  folder_.Write("cert", made.certificate_pem);
  folder_.Write("key", base::AsText(made.key_pem.Reveal()));
  const std::string text = Print("openssl x509 -in " + path("cert") + " -noout -text -fingerprint -sha256");
  EXPECT_THAT(text, HasSubstr("Version: 3"));
  EXPECT_THAT(text, HasSubstr("ASN1 OID: prime256v1"));
  EXPECT_THAT(text, HasSubstr("ecdsa-with-SHA256"));
  EXPECT_THAT(text, HasSubstr("X509v3 Basic Constraints: critical\n                CA:FALSE"));
  EXPECT_THAT(text, HasSubstr("X509v3 Key Usage: critical\n                Digital Signature\n"));
  EXPECT_THAT(text, HasSubstr("X509v3 Extended Key Usage: \n                TLS Web Server Authentication\n"));
  EXPECT_THAT(text, HasSubstr("X509v3 Subject Key Identifier"));
  EXPECT_THAT(text, HasSubstr("DNS:signet-operator.signet-system.svc, DNS:*.example.com, IP Address:127.0.0.1"));
  std::string print = text.substr(text.find("Fingerprint=") + 12);
  std::erase_if(print, [](char c) { return c == ':' || c == '\n'; });
  std::transform(print.begin(), print.end(), print.begin(), [](unsigned char c) { return std::tolower(c); });
  EXPECT_EQ(print, ReadCertificate(made.certificate_pem)->sha256);
  EXPECT_EQ(Print("openssl x509 -in " + path("cert") + " -noout -pubkey"),
            Print("openssl pkey -in " + path("key") + " -pubout"));
  Print("openssl verify -x509_strict -purpose sslserver -CAfile " + path("cert") + " -verify_hostname " +
        "signet-operator.signet-system.svc " + path("cert"));
  Print("openssl verify -purpose sslserver -CAfile " + path("cert") + " -verify_ip ::1 " + path("cert"));
  Print("! openssl verify -purpose sslserver -CAfile " + path("cert") + " -verify_hostname other.svc " + path("cert"));
  Print("! openssl verify -purpose sslclient -CAfile " + path("cert") + " " + path("cert"));
}

TEST_F(CertificateTest, CanSignNoOtherCertificate) {
  const auto made = MakeServerCertificate(Options()).value();
  folder_.Write("ca", made.certificate_pem);
  folder_.Write("ca.key", base::AsText(made.key_pem.Reveal()));
  Print("openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=evil -keyout " + path("k") +
        " -out " + path("csr"));
  Print("openssl x509 -req -in " + path("csr") + " -CA " + path("ca") + " -CAkey " + path("ca.key") +
        " -CAcreateserial -days 1 -out " + path("leaf"));
  Print("! openssl verify -CAfile " + path("ca") + " " + path("leaf"));
}

TEST_F(CertificateTest, NeverUsesAKeyOrASerialAgain) {
  std::set<std::string> serials, keys;
  for (int i = 0; i < 20; ++i) {
    const auto made = MakeServerCertificate(Options()).value();
    folder_.Write("cert", made.certificate_pem);
    const std::string serial = Print("openssl x509 -in " + path("cert") + " -noout -serial");
    EXPECT_GE(serial.size(), std::string("serial=").size() + 24) << serial;
    EXPECT_THAT(serial, Not(HasSubstr("-")));
    serials.insert(serial);
    keys.insert(std::string(base::AsText(made.key_pem.Reveal())));
  }
  EXPECT_EQ(serials.size(), 20U);
  EXPECT_EQ(keys.size(), 20U);
}

TEST_F(CertificateTest, RefusesWhatCannotStandInACertificate) {
  const auto refuses = [](void (*change)(CertificateOptions&)) {
    CertificateOptions options = Options();
    change(options);
    return !MakeServerCertificate(options) && MakeServerCertificate(options).error().code == Code::kInvalidArgument;
  };
  for (const char* host : {"", "a b", "-a", "a-", "a..b", ".a", "a.", "a*", "*", "*.*.a", "a_b", "caf\xC3\xA9"}) {
    CertificateOptions options = Options();
    options.dns_names = {host};
    EXPECT_THAT(MakeServerCertificate(options), IsErr(Code::kInvalidArgument)) << host;
  }
  for (const char* address : {"", "localhost", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.4/8", "::g", "::1%lo"}) {
    CertificateOptions options = Options();
    options.ip_addresses = {address};
    EXPECT_THAT(MakeServerCertificate(options), IsErr(Code::kInvalidArgument)) << address;
  }
  EXPECT_TRUE(refuses([](auto& o) { o.dns_names = {std::string(64, 'a')}; }));
  EXPECT_TRUE(refuses([](auto& o) { o.dns_names = {std::string("a\0b", 3)}; }));
  EXPECT_TRUE(refuses([](auto& o) { o.ip_addresses = {std::string("1.2.3.4\0", 8)}; }));
  EXPECT_TRUE(refuses([](auto& o) { o.dns_names.assign(65, "a"); }));
  EXPECT_TRUE(refuses([](auto& o) { o.dns_names.clear(), o.ip_addresses.clear(); }));
  EXPECT_TRUE(refuses([](auto& o) { o.common_name.clear(); }));
  EXPECT_TRUE(refuses([](auto& o) { o.common_name = std::string(65, 'n'); }));
  EXPECT_TRUE(refuses([](auto& o) { o.common_name = "a\nb"; }));
  EXPECT_TRUE(refuses([](auto& o) { o.not_after = o.not_before; }));
  EXPECT_TRUE(refuses([](auto& o) { std::swap(o.not_after, o.not_before); }));
  EXPECT_TRUE(refuses([](auto& o) { o.not_before = base::TimePoint(std::chrono::seconds(-1)); }));
}

TEST_F(CertificateTest, ReadsTheUserAndGroupsOfAClientCertificate) {
  Print(
      "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -utf8 -subj "
      "'/O=system:masters/O=Entwickler \xC3\xBC/CN=alice@example.com' -keyout " +
      path("key") + " -out " + path("cert"));
  const auto info = ReadCertificate(folder_.Read("cert"));
  ASSERT_THAT(info, IsOk());
  EXPECT_EQ(info->common_name, "alice@example.com");
  EXPECT_THAT(info->organizations, ElementsAre("system:masters", "Entwickler \xC3\xBC"));
  EXPECT_THAT(info->dns_names, IsEmpty());
  EXPECT_EQ(info->not_after - info->not_before, std::chrono::hours(24));
}

TEST_F(CertificateTest, RefusesWhatIsNoCertificate) {
  const auto made = MakeServerCertificate(Options()).value();
  const std::string& pem = made.certificate_pem;
  EXPECT_THAT(ReadCertificate(""), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(ReadCertificate("garbage"), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(ReadCertificate(base::AsText(made.key_pem.Reveal())), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(ReadCertificate(std::string(65 * 1024, '\n') + pem), IsErr(Code::kInvalidArgument));
  for (std::size_t size = 0; size + 1 < pem.size(); ++size) {
    ASSERT_THAT(ReadCertificate(std::string_view(pem).substr(0, size)), IsErr(Code::kInvalidArgument)) << size;
  }
  // An encrypted one must fail, not ask the terminal for a password.
  EXPECT_THAT(ReadCertificate("-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,"
                              "00112233445566778899AABBCCDDEEFF\n\nAAAA\n-----END CERTIFICATE-----\n"),
              IsErr(Code::kInvalidArgument));
}

}  // namespace
}  // namespace signet::crypto
