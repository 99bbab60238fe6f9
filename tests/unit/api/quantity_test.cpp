#include "api/quantity.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/sidecar_resources.hpp"
#include "support/matchers.hpp"

namespace signet::testing {
namespace {

using api::CheckSidecarResources;
using api::ParseQuantity;
using api::SidecarResources;
using ::testing::HasSubstr;

TEST(QuantityTest, ReadsWhatKubernetesReads) {
  EXPECT_DOUBLE_EQ(*ParseQuantity("100m"), 0.1);
  EXPECT_DOUBLE_EQ(*ParseQuantity("1.5"), 1.5);
  EXPECT_DOUBLE_EQ(*ParseQuantity(".5"), 0.5);
  EXPECT_DOUBLE_EQ(*ParseQuantity("2."), 2);
  EXPECT_DOUBLE_EQ(*ParseQuantity("+3"), 3);
  EXPECT_DOUBLE_EQ(*ParseQuantity("64Mi"), 67108864);
  EXPECT_DOUBLE_EQ(*ParseQuantity("64M"), 64e6);
  EXPECT_DOUBLE_EQ(*ParseQuantity("1k"), 1000);
  EXPECT_DOUBLE_EQ(*ParseQuantity("2e3"), 2000);
  EXPECT_DOUBLE_EQ(*ParseQuantity("2E-1"), 0.2);
  EXPECT_DOUBLE_EQ(*ParseQuantity("1E"), 1e18) << "exa, not an exponent";
  EXPECT_DOUBLE_EQ(*ParseQuantity("0"), 0);
}

TEST(QuantityTest, RefusesTheRest) {
  for (const char* text : {"",     "m",     ".",    "-1",    "1 Gi",
                           "64MB", "64mi",  "1K",   "1e",    "1e+",
                           "1e99", "1.2.3", "0x10", "1,5",   "111111111111111111111111111111111",
                           "1\n",  "NaN",   "inf",  "1e--1", "1e+-1"}) {
    EXPECT_FALSE(ParseQuantity(text).has_value()) << text;
  }
}

std::string Problem(const SidecarResources& resources) {
  const auto checked = CheckSidecarResources(resources, [](std::string_view member) { return std::string(member); });
  return checked ? "" : checked.error().message;
}

TEST(SidecarResourcesTest, TheDefaultsAreFine) { EXPECT_EQ(Problem({}), ""); }

TEST(SidecarResourcesTest, NamesTheMemberAndWhatToDo) {
  EXPECT_THAT(Problem({"x", "", "", ""}), HasSubstr("cpu-request: \"x\" is not a quantity"));
  EXPECT_THAT(Problem({"100Mi", "", "", ""}), HasSubstr("cpu-request: 100Mi is out of range"));
  EXPECT_THAT(Problem({"", "", "64m", ""}), HasSubstr("memory-request: 64m is out of range"));
  EXPECT_THAT(Problem({"", "", "", "8Mi"}), HasSubstr("memory-limit: 8Mi is out of range: from 16Mi"));
  EXPECT_EQ(Problem({"2", "1", "", ""}), "cpu-request: 2 is more than the limit 1: set cpu-limit too");
  EXPECT_EQ(Problem({"", "", "", ""}), "") << "nothing is asked for";
}

}  // namespace
}  // namespace signet::testing
