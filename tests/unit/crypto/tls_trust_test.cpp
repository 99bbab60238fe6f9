#include "crypto/tls_trust.hpp"

#include "crypto/certificate.hpp"
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
