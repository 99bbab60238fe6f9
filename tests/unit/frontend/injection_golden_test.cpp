// Whole AdmissionReviews and their whole answers: golden/*.json. SIGNET_UPDATE_GOLDEN=1 writes the answers anew.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "encoding/text.hpp"
#include "fakes/fake_clock.hpp"
#include "frontend/injector.hpp"

namespace signet::testing {
namespace {

using json = nlohmann::ordered_json;  // files keep the order in which people read them

const std::string kCa =
    "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlzaWduZXQ=\n"
    "-----END CERTIFICATE-----\n";

std::vector<std::string> Cases() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(SIGNET_SOURCE_DIR "/tests/unit/frontend/golden")) {
    names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class InjectionGoldenTest : public ::testing::TestWithParam<std::string> {
 protected:
  InjectionGoldenTest() : injector_(clock_, {"kube-system", "signet-system"}) {}

  void Configure(const std::string& form) {
    frontend::InjectionOptions options;
    options.image = "registry.example.com/signet:0.4.0";
    options.gateway_url = "https://signet-gateway.signet-system.svc:443";
    options.gateway_ca = kCa;
    options.form = form == "native" ? frontend::SidecarForm::kNative : frontend::SidecarForm::kContainer;
    options.version = "0.4.0";
    injector_.Set(options);
  }

  /// The answer, its patch decoded.
  json Ask(const json& review) {
    http::Request request;
    request.method = "POST";
    request.target = "/inject";
    request.content_type = "application/json";
    const std::string body = review.dump();
    request.body = body;
    json answer;
    injector_.Handle(request, [&](const http::Response& response) {
      EXPECT_EQ(response.status, 200) << response.body;
      answer = json::parse(response.body);
    });
    if (answer["response"].contains("patch")) {
      const auto patch = encoding::FromBase64(answer["response"]["patch"].get<std::string>());
      answer["response"]["patch"] = json::parse(base::AsText(*patch));
    }
    return answer;
  }

  FakeClock clock_;
  frontend::Injector injector_;
};

TEST_P(InjectionGoldenTest, IsAnsweredAsWritten) {
  const std::string file = std::string(SIGNET_SOURCE_DIR "/tests/unit/frontend/golden/") + GetParam() + ".json";
  json golden = json::parse(std::ifstream(file));
  Configure(golden["form"].get<std::string>());
  const json answer = Ask(golden["review"]);
  if (std::getenv("SIGNET_UPDATE_GOLDEN") != nullptr) {  // NOLINT(concurrency-mt-unsafe)
    golden["answer"] = answer;
    std::ofstream(file) << golden.dump(1) << "\n";
  }
  EXPECT_EQ(nlohmann::json(answer), nlohmann::json(golden["answer"])) << answer.dump(1);
  EXPECT_EQ(answer["response"]["allowed"], !GetParam().starts_with("refused-"));

  // Asked again about what came out of it, for another webhook has changed something else: nothing is missing.
  if (!answer["response"].contains("patch")) return;
  json again = golden["review"];
  again["request"]["object"] =
      nlohmann::json(golden["review"]["request"]["object"]).patch(nlohmann::json(answer["response"]["patch"]));
  const json second = Ask(again);
  EXPECT_EQ(second["response"]["allowed"], true) << second;
  EXPECT_FALSE(second["response"].contains("patch")) << second;
}

INSTANTIATE_TEST_SUITE_P(Files, InjectionGoldenTest, ::testing::ValuesIn(Cases()), [](const auto& one) {
  std::string name = one.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace signet::testing
