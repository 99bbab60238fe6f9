#include "crypto/tls_session.hpp"

#include <cstdlib>

#include "crypto/certificate.hpp"
#include "support/matchers.hpp"
#include "support/temp_folder.hpp"
#include "support/tls_client.hpp"

namespace signet::crypto {
namespace {

using base::AsBytes;
using base::Code;
using ::testing::HasSubstr;
using State = TlsSession::State;
using testing::IsErr;
using testing::IsOk;

CertificateAndKey NewCertificate() {
  CertificateOptions options;
  options.dns_names = {"localhost"};
  options.not_before = base::SystemClock().Now() - std::chrono::hours(1);
  options.not_after = base::SystemClock().Now() + std::chrono::hours(1);
  return MakeServerCertificate(options).value();
}
base::Secret SecretOf(std::string_view text) { return base::Secret(base::ToBytes(AsBytes(text))); }

class TlsSessionTest : public ::testing::Test {
 protected:
  TlsSessionTest() : certificate_(NewCertificate()), client_(certificate_.certificate_pem) {
    context_ = TlsContext::Create(certificate_.certificate_pem, certificate_.key_pem).value();
    Accept();
  }
  void Accept() { server_ = TlsSession::Accept(context_).value(); }

  /// Carries octets until nobody has more to say; `step` octets at a time to the server.
  void Exchange(std::size_t step = 1 << 14) {
    for (int idle = 0; idle < 2;) {
      std::string to_client;
      server_->TakePending(to_client);
      client_.Receive(to_client);
      const std::string to_server = client_.Pending();
      Give(to_server, step);
      idle = to_client.empty() && to_server.empty() ? idle + 1 : 0;
    }
  }
  void Give(std::string_view text, std::size_t step = 1 << 14) {
    while (!text.empty()) {
      server_->Receive(AsBytes(text.substr(0, step)));
      text.remove_prefix(std::min(step, text.size()));
      Read();
    }
  }
  void Read(std::size_t step = 1000) {
    base::Bytes part(step);
    while (const std::size_t size = server_->Read(part)) plain_ += base::AsText({part.data(), size});
  }
  void Open() {
    Exchange();
    ASSERT_EQ(server_->state(), State::kOpen) << base::Describe(server_->failure());
    ASSERT_TRUE(client_.open()) << client_.error();
  }
  void Say(std::string_view text) {
    std::string ciphertext;
    ASSERT_THAT(server_->Encrypt(AsBytes(text), ciphertext), IsOk());
    client_.Receive(ciphertext);
  }

