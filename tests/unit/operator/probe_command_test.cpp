#include "operator/probe_command.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "frontend/readiness.hpp"

namespace signet::testing {
namespace {

using app::FailingChecks;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

http::ClientResponse Of(const std::vector<frontend::Check>& checks) {
  const auto made = frontend::ReadinessResponse(checks);
  http::ClientResponse response;
  response.status = made.status;
  response.body = made.body;
  return response;
}

TEST(ProbeCommandTest, IsSilentWhenReady) {
  EXPECT_THAT(FailingChecks(Of({{"hsm", true, "", ""}, {"webhook", true, "Odd", "told all the same"}})), IsEmpty());
}

TEST(ProbeCommandTest, SaysALineForEachFailingCheck) {
  EXPECT_THAT(FailingChecks(Of({{"hsm", false, "TokenAbsent", "no token\nprod"},
                                {"audit", true, "", ""},
                                {"objects", false, "", "not listed"}})),
              ElementsAre("hsm: TokenAbsent: no token prod", "objects: not listed"));
}

TEST(ProbeCommandTest, SaysTheStatusOfWhatIsNoReadiness) {
  for (const char* body : {"", "[]", "{}", R"({"checks":1})", R"({"checks":[1]})", "<html>"}) {
    http::ClientResponse response;
    response.status = 502;
    response.body = body;
    EXPECT_THAT(FailingChecks(response), ElementsAre("not ready: HTTP status 502")) << body;
  }
}

}  // namespace
}  // namespace signet::testing
