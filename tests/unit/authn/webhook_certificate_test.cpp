#include "authn/webhook_certificate.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "authn/installation_key.hpp"
#include "encoding/text.hpp"
#include "fakes/fake_clock.hpp"
#include "fakes/fake_store.hpp"
#include "support/matchers.hpp"

namespace signet::testing {
namespace {

using authn::Secrets;
using authn::WebhookCertificate;
using base::Code;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using namespace std::chrono_literals;

constexpr const char* kNs = "signet-system";
constexpr auto kLifetime = 90min;

class WebhookCertificateTest : public ::testing::Test {
 protected:
  WebhookCertificate::Options Options() const {
    WebhookCertificate::Options options;
    options.ns = kNs;
    options.dns_names = {"hook.signet-system.svc", "hook.signet-system.svc.cluster.local"};
    options.lifetime = kLifetime;
    options.pause = 10s;
    return options;
  }
  WebhookCertificate::State Look(WebhookCertificate& certificate, bool leads = true) {
    auto state = certificate.Look(leads);
    EXPECT_THAT(state, IsOk());
    return state ? *state : WebhookCertificate::State{};
  }
  json Secret() {
    auto secret = store_.Get(Secrets(), kNs, WebhookCertificate::kSecret);
    EXPECT_THAT(secret, IsOk());
    return secret ? *secret : json();
  }
  std::string Member(const char* name) {
    const json secret = Secret();
    return secret["data"].contains(name)
               ? std::string(base::AsText(*encoding::FromBase64(secret["data"][name].get<std::string>())))
               : std::string();
  }
  void SetMember(const char* name, const json& value) {
    json secret = Secret();
    secret["data"][name] = value;
    ASSERT_THAT(store_.Update(Secrets(), kNs, WebhookCertificate::kSecret, secret), IsOk());
  }