  CertificateAndKey certificate_;
  std::shared_ptr<const TlsContext> context_;
  std::unique_ptr<TlsSession> server_;
  testing::TlsClient client_;
  std::string plain_;  ///< what the server read
};

TEST_F(TlsSessionTest, CarriesOctetsBothWays) {
  Open();
  EXPECT_EQ(server_->version(), "TLSv1.3");
  Give(client_.Encrypt("hello"));
  EXPECT_EQ(plain_, "hello");
  Say("world");
  EXPECT_EQ(client_.Read(), "world");
  std::string nothing;
  ASSERT_THAT(server_->Encrypt({}, nothing), IsOk());
  EXPECT_EQ(nothing, "");
}

TEST_F(TlsSessionTest, TakesOctetsOneAtATime) {
  Exchange(1);
  ASSERT_EQ(server_->state(), State::kOpen);
  Give(client_.Encrypt("slow but steady"), 1);
  EXPECT_EQ(plain_, "slow but steady");
}

TEST_F(TlsSessionTest, CarriesMegabytes) {
  Open();
  std::string large(3'000'000, '\0');
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * i >> 3);
  Give(client_.Encrypt(large));
  EXPECT_TRUE(plain_ == large);
  Say(large);
  EXPECT_TRUE(client_.Read() == large);
}

TEST_F(TlsSessionTest, ServesTls12WithForwardSecrecy) {
  SSL_CTX_set_max_proto_version(client_.context(), TLS1_2_VERSION);
  client_.Reconnect();
  Open();
  EXPECT_EQ(server_->version(), "TLSv1.2");
  EXPECT_THAT(SSL_get_cipher_name(client_.ssl()), HasSubstr("ECDHE-ECDSA-"));
  EXPECT_THAT(SSL_get_cipher_name(client_.ssl()), HasSubstr("GCM"));
  Give(client_.Encrypt("hello"));
  EXPECT_EQ(plain_, "hello");
}

TEST_F(TlsSessionTest, RefusesOldVersionsAndSuites) {
  SSL_CTX_set_security_level(client_.context(), 0);
  SSL_CTX_set_min_proto_version(client_.context(), TLS1_VERSION);
  SSL_CTX_set_max_proto_version(client_.context(), TLS1_1_VERSION);
  client_.Reconnect();
  Exchange();
  EXPECT_EQ(server_->state(), State::kFailed);
  EXPECT_THAT(client_.error(), HasSubstr("alert protocol version")) << "the client is told";

  SSL_CTX_set_max_proto_version(client_.context(), TLS1_2_VERSION);
  for (const char* suite :
       {"AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES128-SHA", "NULL", "aNULL"}) {
    ASSERT_EQ(SSL_CTX_set_cipher_list(client_.context(), suite), 1) << suite;
    client_.Reconnect();
    Accept();
    Exchange();
    EXPECT_EQ(server_->state(), State::kFailed) << suite;
    EXPECT_EQ(server_->failure().reason, "HandshakeFailed");
  }
}

TEST_F(TlsSessionTest, SelectsHttp11AndNothingElse) {
  const auto offer = [&](std::string_view protocols) {
    client_.Reconnect();
    SSL_set_alpn_protos(client_.ssl(), AsBytes(protocols).data(), static_cast<unsigned>(protocols.size()));
    Accept();
    Exchange();
    const unsigned char* chosen = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(client_.ssl(), &chosen, &size);
    return std::string(base::AsText({chosen, size}));
  };
  EXPECT_EQ(offer("\x02h2\x08http/1.1"), "http/1.1");
  EXPECT_EQ(server_->state(), State::kOpen);
  EXPECT_EQ(offer("\x08http/1.1"), "http/1.1");
  EXPECT_EQ(offer("\x02h2"), "");
  EXPECT_EQ(server_->state(), State::kFailed);
  EXPECT_THAT(client_.error(), HasSubstr("no application protocol"));
}

TEST_F(TlsSessionTest, SaysAndHearsCloseNotify) {
  Open();
  std::string last = client_.Encrypt("last words");
  Give(last += client_.CloseNotify());
  EXPECT_EQ(plain_, "last words");
  EXPECT_EQ(server_->state(), State::kClosed);
  std::string out;
  ASSERT_THAT(server_->Encrypt(AsBytes("answer"), out), IsOk()) << "the other half is still open";
  server_->Close(out);
  client_.Receive(out);
  EXPECT_EQ(client_.Read(), "answer");
  EXPECT_TRUE(client_.closed());
  out.clear();
  server_->Close(out);
  EXPECT_EQ(out, "") << "once";
  EXPECT_THAT(server_->Encrypt(AsBytes("more"), out), IsErr(Code::kFailedPrecondition));
}

TEST_F(TlsSessionTest, SaysNothingBeforeItIsOpen) {
  std::string out;
  EXPECT_THAT(server_->Encrypt(AsBytes("early"), out), IsErr(Code::kFailedPrecondition));
  server_->Close(out);
  EXPECT_EQ(out, "");
  base::Bytes part(10);
  EXPECT_EQ(server_->Read(part), 0U);
  EXPECT_EQ(server_->state(), State::kHandshaking);
  server_->Receive({});
  EXPECT_EQ(server_->state(), State::kHandshaking);
}

TEST_F(TlsSessionTest, TellsPlainHttpApart) {
  server_->Receive(AsBytes("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  EXPECT_EQ(server_->state(), State::kFailed);
  EXPECT_EQ(server_->failure().reason, "PlainHttp");
  Accept();
  server_->Receive(AsBytes("POST /v1/sign HTTP/1.1\r\n"));
  EXPECT_EQ(server_->failure().reason, "PlainHttp");
}

TEST_F(TlsSessionTest, RefusesGarbage) {
  for (const std::string& garbage :
       {std::string(2000, 'x'), std::string(2000, '\0'), std::string("\x16\x03\x01\xFF\xFF\x01", 6),
        std::string("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10), std::string("\x15\x03\x03\x00\x02\x02\x28", 7)}) {
    Accept();
    server_->Receive(AsBytes(garbage));
    EXPECT_EQ(server_->state(), State::kFailed) << garbage.substr(0, 6);
    EXPECT_EQ(server_->failure().reason, "HandshakeFailed");
    EXPECT_EQ(server_->failure().code, Code::kUnavailable);
    server_->Receive(AsBytes(garbage));  // ignored
    std::string out;
    server_->Close(out);
    EXPECT_THAT(server_->Encrypt(AsBytes("x"), out), IsErr(Code::kFailedPrecondition));
  }
}

TEST_F(TlsSessionTest, RefusesTamperedRecords) {
  Open();
  std::string record = client_.Encrypt("approve");
  record.back() = static_cast<char>(record.back() ^ 1);
  Give(record);
  EXPECT_EQ(plain_, "");
  EXPECT_EQ(server_->state(), State::kFailed);
  EXPECT_EQ(server_->failure().reason, "TlsFailed");
  std::string alert;
  server_->TakePending(alert);
  client_.Receive(alert);
  EXPECT_THAT(client_.error(), HasSubstr("bad record mac"));
}

TEST_F(TlsSessionTest, HoldsABoundedAmount) {
  Open();
  std::string all;
  while (all.size() <= TlsSession::kMaxHeld) all += client_.Encrypt(std::string(10'000, 'x'));
  server_->Receive(AsBytes(all));  // nobody reads
  EXPECT_EQ(server_->state(), State::kFailed);
  EXPECT_EQ(server_->failure().code, Code::kResourceExhausted);
}

TEST_F(TlsSessionTest, DoesNotRenegotiate) {
  SSL_CTX_set_max_proto_version(client_.context(), TLS1_2_VERSION);
  client_.Reconnect();
  Open();
  SSL_renegotiate(client_.ssl());
  SSL_do_handshake(client_.ssl());
  Exchange();
  EXPECT_THAT(client_.error(), HasSubstr("no renegotiation"));
}

TEST_F(TlsSessionTest, AnswersKeyUpdates) {
  Open();
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(SSL_key_update(client_.ssl(), SSL_KEY_UPDATE_REQUESTED), 1);
    Give(client_.Encrypt("after update"));
    Exchange();
    Say("answer");
    EXPECT_EQ(client_.Read(), "answer");
  }
  EXPECT_EQ(plain_, "after updateafter updateafter update");
}

SSL_SESSION* kept_session = nullptr;

TEST_F(TlsSessionTest, ResumesWithATicketOfItsContextOnly) {
  SSL_CTX_set_session_cache_mode(client_.context(), SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(client_.context(), [](SSL*, SSL_SESSION* session) {
    SSL_SESSION_free(std::exchange(kept_session, session));
    return 1;
  });
  Open();
  EXPECT_FALSE(server_->resumed());
  ASSERT_NE(kept_session, nullptr);
  const auto again = [&] {
    client_.Reconnect();
    SSL_set_session(client_.ssl(), kept_session);
    Accept();
    Exchange();
    EXPECT_EQ(server_->state(), State::kOpen);
    return server_->resumed();
  };
  EXPECT_TRUE(again());
  context_ = TlsContext::Create(certificate_.certificate_pem, certificate_.key_pem).value();
  EXPECT_FALSE(again()) << "other ticket keys";
  SSL_SESSION_free(std::exchange(kept_session, nullptr));
}

TEST_F(TlsSessionTest, KeepsItsContextAlive) {
  context_.reset();
  Open();
  Give(client_.Encrypt("hello"));
  EXPECT_EQ(plain_, "hello");
}

TEST(TlsContextTest, RefusesWhatDoesNotFit) {
  const auto one = NewCertificate();
  const auto two = NewCertificate();
  EXPECT_THAT(TlsContext::Create(one.certificate_pem, one.key_pem), IsOk());
  EXPECT_THAT(TlsContext::Create(one.certificate_pem, two.key_pem), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(TlsContext::Create("", one.key_pem), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(TlsContext::Create("garbage", one.key_pem), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(TlsContext::Create(one.certificate_pem, base::Secret()), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(TlsContext::Create(one.certificate_pem, SecretOf("garbage")), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(TlsContext::Create(one.certificate_pem + std::string(17000, '\n'), one.key_pem),
              IsErr(Code::kInvalidArgument));
  EXPECT_THAT(TlsContext::Create(one.certificate_pem + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                                 one.key_pem),
              IsErr(Code::kInvalidArgument));
}

TEST(TlsContextTest, RefusesEncryptedAndWeakKeys) {
  const testing::TempFolder folder;
  const auto shell = [&](const std::string& command) {
    ASSERT_EQ(std::system(("cd " + folder.path().string() + " && " + command + " > /dev/null 2>&1").c_str()), 0)
        << command;
  };
  shell("openssl req -x509 -newkey rsa:1024 -nodes -days 1 -subj /CN=weak -keyout weak.key -out weak.pem");
  EXPECT_THAT(TlsContext::Create(folder.Read("weak.pem"), SecretOf(folder.Read("weak.key"))),
              IsErr(Code::kInvalidArgument));
  shell("openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=good -keyout good.key -out good.pem");
  EXPECT_THAT(TlsContext::Create(folder.Read("good.pem"), SecretOf(folder.Read("good.key"))), IsOk());
  shell("openssl pkey -in good.key -aes128 -passout pass:secret -out locked.key");
  EXPECT_THAT(TlsContext::Create(folder.Read("good.pem"), SecretOf(folder.Read("locked.key"))),
              IsErr(Code::kInvalidArgument));
}

}  // namespace
}  // namespace signet::crypto
