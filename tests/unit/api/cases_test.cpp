// The cases of cases.json against the code. tests/lint/check_crds.py and tests/crds hold crds/*.yaml to the same cases,
// so that the API server and the code agree on what is valid.
#include <fstream>
#include <nlohmann/json.hpp>

#include "api/approval.hpp"
#include "api/json.hpp"
#include "api/texts.hpp"
#include "support/matchers.hpp"

namespace signet::api {
namespace {

using base::Code;
using nlohmann::json;
using testing::IsErr;
using testing::IsOk;
using ::testing::StartsWith;

json Least(const std::string& kind) {
  json object = {{"apiVersion", "signet.dev/v1alpha1"}, {"kind", kind}, {"metadata", {{"name", "a"}}}};
  if (kind == "SigningPolicy") {
    object["spec"] = {{"key", {{"uri", "pkcs11:object=a"}}}, {"algorithms", {"ECDSAWithSHA256"}}};
  } else if (kind == "SigningApproval") {
    object["spec"] = {{"requestRef", {{"name", "a"}, {"uid", "1"}}}, {"decision", "Approve"}};
  } else {
    object["spec"] = {{"policyRef", {{"name", "release"}}},
                      {"digest", "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}};
  }
  return object;
}

json Build(const json& test) {
  json object = Least(test["kind"]);
  const json unset = test.value("unset", json::array());
  const json set = test.value("set", json::object());
  const json repeat = test.value("repeat", json::object());
  const json fill = test.value("fill", json::object());
  for (const auto& path : unset) {
    const json::json_pointer pointer(path.get<std::string>());
    object[pointer.parent_pointer()].erase(pointer.back());
  }
  for (const auto& [path, value] : set.items()) object[json::json_pointer(path)] = value;
  for (const auto& [path, value] : repeat.items()) {
    std::string text;
    for (int i = 0; i < value[1].get<int>(); ++i) text += value[0].get<std::string>();
    object[json::json_pointer(path)] = text;
  }
  for (const auto& [path, value] : fill.items()) {
    object[json::json_pointer(path)] = std::vector<json>(value[1].get<std::size_t>(), value[0]);
  }
  return object;
}

base::Status Read(const json& object, const std::string& kind) {
  if (kind == "SigningPolicy") {
    auto policy = PolicyFromJson(object);
    return policy ? base::Status{} : base::Status(policy.error());
  }
  if (kind == "SigningApproval") {
    auto approval = ApprovalFromJson(object);
    return approval ? CheckTexts(object) : base::Status(approval.error());
  }
  auto request = RequestFromJson(object);
  return request ? CheckTexts(object) : base::Status(request.error());
}

TEST(ObjectCasesTest, AcceptsAndRefusesAsListed) {
  std::ifstream file(SIGNET_SOURCE_DIR "/tests/unit/api/cases.json");
  const json cases = json::parse(file);
  ASSERT_GT(cases.size(), 200U);
  for (const auto& test : cases) {
    SCOPED_TRACE(test["what"].get<std::string>());
    const auto read = Read(Build(test), test["kind"]);
    if (test.contains("valid")) {
      EXPECT_THAT(read, IsOk());
      continue;
    }
    EXPECT_THAT(read, IsErr(Code::kInvalidArgument, "Invalid"));
    if (read) continue;
    const auto path = test["path"].get<std::string>() + ": ";
    EXPECT_THAT(read.error().message, StartsWith(path));
    if (test.contains("says")) {
      EXPECT_EQ(read.error().message, path + test["says"].get<std::string>());
    }
  }
}

}  // namespace
}  // namespace signet::api
