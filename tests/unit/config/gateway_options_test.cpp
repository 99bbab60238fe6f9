#include "config/gateway_options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/matchers.hpp"

namespace signet::config {
namespace {

using base::Code;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsErr;
using testing::IsOk;

GatewayPlan Plan(const GatewayOptions& options, bool in_cluster) {
  auto plan = PlanGateway(options, in_cluster, "signet-system");
  EXPECT_THAT(plan, IsOk());
  EXPECT_TRUE(plan && plan->has_value());
  return plan && *plan ? **plan : GatewayPlan{};
}

TEST(GatewayPlanTest, ServesInAClusterWithoutBeingTold) {
  const auto plan = Plan({}, true);
  EXPECT_EQ(plan.listen, "0.0.0.0:8443");
  EXPECT_EQ(plan.url, "https://signet-gateway.signet-system.svc:443");
  EXPECT_THAT(plan.dns_names,
              ElementsAre("signet-gateway.signet-system.svc", "signet-gateway.signet-system.svc.cluster.local",
                          "signet-gateway.signet-system", "signet-gateway"));
  EXPECT_THAT(plan.ip_addresses, IsEmpty());
}

TEST(GatewayPlanTest, IsOffWithAKubeconfigAndWhenTold) {
  EXPECT_FALSE(PlanGateway({}, false, "ns")->has_value());
  GatewayOptions off;
  off.listen = "off";
  EXPECT_FALSE(PlanGateway(off, true, "ns")->has_value());
  GatewayOptions named;
  named.names = {"a.example"};
  EXPECT_THAT(PlanGateway(named, false, "ns"), IsErr(Code::kInvalidArgument, "ConfigInvalid"));
}

TEST(GatewayPlanTest, NamesAnAddressThatIsOne) {
  GatewayOptions options;
  options.listen = "127.0.0.1:8443";
  auto plan = Plan(options, false);
  EXPECT_EQ(plan.url, "https://127.0.0.1:8443");
  EXPECT_THAT(plan.ip_addresses, ElementsAre("127.0.0.1"));
  options.listen = "[::1]:0";
  plan = Plan(options, false);
  EXPECT_EQ(plan.url, "https://[::1]:0");
  EXPECT_THAT(plan.ip_addresses, ElementsAre("::1"));
  options.listen = "[::]:8443";
  EXPECT_THAT(Plan(options, false).ip_addresses, IsEmpty());
}

TEST(GatewayPlanTest, TakesServiceUrlAndFurtherNames) {
  GatewayOptions options;
  options.service = "tools/door:8443";
  options.names = {"sign.example.com", "10.0.0.7", "10.0.0.7"};
  auto plan = Plan(options, true);
  EXPECT_EQ(plan.url, "https://door.tools.svc:8443");
  EXPECT_THAT(plan.dns_names, Contains("door.tools.svc.cluster.local"));
  EXPECT_THAT(plan.dns_names, Contains("sign.example.com"));
  EXPECT_THAT(plan.ip_addresses, ElementsAre("10.0.0.7"));
  options.url = "https://gate.example.com:9000";
  plan = Plan(options, true);
  EXPECT_EQ(plan.url, options.url);
  EXPECT_THAT(plan.dns_names, Contains("gate.example.com")) << "what sidecars ask for";
}

TEST(GatewayOptionsTest, RefusesByTheNameOfTheFlag) {
  const auto refuses = [](void (*change)(GatewayOptions&), const char* flag) {
    GatewayOptions options;
    change(options);
    const auto valid = Validate(options);
    ASSERT_THAT(valid, IsErr(Code::kInvalidArgument, "ConfigInvalid")) << flag;
    EXPECT_THAT(valid.error().message, HasSubstr(flag));
  };
  refuses([](auto& o) { o.listen = "8443"; }, "--gateway ");
  refuses([](auto& o) { o.listen = "localhost:8443"; }, "--gateway ");
  refuses([](auto& o) { o.listen = "0.0.0.0"; }, "--gateway ");
  refuses([](auto& o) { o.service = "gateway"; }, "--gateway-service");
  refuses([](auto& o) { o.url = "http://gateway"; }, "--gateway-url");
  refuses([](auto& o) { o.names = {"a b"}; }, "--gateway-name");
  refuses([](auto& o) { o.names.assign(33, "a.example"); }, "--gateway-name");
  refuses([](auto& o) { o.audience = ""; }, "--gateway-audience");
  refuses([](auto& o) { o.audience = "a b"; }, "--gateway-audience");
  EXPECT_THAT(Validate(GatewayOptions{}), IsOk());
}

}  // namespace
}  // namespace signet::config
