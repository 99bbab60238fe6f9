#include "authn/gateway_certificate.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "authn/installation_key.hpp"
#include "encoding/text.hpp"
#include "fakes/fake_clock.hpp"
#include "fakes/fake_store.hpp"
#include "support/matchers.hpp"
#include "support/temp_folder.hpp"

namespace signet::testing {
namespace {

using authn::ConfigMaps;
using authn::GatewayCertificate;
using authn::Secrets;
using base::Code;
using nlohmann::json;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

constexpr const char* kNs = "signet-system";
constexpr const char* kName = "signet-gateway-ca";

class GatewayCertificateTest : public ::testing::Test {
 protected:
  GatewayCertificate::Options Options() const {
    GatewayCertificate::Options options;
    options.ns = kNs;
    options.dns_names = {"signet-gateway.signet-system.svc"};
    options.ip_addresses = {"127.0.0.1"};
    options.lifetime = 24h;
    return options;
  }
  json Secret() { return store_.Get(Secrets(), kNs, kName).value(); }
  std::string Member(const char* name) {
    return std::string(base::AsText(*encoding::FromBase64(Secret()["data"][name].get<std::string>())));
  }
  std::string Published() { return store_.Get(ConfigMaps(), kNs, kName).value()["data"]["ca.crt"].get<std::string>(); }
  void SetSecret(const std::string& certificate, const std::string& key, const std::string& trusted = "") {
    json secret = Secret();
    secret["data"] = {{"tls.crt", encoding::ToBase64(base::AsBytes(certificate))},
                      {"tls.key", encoding::ToBase64(base::AsBytes(key))}};
    if (!trusted.empty()) secret["data"]["trusted.crt"] = encoding::ToBase64(base::AsBytes(trusted));
    ASSERT_THAT(store_.Update(Secrets(), kNs, kName, secret), IsOk());
  }
  void Delete(const kube::Resource& resource) { ASSERT_THAT(store_.Delete(resource, kNs, kName, ""), IsOk()); }
  void Outage(bool away) {
    if (!away) return store_.set_fault({});
    store_.set_fault([](const FakeStore::Call&) -> std::optional<FakeStore::Fault> {
      return FakeStore::Fault{base::MakeError(Code::kUnavailable, "no connection")};
    });
  }
  crypto::CertificateAndKey Another() {
    return crypto::MakeAuthority({"corp", clock_.Now() - 1h, clock_.Now() + 24h * 365}).value();
  }

