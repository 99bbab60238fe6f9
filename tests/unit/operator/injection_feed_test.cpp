#include "operator/injection_feed.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "authn/gateway_certificate.hpp"
#include "crypto/certificate.hpp"
#include "fakes/fake_clock.hpp"
#include "fakes/fake_store.hpp"
#include "reconcile/resources.hpp"
#include "support/matchers.hpp"

namespace signet::testing {
namespace {

using namespace std::chrono_literals;
using base::Code;
using frontend::SidecarForm;
using nlohmann::json;
using ::testing::HasSubstr;

class InjectionFeedTest : public ::testing::Test {
 protected:
  InjectionFeedTest() { plan_.image = "signet:1", plan_.gateway_url = "https://g"; }

  app::InjectionFeed& Feed() {
    if (!feed_) feed_.emplace(plan_, "signet-system", "1", store_, clock_);
    return *feed_;
  }
  std::string Certificate() const {
    crypto::CertificateOptions options;
    options.dns_names = {"g"};
    options.not_before = clock_.Now();
    options.not_after = clock_.Now() + 24h;
    return crypto::MakeServerCertificate(options)->certificate_pem;
  }
  void Publish(json data) {
    const json object = {{"metadata", {{"name", "signet-gateway-ca"}}}, {"data", std::move(data)}};
    if (store_.Get(authn::ConfigMaps(), "signet-system", "signet-gateway-ca")) {
      ASSERT_THAT(store_.Update(authn::ConfigMaps(), "signet-system", "signet-gateway-ca", object), IsOk());
    } else {
      ASSERT_THAT(store_.Create(authn::ConfigMaps(), "signet-system", object), IsOk());
    }
  }
  frontend::AdmissionVerdict Ask() {
    frontend::AdmissionReview review;
    review.kind = "Pod";
    review.ns = "ci";
    review.object = {{"metadata", json::object()}, {"spec", {{"containers", json::array({{{"name", "app"}}})}}}};
    return Feed().injector().Judge(review);
  }
  std::string CaInPod() {
    const auto verdict = Ask();
    EXPECT_TRUE(verdict.allowed) << verdict.message;
    const auto args = verdict.patch.back()["value"][0]["args"];
    const auto flag = std::find(args.begin(), args.end(), "--gateway-ca-pem");
    return flag == args.end() ? "" : (flag + 1)->get<std::string>();
  }
  void Fail(const std::string& verb) {
    store_.set_fault([verb](const FakeStore::Call& call) -> std::optional<FakeStore::Fault> {
      if (call.verb != verb) return std::nullopt;
      return FakeStore::Fault{base::MakeError(Code::kUnavailable, "Down", "no connection"), false};
    });
  }

