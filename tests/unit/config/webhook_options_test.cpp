#include "config/webhook_options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "support/matchers.hpp"

namespace signet::testing {
namespace {

using base::Code;
using config::PlanWebhook;
using config::WebhookOptions;
using config::WebhookPlan;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

WebhookOptions Of(std::string listen, std::string url = "", std::string service = "") {
  WebhookOptions options;
  options.listen = std::move(listen);
  options.url = std::move(url);
  options.service = std::move(service);
  return options;
}

WebhookPlan Plan(const WebhookOptions& options, bool in_cluster = false) {
  const auto plan = PlanWebhook(options, in_cluster, "signet-system");
  EXPECT_THAT(plan, IsOk());
  EXPECT_TRUE(plan && plan->has_value());
  return plan && *plan ? **plan : WebhookPlan{};
}

TEST(WebhookPlanTest, IsOffWithAKubeconfigUnlessGiven) {
  EXPECT_FALSE(PlanWebhook(Of(""), false, "ns")->has_value());
  EXPECT_FALSE(PlanWebhook(Of("off"), true, "ns")->has_value());
}

TEST(WebhookPlanTest, InAClusterTheServiceIsTheDefault) {
  const auto plan = Plan(Of(""), true);
  EXPECT_EQ(plan.listen, "0.0.0.0:9443");
  EXPECT_EQ(plan.host, "");
  EXPECT_EQ(plan.service_ns, "signet-system");
  EXPECT_EQ(plan.service_name, "signet-webhook");
  EXPECT_EQ(plan.port, 443);
  EXPECT_THAT(plan.dns_names,
              ElementsAre("signet-webhook.signet-system.svc", "signet-webhook.signet-system.svc.cluster.local"));
  EXPECT_THAT(plan.ip_addresses, IsEmpty());
}

TEST(WebhookPlanTest, ALoopbackAddressIsItsOwnUrl) {
  const auto plan = Plan(Of("127.0.0.1:0"));
  EXPECT_EQ(plan.host, "127.0.0.1");
  EXPECT_EQ(plan.port, 0);
  EXPECT_THAT(plan.ip_addresses, ElementsAre("127.0.0.1"));
  EXPECT_EQ(Plan(Of("[::1]:8443")).host, "::1");
}

TEST(WebhookPlanTest, UrlAndServiceNameTheCertificate) {
  const auto url = Plan(Of("0.0.0.0:9443", "https://hooks.example.com"));
  EXPECT_EQ(url.port, 443);
  EXPECT_THAT(url.dns_names, ElementsAre("hooks.example.com"));
  const auto address = Plan(Of("0.0.0.0:9443", "https://[0:0::7]:8443"));
  EXPECT_THAT(address.ip_addresses, ElementsAre("::7"));
  EXPECT_EQ(address.port, 8443);
  const auto service = Plan(Of("127.0.0.1:9443", "", "a/b:8443"));
  EXPECT_EQ(service.service_ns + "/" + service.service_name, "a/b");
  EXPECT_EQ(service.port, 8443);
  EXPECT_THAT(service.dns_names, ElementsAre("b.a.svc", "b.a.svc.cluster.local"));
}

TEST(WebhookPlanTest, RefusesWhatCannotWork) {
  struct Case {
    WebhookOptions options;
    const char* flag;
  };
  for (const auto& [options, flag] : std::vector<Case>{
           {Of("0.0.0.0:9443"), "--webhook-url or --webhook-service"},
           {Of("localhost:9443"), "--webhook"},
           {Of("127.0.0.1"), "--webhook"},
           {Of("127.0.0.1:70000"), "--webhook"},
           {Of("[::1:9443"), "--webhook"},
           {Of("", "https://x"), "--webhook ADDRESS:PORT"},
           {Of("127.0.0.1:1", "http://x"), "--webhook-url"},
           {Of("127.0.0.1:1", "https://"), "--webhook-url"},
           {Of("127.0.0.1:1", "https://x/path"), "--webhook-url"},
           {Of("127.0.0.1:1", "https://x:0"), "--webhook-url"},
           {Of("127.0.0.1:1", "https://u@x"), "--webhook-url"},
           {Of("127.0.0.1:1", "", "name"), "--webhook-service"},
           {Of("127.0.0.1:1", "", "a/b:x"), "--webhook-service"},
           {Of("127.0.0.1:1", "", "a/b.c"), "--webhook-service"},
           {Of("127.0.0.1:1", "https://x", "a/b"), "leave one out"},
           {Of("off", "https://x"), "--webhook off"},
       }) {
    const auto plan = PlanWebhook(options, false, "ns");
    ASSERT_THAT(plan, IsErr(Code::kInvalidArgument, "ConfigInvalid"))
        << options.listen << options.url << options.service;
    EXPECT_THAT(plan.error().message, HasSubstr(flag));
  }
}

}  // namespace
}  // namespace signet::testing
