#include "config/injection_options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "config/reader.hpp"
#include "support/matchers.hpp"

namespace signet::testing {
namespace {

using base::Code;
using config::InjectionOptions;
using config::PlanInjection;
using ::testing::HasSubstr;

InjectionOptions Of(std::string image) {
  InjectionOptions options;
  options.sidecar_image = std::move(image);
  return options;
}

std::string Problem(const InjectionOptions& options) {
  const auto checked = Validate(options);
  return checked ? "" : checked.error().message;
}

TEST(InjectionOptionsTest, IsOffWithoutAnImage) {
  const auto plan = PlanInjection(Of(""), true, "https://g");
  ASSERT_THAT(plan, IsOk());
  EXPECT_FALSE(plan->has_value());
}

TEST(InjectionOptionsTest, SidecarsAskTheGateway) {
  const auto plan = PlanInjection(Of("signet:1"), true, "https://signet-gateway.prod.svc:443");
  ASSERT_THAT(plan, IsOk());
  EXPECT_EQ((*plan)->gateway_url, "https://signet-gateway.prod.svc:443");
  EXPECT_EQ((*plan)->image, "signet:1");
}

TEST(InjectionOptionsTest, NeedsTheWebhookAndAGateway) {
  const auto without = PlanInjection(Of("signet:1"), false, "https://g");
  EXPECT_THAT(without, IsErr(Code::kInvalidArgument));
  EXPECT_THAT(without.error().message, HasSubstr("--webhook"));
  EXPECT_THAT(PlanInjection(Of("signet:1"), true, "").error().message, HasSubstr("--gateway"));
}

TEST(InjectionOptionsTest, ChecksImageAndResources) {
  for (const char* image : {"signet", "registry.example.com:5000/a/signet:1.2_3-x", "signet@sha256:0123abcd"}) {
    EXPECT_EQ(Problem(Of(image)), "") << image;
  }
  for (const char* image : {"a b", "signet:", "/signet", "-signet", "signet;rm", "https://x/signet?"}) {
    EXPECT_THAT(Problem(Of(image)), HasSubstr("--sidecar-image")) << image;
  }
  auto options = Of("i");
  options.resources.memory_request = "1Gi";
  EXPECT_EQ(Problem(options),
            "injection.memoryRequest: 1Gi is more than the limit 64Mi: set injection.memoryLimit too");
}

TEST(InjectionOptionsTest, ReadsItsSection) {
  const nlohmann::json document = {{"injection",
                                    {{"sidecarImage", "signet:2"},
                                     {"form", "container"},
                                     {"cpuRequest", "20m"},
                                     {"cpuLimit", "1"},
                                     {"memoryRequest", "40Mi"},
                                     {"memoryLimit", "80Mi"}}}};
  config::Reader reader(document, "");
  InjectionOptions options;
  ReadInjection(reader.Section("injection"), options);
  ASSERT_THAT(reader.Finish(), IsOk());
  EXPECT_EQ(options.sidecar_image, "signet:2");
  EXPECT_EQ(options.form, InjectionOptions::Form::kContainer);
  EXPECT_EQ(config::ParseSidecarForm("native"), InjectionOptions::Form::kNative);
  EXPECT_EQ(config::ParseSidecarForm("other"), std::nullopt);
  EXPECT_EQ(options.resources, (api::SidecarResources{"20m", "1", "40Mi", "80Mi"}));
}

}  // namespace
}  // namespace signet::testing