  FakeClock clock_;
  FakeStore store_;
  config::InjectionPlan plan_;
  std::optional<app::InjectionFeed> feed_;
};

TEST_F(InjectionFeedTest, PodsAreRefusedUntilTheCaIsThere) {
  EXPECT_THAT(Feed().Step(false), IsErr(Code::kUnavailable));
  EXPECT_THAT(Ask().message, HasSubstr("ConfigMap signet-system/signet-gateway-ca is not there yet"));
  Publish({{"other", "x"}});
  EXPECT_THAT(Feed().Step(false), IsErr(Code::kUnavailable));
  EXPECT_THAT(Ask().message, HasSubstr("has no ca.crt"));
  Publish({{"ca.crt", "not PEM"}});
  EXPECT_THAT(Feed().Step(false), IsErr(Code::kUnavailable));
  EXPECT_THAT(Ask().message, HasSubstr("holds no certificate"));
  const auto pem = Certificate();
  Publish({{"ca.crt", pem}});
  EXPECT_THAT(Feed().Step(false), IsOk());
  EXPECT_EQ(CaInPod(), pem);
}

TEST_F(InjectionFeedTest, ANewCaIsSeenAndAnAbsentOneChangesNothing) {
  Publish({{"ca.crt", Certificate()}});
  ASSERT_THAT(Feed().Step(false), IsOk());
  const auto pem = Certificate();
  Publish({{"ca.crt", pem}});
  clock_.Advance(11s);
  EXPECT_THAT(Feed().Step(false), IsOk());
  EXPECT_EQ(CaInPod(), pem);
  Fail("Get");
  clock_.Advance(60s);
  EXPECT_THAT(Feed().Step(false), IsOk());
  EXPECT_EQ(CaInPod(), pem);
}

TEST_F(InjectionFeedTest, TheServersVersionDecidesTheFormAndIsReadAgain) {
  Publish({{"ca.crt", Certificate()}});
  store_.set_server_version({{"major", "1"}, {"minor", "28"}});
  ASSERT_THAT(Feed().Step(false), IsOk());
  EXPECT_EQ(Ask().patch.back()["path"], "/spec/containers/-");
  store_.set_server_version({{"major", "1"}, {"minor", "29+"}});
  clock_.Advance(61s);
  ASSERT_THAT(Feed().Step(false), IsOk());
  EXPECT_EQ(Ask().patch.back()["path"], "/spec/initContainers");
}

TEST_F(InjectionFeedTest, WithoutAVersionThereIsNoGuess) {
  Publish({{"ca.crt", Certificate()}});
  Fail("ServerVersion");
  EXPECT_THAT(Feed().Step(false), IsErr(Code::kUnavailable));
  EXPECT_FALSE(Ask().allowed);
}

TEST_F(InjectionFeedTest, TheTokensAudienceIsTheGateways) {
  plan_.audience = "sign.example.com";
  Publish({{"ca.crt", Certificate()}});
  ASSERT_THAT(Feed().Step(false), IsOk());
  const json identity = Ask().patch[1]["value"][1];
  EXPECT_EQ(identity["projected"]["sources"][0]["serviceAccountToken"]["audience"], "sign.example.com");
}

TEST_F(InjectionFeedTest, AChosenFormNeedsNoVersion) {
  plan_.form = config::InjectionOptions::Form::kContainer;
  Publish({{"ca.crt", Certificate()}});
  Fail("ServerVersion");
  EXPECT_THAT(Feed().Step(false), IsOk());
  EXPECT_EQ(Ask().patch.back()["path"], "/spec/containers/-");
}

TEST_F(InjectionFeedTest, TheLeaderLabelsNamespaces) {
  Publish({{"ca.crt", Certificate()}});
  ASSERT_THAT(store_.Create(reconcile::Namespaces(), "", {{"metadata", {{"name", "kube-system"}}}}), IsOk());
  ASSERT_THAT(store_.Create(reconcile::Namespaces(), "", {{"metadata", {{"name", "signet-system"}}}}), IsOk());
  EXPECT_THAT(Feed().Step(false), IsOk());
  EXPECT_EQ(store_.CountCalls("MergePatch"), 0U);
  EXPECT_THAT(Feed().Step(true), IsOk());
  EXPECT_EQ(store_.CountCalls("MergePatch"), 2U);
}

TEST(FormForTest, ReadsVersionsAsVendorsWriteThem) {
  const auto form = [](const char* major, const char* minor) {
    return app::FormFor({{"major", major}, {"minor", minor}});
  };
  EXPECT_EQ(*form("1", "20"), SidecarForm::kContainer);
  EXPECT_EQ(*form("1", "28+"), SidecarForm::kContainer);
  EXPECT_EQ(*form("1", "29"), SidecarForm::kNative);
  EXPECT_EQ(*form("1", "33+"), SidecarForm::kNative);
  EXPECT_EQ(*form("2", "0"), SidecarForm::kNative);
  EXPECT_THAT(form("1", ""), IsErr(Code::kUnavailable));
  EXPECT_THAT(app::FormFor(json::array()), IsErr(Code::kUnavailable));
  EXPECT_THAT(app::FormFor({{"major", 1}, {"minor", 29}}), IsErr(Code::kUnavailable));
}

}  // namespace
}  // namespace signet::testing
