// Authorities are judged by openssl, and foreign ones come from openssl.
#include <cstdlib>

#include "crypto/certificate.hpp"
#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::crypto {
namespace {

using base::Code;
using ::testing::HasSubstr;
using testing::IsErr;
using testing::IsOk;

AuthorityOptions Ours() {
  return {"signet-gateway-ca", base::ParseTime("2026-01-02T03:04:05Z").value(),
          base::ParseTime("2099-06-07T08:09:10Z").value()};
}

CertificateOptions Leaf() {
  CertificateOptions options;
  options.common_name = "signet-gateway";
  options.dns_names = {"signet-gateway.signet-system.svc", "signet-gateway"};
  options.ip_addresses = {"127.0.0.1"};
  options.not_before = base::ParseTime("2026-01-02T03:04:05Z").value();
  options.not_after = base::ParseTime("2098-01-01T00:00:00Z").value();
  return options;
}

class AuthorityTest : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  /// What a command prints; its exit code must be 0.
  std::string Print(const std::string& command) const {
    EXPECT_EQ(std::system((command + " > " + path("out") + " 2>&1").c_str()), 0) << command << "\n"
                                                                                 << folder_.Read("out");
    return folder_.Read("out");
  }
  void Keep(const std::string& name, const CertificateAndKey& made) const {
    folder_.Write(name, made.certificate_pem);
    folder_.Write(name + ".key", base::AsText(made.key_pem.Reveal()));
  }
  base::Result<Authority> LoadFiles(const std::string& certificate, const std::string& key) const {
    return Authority::Load(folder_.Read(certificate), base::Secret(base::ToBytes(base::AsBytes(folder_.Read(key)))));
  }
  /// A self-signed certificate of openssl's, with these extensions.
  void MakeForeign(const std::string& name, const std::string& key, const std::string& extensions) const {
    Print("openssl req -x509 -newkey " + key + " -nodes -days 30 -subj /CN=corp -keyout " + path(name + ".key") +
          " -out " + path(name) + " -config /dev/null -addext " + extensions);
  }
  testing::TempFolder folder_;
};

TEST_F(AuthorityTest, IsWhatOpensslExpectsOfAnAuthority) {
  Keep("ca", MakeAuthority(Ours()).value());
  const std::string text = Print("openssl x509 -in " + path("ca") + " -noout -text");
  EXPECT_THAT(text, HasSubstr("Version: 3"));
  EXPECT_THAT(text, HasSubstr("ASN1 OID: prime256v1"));
  EXPECT_THAT(text, HasSubstr("X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0"));
  EXPECT_THAT(text, HasSubstr("X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n"));
  EXPECT_THAT(text, HasSubstr("X509v3 Subject Key Identifier"));
  EXPECT_TRUE(ReadCertificate(folder_.Read("ca"))->is_authority);
}

TEST_F(AuthorityTest, SignsWhatClientsAcceptUnderItAlone) {
  Keep("ca", MakeAuthority(Ours()).value());
  Keep("other", MakeAuthority(Ours()).value());
  const auto authority = LoadFiles("ca", "ca.key");
  ASSERT_THAT(authority, IsOk());
  const auto leaf = authority->Issue(Leaf());
  ASSERT_THAT(leaf, IsOk());
  Keep("leaf", *leaf);
  const std::string verify = "openssl verify -x509_strict -purpose sslserver -CAfile ";
  Print(verify + path("ca") + " -verify_hostname signet-gateway.signet-system.svc " + path("leaf"));
  Print(verify + path("ca") + " -verify_hostname signet-gateway " + path("leaf"));
  Print(verify + path("ca") + " -verify_ip 127.0.0.1 " + path("leaf"));
  Print("! " + verify + path("ca") + " -verify_hostname elsewhere.svc " + path("leaf"));
  Print("! " + verify + path("other") + " " + path("leaf"));
  Print("! " + verify + path("leaf") + " " + path("leaf"));
  Print("! openssl verify -purpose sslclient -CAfile " + path("ca") + " " + path("leaf"));
  const std::string text = Print("openssl x509 -in " + path("leaf") + " -noout -text");
  EXPECT_THAT(text, HasSubstr("Issuer: CN = signet-gateway-ca"));
  EXPECT_THAT(text, HasSubstr("Subject: CN = signet-gateway\n"));
  EXPECT_THAT(text, HasSubstr("X509v3 Basic Constraints: critical\n                CA:FALSE"));
  EXPECT_THAT(text, HasSubstr("X509v3 Key Usage: critical\n                Digital Signature\n"));
  EXPECT_THAT(text, HasSubstr("X509v3 Extended Key Usage: \n                TLS Web Server Authentication\n"));
  EXPECT_THAT(text, HasSubstr("X509v3 Authority Key Identifier"));
  EXPECT_FALSE(ReadCertificate(leaf->certificate_pem)->is_authority);
  EXPECT_EQ(Print("openssl x509 -in " + path("leaf") + " -noout -pubkey"),
            Print("openssl pkey -in " + path("leaf.key") + " -pubout"));
}

