#include "crypto/tls_trust.hpp"

#include "crypto/certificate.hpp"
#include "crypto/openssl_types.hpp"
#include "crypto/tls_session.hpp"
#include "support/matchers.hpp"

namespace signet::crypto {
namespace {

using base::AsBytes;
using base::Code;
using ::testing::HasSubstr;
using testing::IsErr;
using testing::IsOk;
using State = TlsSession::State;

CertificateAndKey NewCertificate(std::chrono::hours until = std::chrono::hours(1)) {
  CertificateOptions options;
  options.dns_names = {"gateway.example"};
  options.ip_addresses = {"10.0.0.1"};
  options.not_before = base::SystemClock().Now() - std::chrono::hours(2);
  options.not_after = base::SystemClock().Now() + until;
  return MakeServerCertificate(options).value();
}

/// An authority without a key identifier, and a server's certificate of it that names its issuer by the subject alone.
struct PlainChain {
  std::string authority_pem;
  std::string expired_authority_pem;  ///< of the same key
  CertificateAndKey server;
};

std::string PemOf(X509* certificate) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), certificate);
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

X509Ptr MakePlain(const char* subject, const char* issuer, EVP_PKEY* key, EVP_PKEY* signer, const char* extension,
                  const char* value, std::chrono::seconds until = std::chrono::hours(1)) {
  X509Ptr made(X509_new());
  X509_set_version(made.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(made.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(made.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(made.get()), until.count());
  for (const auto& [name, text] :
       {std::pair(X509_get_subject_name(made.get()), subject), std::pair(X509_get_issuer_name(made.get()), issuer)}) {
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(text), -1, -1, 0);
  }
  X509_set_pubkey(made.get(), key);
  X509_EXTENSION* added = X509V3_EXT_conf(nullptr, nullptr, extension, value);
  X509_add_ext(made.get(), added, -1);
  X509_EXTENSION_free(added);
  X509_sign(made.get(), signer, EVP_sha256());
  return made;
}

PlainChain NewPlainChain() {
  const PkeyPtr root(EVP_EC_gen("P-256"));
  const PkeyPtr own(EVP_EC_gen("P-256"));
  const auto authority = MakePlain("same", "same", root.get(), root.get(), "basicConstraints", "critical,CA:TRUE");
  const auto expired = MakePlain("same", "same", root.get(), root.get(), "basicConstraints", "critical,CA:TRUE",
                                 -std::chrono::minutes(1));
  const auto server = MakePlain("server", "same", own.get(), root.get(), "subjectAltName", "DNS:gateway.example");
  const BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_PKCS8PrivateKey(bio.get(), own.get(), nullptr, nullptr, 0, nullptr, nullptr);
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return {PemOf(authority.get()),
          PemOf(expired.get()),
          {PemOf(server.get()),
           base::Secret(base::ToBytes(AsBytes(std::string_view(text, static_cast<std::size_t>(size)))))}};
}

class TlsClientSideTest : public ::testing::Test {
 protected:
  TlsClientSideTest() { Serve(NewCertificate()); }
  void Serve(const CertificateAndKey& certificate) {
    context_ = TlsContext::Create(certificate.certificate_pem, certificate.key_pem).value();
    trust_ = TlsTrust::Create(certificate.certificate_pem).value();
  }
  void Connect(const std::string& name, const TlsTicket* ticket = nullptr) {
    server_ = TlsSession::Accept(context_).value();
    client_ = TlsSession::Connect(trust_, name, ticket).value();
    Exchange();
  }
  /// Carries octets until nobody has more to say.
  void Exchange() {
    for (int quiet = 0; quiet < 2;) {
      std::string up, down;
      client_->TakePending(up);
      server_->Receive(AsBytes(up));
      server_->TakePending(down);
      client_->Receive(AsBytes(down));
      quiet = up.empty() && down.empty() ? quiet + 1 : 0;
    }
  }
  static std::string ReadAll(TlsSession& session) {
    std::string text(1000, '\0');
    text.resize(session.Read({reinterpret_cast<std::uint8_t*>(text.data()), text.size()}));
    return text;
  }

  std::shared_ptr<const TlsContext> context_;
  std::shared_ptr<const TlsTrust> trust_;
  std::unique_ptr<TlsSession> server_, client_;
};

TEST_F(TlsClientSideTest, OpensForTheNameAndTheAddressOfTheCertificate) {
  for (const char* name : {"gateway.example", "10.0.0.1"}) {
    Connect(name);
    ASSERT_EQ(client_->state(), State::kOpen) << name << ": " << client_->failure().message;
    EXPECT_EQ(client_->version(), "TLSv1.3");
    std::string sent;
    ASSERT_THAT(client_->Encrypt(AsBytes("hello"), sent), IsOk());
    server_->Receive(AsBytes(sent));
    EXPECT_EQ(ReadAll(*server_), "hello");
  }
}

TEST_F(TlsClientSideTest, RefusesOtherNames) {
  for (const char* name : {"other.example", "10.0.0.2", "example", "gateway.example.evil"}) {
    Connect(name);
    ASSERT_EQ(client_->state(), State::kFailed) << name;
    EXPECT_EQ(client_->failure().reason, "CertificateRefused");
    EXPECT_THAT(client_->failure().message, HasSubstr("mismatch"));
    std::string none;
    EXPECT_THAT(client_->Encrypt(AsBytes("secret"), none), IsErr(Code::kFailedPrecondition));
  }
}

TEST_F(TlsClientSideTest, RefusesOtherAuthorities) {
  trust_ = TlsTrust::Create(NewCertificate().certificate_pem).value();
  Connect("gateway.example");
  EXPECT_EQ(client_->failure().reason, "CertificateRefused");
}

// While an authority is replaced, a bundle holds the old and the new one, often under one name.
TEST_F(TlsClientSideTest, TriesEveryAuthorityOfOneName) {
  const auto now = base::SystemClock().Now();
  const auto issued = [&] {
    const auto made = MakeAuthority({"same", now - std::chrono::hours(1), now + std::chrono::hours(1)}).value();
    CertificateOptions options;
    options.dns_names = {"gateway.example"};
    options.not_before = now - std::chrono::minutes(1);
    options.not_after = now + std::chrono::minutes(1);
    auto server = Authority::Load(made.certificate_pem, made.key_pem).value().Issue(options).value();
    return PlainChain{made.certificate_pem, "", std::move(server)};
  };
  const auto self_signed = [] {
    auto server = NewCertificate();
    return PlainChain{server.certificate_pem, "", std::move(server)};
  };
  for (const auto& make : {std::function<PlainChain()>(issued), std::function<PlainChain()>(self_signed),
                           std::function<PlainChain()>(&NewPlainChain)}) {
    const std::vector<PlainChain> chains = [&] {
      std::vector<PlainChain> out;
      for (int i = 0; i < 3; ++i) out.push_back(make());
      return out;
    }();
    std::string bundle;
    for (const auto& chain : chains) bundle += chain.authority_pem;
    for (const auto& chain : chains) {
      Serve(chain.server);
      trust_ = TlsTrust::Create(bundle).value();
      Connect("gateway.example");
      EXPECT_EQ(client_->state(), State::kOpen) << client_->failure().message;
    }
    Serve(make().server);  // of a fourth one of that name
    trust_ = TlsTrust::Create(bundle).value();
    Connect("gateway.example");
    EXPECT_EQ(client_->failure().reason, "CertificateRefused");
  }
}

TEST_F(TlsClientSideTest, PrefersTheAuthorityThatHasNotExpired) {
  const auto chain = NewPlainChain();
  Serve(chain.server);
  for (const auto& bundle :
       {chain.expired_authority_pem + chain.authority_pem, chain.authority_pem + chain.expired_authority_pem}) {
    trust_ = TlsTrust::Create(bundle).value();
    Connect("gateway.example");
    EXPECT_EQ(client_->state(), State::kOpen) << client_->failure().message;
  }
  trust_ = TlsTrust::Create(chain.expired_authority_pem + NewPlainChain().authority_pem).value();
  Connect("gateway.example");
  EXPECT_EQ(client_->failure().reason, "CertificateRefused");
}

TEST_F(TlsClientSideTest, RefusesExpiredCertificates) {
  Serve(NewCertificate(std::chrono::hours(-1)));
  Connect("gateway.example");
  EXPECT_EQ(client_->failure().reason, "CertificateRefused");
  EXPECT_THAT(client_->failure().message, HasSubstr("expired"));
}

TEST_F(TlsClientSideTest, ComesBackWithATicket) {
  Connect("gateway.example");
  EXPECT_FALSE(client_->resumed());
  ReadAll(*client_);  // TLS 1.3 sends tickets after the handshake
  const auto ticket = client_->ticket();
  ASSERT_NE(ticket, nullptr);
  client_.reset();
  for (int i = 0; i < 3; ++i) {
    Connect("gateway.example", ticket.get());
    ASSERT_EQ(client_->state(), State::kOpen);
    EXPECT_TRUE(client_->resumed()) << i;
  }
  Serve(NewCertificate());  // another replica knows nothing of it
  Connect("gateway.example", ticket.get());
  EXPECT_EQ(client_->state(), State::kOpen);
  EXPECT_FALSE(client_->resumed());
}

TEST_F(TlsClientSideTest, SaysWhatIsWrongWithTheOtherSide) {
  client_ = TlsSession::Connect(trust_, "gateway.example").value();
  client_->Receive(AsBytes("HTTP/1.1 400 Bad Request\r\n\r\n"));
  ASSERT_EQ(client_->state(), State::kFailed);
  EXPECT_EQ(client_->failure().reason, "HandshakeFailed");
  EXPECT_EQ(client_->ticket(), nullptr);
}

TEST_F(TlsClientSideTest, NeedsAName) { EXPECT_THAT(TlsSession::Connect(trust_, ""), IsErr(Code::kInvalidArgument)); }

TEST(TlsTrustTest, TakesSeveralAuthoritiesAndRefusesWhatIsNone) {
  const std::string one = NewCertificate().certificate_pem;
  EXPECT_THAT(TlsTrust::Create(one + "\ncomment\n" + NewCertificate().certificate_pem), IsOk());
  EXPECT_THAT(TlsTrust::Create(one + one), IsOk()) << "twice the same is no mistake";
  for (const std::string& bad : {std::string(), std::string("text"), one.substr(0, 200), one + one.substr(0, 100),
                                 std::string(TlsTrust::kMaxPem + 1, 'x')}) {
    EXPECT_THAT(TlsTrust::Create(bad), IsErr(Code::kInvalidArgument)) << bad.substr(0, 40);
  }
}

}  // namespace
}  // namespace signet::crypto