  FakeClock clock_;
  FakeStore store_{clock_};
};

TEST_F(GatewayCertificateTest, MakesAnAuthorityAndPublishesItsCertificateAlone) {
  GatewayCertificate ours(store_, clock_, Options());
  EXPECT_EQ(ours.context(), nullptr);
  ASSERT_THAT(ours.Look(), IsOk());
  ASSERT_NE(ours.context(), nullptr);
  EXPECT_EQ(ours.not_after(), clock_.Now() + 24h);
  EXPECT_EQ(Secret()["type"], "kubernetes.io/tls");
  EXPECT_EQ(Published(), Member("tls.crt"));
  EXPECT_EQ(Published(), ours.bundle());
  const auto info = crypto::ReadCertificate(Published()).value();
  EXPECT_TRUE(info.is_authority);
  EXPECT_GE(info.not_after, clock_.Now() + 24h * 3650);
  EXPECT_EQ(store_.Get(ConfigMaps(), kNs, kName).value()["data"].size(), 1U);
}

TEST_F(GatewayCertificateTest, OfSeveralReplicasOneMakesTheAuthority) {
  GatewayCertificate first(store_, clock_, Options()), second(store_, clock_, Options());
  // The second finds nothing, and somebody else is faster.
  bool raced = false;
  store_.set_fault([&](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
    if (call.verb == "Create" && call.resource == Secrets() && !std::exchange(raced, true)) {
      EXPECT_THAT(first.Look(), IsOk());
    }
    return std::nullopt;
  });
  ASSERT_THAT(second.Look(), IsOk());
  EXPECT_TRUE(raced);
  EXPECT_EQ(first.bundle(), second.bundle());
  EXPECT_NE(first.context(), second.context()) << "each has a certificate of its own";
  const auto version = Secret()["metadata"]["resourceVersion"];
  ASSERT_THAT(first.Look(), IsOk());
  EXPECT_EQ(Secret()["metadata"]["resourceVersion"], version);
}

TEST_F(GatewayCertificateTest, RenewsAfterTwoThirdsAlsoWithoutTheApiServer) {
  GatewayCertificate ours(store_, clock_, Options());
  ASSERT_THAT(ours.Look(), IsOk());
  const auto first = ours.context();
  clock_.Advance(16h - 1s);
  ASSERT_THAT(ours.Look(), IsOk());
  EXPECT_EQ(ours.context(), first);
  Outage(true);
  clock_.Advance(1s);
  EXPECT_THAT(ours.Look(), IsErr(Code::kUnavailable));
  EXPECT_NE(ours.context(), first);
  EXPECT_EQ(ours.not_after(), clock_.Now() + 24h);
}

TEST_F(GatewayCertificateTest, WritesAnAuthorityThatWasDeletedAgain) {
  GatewayCertificate ours(store_, clock_, Options());
  ASSERT_THAT(ours.Look(), IsOk());
  const auto before = Member("tls.crt"), key = Member("tls.key");
  const auto context = ours.context();
  Delete(Secrets());
  Delete(ConfigMaps());
  ASSERT_THAT(ours.Look(), IsOk());
  EXPECT_EQ(Member("tls.crt"), before);
  EXPECT_EQ(Member("tls.key"), key);
  EXPECT_EQ(Published(), before);
  EXPECT_EQ(ours.context(), context);
}

TEST_F(GatewayCertificateTest, PutsAnEditedConfigMapRight) {
  GatewayCertificate ours(store_, clock_, Options());
  ASSERT_THAT(ours.Look(), IsOk());
  json map = store_.Get(ConfigMaps(), kNs, kName).value();
  map["data"] = {{"ca.crt", "evil"}, {"other", "stays"}};
  ASSERT_THAT(store_.Update(ConfigMaps(), kNs, kName, map), IsOk());
  ASSERT_THAT(ours.Look(), IsOk());
  EXPECT_EQ(Published(), ours.bundle());
  EXPECT_EQ(store_.Get(ConfigMaps(), kNs, kName).value()["data"]["other"], "stays");
}

TEST_F(GatewayCertificateTest, GoesOverToAnotherAuthority) {
  GatewayCertificate ours(store_, clock_, Options());
  ASSERT_THAT(ours.Look(), IsOk());
  const auto before = ours.context();
  const std::string old = Member("tls.crt"), old_key = Member("tls.key");
  const auto next = Another();
  SetSecret(old, old_key, next.certificate_pem);
  ASSERT_THAT(ours.Look(), IsOk());
  EXPECT_EQ(ours.context(), before);
  EXPECT_EQ(Published(), old + next.certificate_pem) << "callers learn to trust the next one first";
  SetSecret(next.certificate_pem, std::string(base::AsText(next.key_pem.Reveal())), old);
  ASSERT_THAT(ours.Look(), IsOk());
  EXPECT_NE(ours.context(), before);
  EXPECT_EQ(Published(), next.certificate_pem + old);
}

TEST_F(GatewayCertificateTest, LeavesASecretThatHoldsNoAuthorityAlone) {
  GatewayCertificate ours(store_, clock_, Options());
  ASSERT_THAT(ours.Look(), IsOk());
  const auto context = ours.context();
  const auto next = Another();
  SetSecret(next.certificate_pem, Member("tls.key"));
  const auto version = Secret()["metadata"]["resourceVersion"];
  const auto looked = ours.Look();
  ASSERT_THAT(looked, IsErr(Code::kFailedPrecondition, "GatewayCAInvalid"));
  EXPECT_THAT(looked.error().message, HasSubstr("signet-system/signet-gateway-ca"));
  EXPECT_EQ(ours.context(), context) << "what was served goes on";
  EXPECT_EQ(Secret()["metadata"]["resourceVersion"], version);
  GatewayCertificate fresh(store_, clock_, Options());
  EXPECT_THAT(fresh.Look(), IsErr(Code::kFailedPrecondition, "GatewayCAInvalid"));
  EXPECT_EQ(fresh.context(), nullptr);
}

TEST_F(GatewayCertificateTest, RefusesAnAuthorityThatIsOver) {
  const auto over = crypto::MakeAuthority({"corp", clock_.Now() - 48h, clock_.Now() - 1s}).value();
  {
    GatewayCertificate ours(store_, clock_, Options());
    ASSERT_THAT(ours.Look(), IsOk());
  }
  SetSecret(over.certificate_pem, std::string(base::AsText(over.key_pem.Reveal())));
  GatewayCertificate ours(store_, clock_, Options());
  const auto looked = ours.Look();
  ASSERT_THAT(looked, IsErr(Code::kFailedPrecondition, "GatewayCAInvalid"));
  EXPECT_THAT(looked.error().message, HasSubstr("expired"));
}

TEST_F(GatewayCertificateTest, NeverOutlivesTheAuthority) {
  {
    GatewayCertificate ours(store_, clock_, Options());
    ASSERT_THAT(ours.Look(), IsOk());
  }
  const auto ending = crypto::MakeAuthority({"corp", clock_.Now() - 48h, clock_.Now() + 1h}).value();
  SetSecret(ending.certificate_pem, std::string(base::AsText(ending.key_pem.Reveal())));
  GatewayCertificate ours(store_, clock_, Options());
  ASSERT_THAT(ours.Look(), IsOk());
  EXPECT_EQ(ours.not_after(), clock_.Now() + 1h);
}

}  // namespace
}  // namespace signet::testing