TEST_F(AuthorityTest, MakesNoFurtherAuthority) {
  Keep("ca", MakeAuthority(Ours()).value());
  Keep("leaf", LoadFiles("ca", "ca.key")->Issue(Leaf()).value());
  EXPECT_THAT(LoadFiles("leaf", "leaf.key"), IsErr(Code::kInvalidArgument));
  // Not even openssl can make one under it that a client would follow: pathlen:0.
  Print("openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=sub -keyout " + path("sub.key") +
        " -out " + path("csr"));
  folder_.Write("ext", "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n");
  Print("openssl x509 -req -in " + path("csr") + " -CA " + path("ca") + " -CAkey " + path("ca.key") +
        " -CAcreateserial -days 1 -extfile " + path("ext") + " -out " + path("sub"));
  const auto sub = LoadFiles("sub", "sub.key");
  ASSERT_THAT(sub, IsOk());
  auto options = Leaf();
  options.not_after = ReadCertificate(folder_.Read("sub"))->not_after;
  options.not_before = ReadCertificate(folder_.Read("sub"))->not_before;
  Keep("deep", sub->Issue(options).value());
  Print("! openssl verify -CAfile " + path("ca") + " -untrusted " + path("sub") + " " + path("deep"));
}

TEST_F(AuthorityTest, TakesAnAuthorityFromElsewhere) {
  for (const std::string key : {"rsa:2048", "ec -pkeyopt ec_paramgen_curve:P-384"}) {
    MakeForeign("corp", key, "basicConstraints=critical,CA:TRUE");
    const auto authority = LoadFiles("corp", "corp.key");
    ASSERT_THAT(authority, IsOk()) << key;
    const auto info = ReadCertificate(folder_.Read("corp")).value();
    auto options = Leaf();
    options.not_before = info.not_before;
    options.not_after = info.not_after;
    Keep("leaf", authority->Issue(options).value());
    Print("openssl verify -purpose sslserver -CAfile " + path("corp") + " -verify_hostname signet-gateway " +
          path("leaf"));
  }
}

TEST_F(AuthorityTest, RefusesWhatIsNone) {
  Keep("ca", MakeAuthority(Ours()).value());
  Keep("other", MakeAuthority(Ours()).value());
  MakeForeign("server", "ec -pkeyopt ec_paramgen_curve:P-256", "basicConstraints=critical,CA:FALSE");
  MakeForeign("use", "ec -pkeyopt ec_paramgen_curve:P-256",
              "basicConstraints=critical,CA:TRUE -addext keyUsage=digitalSignature");
  MakeForeign("weak", "rsa:1024", "basicConstraints=critical,CA:TRUE");
  folder_.Write("junk", "junk");
  EXPECT_THAT(LoadFiles("ca", "other.key"), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(LoadFiles("ca", "junk"), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(LoadFiles("junk", "ca.key"), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(LoadFiles("server", "server.key"), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(LoadFiles("use", "use.key"), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(LoadFiles("weak", "weak.key"), IsErr(Code::kInvalidArgument));
  EXPECT_FALSE(ReadCertificate(folder_.Read("use"))->is_authority);
}

TEST_F(AuthorityTest, SignsNothingThatWouldOutliveIt) {
  Keep("ca", MakeAuthority(Ours()).value());
  const auto authority = LoadFiles("ca", "ca.key");
  auto options = Leaf();
  options.not_after = Ours().not_after;
  EXPECT_THAT(authority->Issue(options), IsOk());
  options.not_after += std::chrono::seconds(1);
  EXPECT_THAT(authority->Issue(options), IsErr(Code::kInvalidArgument));
  options = Leaf();
  options.dns_names = {"a b"};
  EXPECT_THAT(authority->Issue(options), IsErr(Code::kInvalidArgument));
}

TEST_F(AuthorityTest, HasANameAndAnEnd) {
  auto options = Ours();
  options.common_name.clear();
  EXPECT_THAT(MakeAuthority(options), IsErr(Code::kInvalidArgument));
  options = Ours();
  options.not_after = options.not_before;
  EXPECT_THAT(MakeAuthority(options), IsErr(Code::kInvalidArgument));
}

}  // namespace
}  // namespace signet::crypto