  FakeClock clock_;
  FakeStore store_{clock_};
  WebhookCertificate certificate_{store_, clock_, Options()};
};

TEST_F(WebhookCertificateTest, MakesOneThatNamesTheService) {
  const auto state = Look(certificate_, false);
  ASSERT_NE(state.serve, nullptr);
  EXPECT_EQ(state.bundle, Member("tls.crt"));
  EXPECT_EQ(Secret()["type"], "kubernetes.io/tls");
  const auto info = crypto::ReadCertificate(state.bundle);
  ASSERT_THAT(info, IsOk());
  EXPECT_THAT(info->dns_names, ElementsAre("hook.signet-system.svc", "hook.signet-system.svc.cluster.local"));
  EXPECT_EQ(info->not_after, clock_.Now() + kLifetime);
  EXPECT_LT(info->not_before, clock_.Now());
  EXPECT_FALSE(state.rotating);
}

TEST_F(WebhookCertificateTest, ReplicasServeTheSameOne) {
  WebhookCertificate other(store_, clock_, Options());
  EXPECT_EQ(Look(certificate_).sha256, Look(other, false).sha256);
  EXPECT_EQ(store_.CountCalls("Create"), 1U);
  EXPECT_EQ(store_.CountCalls("Update"), 0U);
}

TEST_F(WebhookCertificateTest, RotatesWithoutServingWhatIsNotTrustedYet) {
  const auto old = Look(certificate_);
  certificate_.OnBundleInstalled(old.bundle);
  clock_.Advance(kLifetime * 2 / 3 - 1s);
  EXPECT_FALSE(Look(certificate_).rotating);
  clock_.Advance(2s);
  EXPECT_FALSE(Look(certificate_, false).rotating) << "only the leader begins";
  const auto begun = Look(certificate_);
  EXPECT_TRUE(begun.rotating);
  EXPECT_EQ(begun.sha256, old.sha256);
  EXPECT_EQ(begun.bundle, Member("tls.crt") + Member("next.crt"));
  clock_.Advance(60s);
  EXPECT_EQ(Look(certificate_).sha256, old.sha256) << "the configurations do not have the next one yet";
  certificate_.OnBundleInstalled(begun.bundle);
  clock_.Advance(9s);
  certificate_.OnBundleInstalled(begun.bundle);
  EXPECT_EQ(Look(certificate_).sha256, old.sha256) << "within the pause";
  clock_.Advance(1s);
  const std::string next = Member("next.crt");
  EXPECT_EQ(Look(certificate_, false).sha256, old.sha256) << "only the leader ends it";
  const auto done = Look(certificate_);
  EXPECT_NE(done.sha256, old.sha256);
  EXPECT_FALSE(done.rotating);
  EXPECT_EQ(done.bundle, next + old.bundle) << "the old one stays for replicas that serve it still";
  WebhookCertificate other(store_, clock_, Options());
  EXPECT_EQ(Look(other, false).sha256, done.sha256);
  clock_.Advance(kLifetime / 3);
  EXPECT_EQ(Look(certificate_).bundle, next) << "an expired one leaves the bundle";
}

TEST_F(WebhookCertificateTest, OneThatExpiresDuringTheRotationGivesWayToTheNext) {
  Look(certificate_);
  clock_.Advance(kLifetime * 2 / 3 + 1s);
  const auto begun = Look(certificate_);
  certificate_.OnBundleInstalled(begun.bundle);
  const std::string next = Member("next.crt");
  clock_.Advance(kLifetime / 3);  // nobody looked in time
  const auto late = Look(certificate_);
  EXPECT_EQ(late.sha256, crypto::ReadCertificate(next)->sha256) << "one that the configurations have";
  EXPECT_EQ(late.bundle, next);
  EXPECT_EQ(Member("tls.crt"), next);
  EXPECT_FALSE(late.rotating);
  WebhookCertificate other(store_, clock_, Options());
  EXPECT_EQ(Look(other, false).sha256, late.sha256);
}

TEST_F(WebhookCertificateTest, ADamagedOneGivesWayToTheNextWhereNoneIsServed) {
  Look(certificate_);
  clock_.Advance(kLifetime * 2 / 3 + 1s);
  Look(certificate_);
  const std::string next = Member("next.crt");
  SetMember("tls.crt", "AAAA");
  WebhookCertificate started_later(store_, clock_, Options());
  EXPECT_EQ(Look(started_later, false).bundle, next);
  EXPECT_EQ(Member("tls.crt"), next);
}

TEST_F(WebhookCertificateTest, ANewLeaderGoesOnWithTheRotation) {
  Look(certificate_);
  clock_.Advance(kLifetime * 2 / 3 + 1s);
  const auto begun = Look(certificate_);
  WebhookCertificate successor(store_, clock_, Options());
  EXPECT_EQ(Look(successor).bundle, begun.bundle);
  clock_.Advance(60s);
  EXPECT_EQ(Look(successor).sha256, begun.sha256) << "it has not seen the bundle installed itself";
  successor.OnBundleInstalled(begun.bundle);
  clock_.Advance(10s);
  EXPECT_NE(Look(successor).sha256, begun.sha256);
}

TEST_F(WebhookCertificateTest, ADeletedOneComesBackWithoutABreak) {
  const auto old = Look(certificate_);
  ASSERT_THAT(store_.Delete(Secrets(), kNs, WebhookCertificate::kSecret, ""), IsOk());
  const auto begun = Look(certificate_);
  EXPECT_EQ(begun.sha256, old.sha256);
  EXPECT_TRUE(begun.rotating);
  certificate_.OnBundleInstalled(begun.bundle);
  clock_.Advance(10s);
  const auto renewed = Look(certificate_);
  EXPECT_NE(renewed.sha256, old.sha256);
  EXPECT_EQ(renewed.sha256, crypto::ReadCertificate(Member("tls.crt"))->sha256);
}

TEST_F(WebhookCertificateTest, DamageIsPutRight) {
  const std::string foreign_key = [&] {
    FakeStore elsewhere(clock_);
    WebhookCertificate other(elsewhere, clock_, Options());
    Look(other);
    return elsewhere.Get(Secrets(), kNs, WebhookCertificate::kSecret)->at("data").at("tls.key").get<std::string>();
  }();
  struct Case {
    const char* member;
    json value;
  };
  for (const auto& [member, value] : std::vector<Case>{{"tls.crt", "AAAA"},
                                                       {"tls.crt", 7},
                                                       {"tls.crt", "not base64!"},
                                                       {"tls.key", ""},
                                                       {"tls.key", foreign_key}}) {
    SCOPED_TRACE(std::string(member) + value.dump());
    const auto before = Look(certificate_);
    SetMember(member, value);
    WebhookCertificate started_later(store_, clock_, Options());
    const auto state = Look(started_later);
    EXPECT_NE(state.sha256, before.sha256);
    EXPECT_EQ(state.bundle, Member("tls.crt"));
    EXPECT_THAT(crypto::ReadCertificate(state.bundle), IsOk());
  }
}

TEST_F(WebhookCertificateTest, OneOfOtherNamesOrExpiredIsMadeAnew) {
  const auto old = Look(certificate_);
  auto options = Options();
  options.dns_names.clear();
  options.ip_addresses = {"127.0.0.1"};
  WebhookCertificate moved(store_, clock_, options);
  const auto state = Look(moved);
  EXPECT_NE(state.sha256, old.sha256);
  EXPECT_THAT(crypto::ReadCertificate(state.bundle)->ip_addresses, ElementsAre("127.0.0.1"));
  clock_.Advance(kLifetime + 1s);
  WebhookCertificate late(store_, clock_, options);
  EXPECT_NE(Look(late).sha256, state.sha256);
}

TEST_F(WebhookCertificateTest, OfTwoWritersOneWins) {
  int gets = 0;
  WebhookCertificate other(store_, clock_, Options());
  const auto theirs = Look(other);
  store_.set_fault([&](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
    if (call.verb == "Get" && gets++ == 0) return FakeStore::Fault{base::MakeError(Code::kNotFound, "not yet"), false};
    return std::nullopt;
  });
  EXPECT_EQ(Look(certificate_).sha256, theirs.sha256);
}

TEST_F(WebhookCertificateTest, PassesOnWhatTheStoreSays) {
  Look(certificate_);
  store_.set_fault([](const FakeStore::Call&) {
    return FakeStore::Fault{base::MakeError(Code::kUnavailable, "away"), false};
  });
  EXPECT_THAT(certificate_.Look(true), IsErr(Code::kUnavailable));
}

}  // namespace
}  // namespace signet::testing
