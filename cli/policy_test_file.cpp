#include "cli/policy_test_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "api/json.hpp"
#include "api/node.hpp"
#include "api/object_json.hpp"
#include "cli/cli_error.hpp"
#include "cli/io.hpp"
#include "store/manifest.hpp"

namespace signet::cli {
namespace {

using api::Node;

constexpr std::size_t kMaxText = 1024;
constexpr std::size_t kMaxTests = 10000;
constexpr std::size_t kMaxItems = 1024;

base::Status ReadText(const Node& parent, const char* member, std::string& out) {
  const auto node = parent.Find(member);
  if (!node) return {};
  TRY(const auto text, node->Text(1, kMaxText));
  out = std::string(text);
  return {};
}

base::Status ReadSubject(const Node& test, Question& out) {
  TRY(const auto subject, test.Get("subject"));
  TRY_VOID(subject.OnlyMembers({"username", "groups", "namespaceLabels"}));
  TRY(const auto username, subject.Get("username"));
  TRY(const auto text, username.Text(1, kMaxText));
  out.username = std::string(text);
  out.groups = ImpliedGroups(out.username);
  if (const auto groups = subject.Find("groups")) {
    out.groups.clear();
    TRY_VOID(groups->EachItem(kMaxItems, [&](const Node& item) -> base::Status {
      TRY(const auto group, item.Text(1, kMaxText));
      out.groups.emplace_back(group);
      return {};
    }));
  }
  if (const auto labels = subject.Find("namespaceLabels")) {
    out.namespace_labels.emplace();
    TRY_VOID(labels->EachMember(kMaxItems, [&](const std::string& key, const Node& item) -> base::Status {
      TRY(const auto value, item.Text(0, kMaxText));
      out.namespace_labels->emplace(key, value);
      return {};
    }));
  }
  return {};
}

base::Status ReadArtifact(const Node& test, Question& out) {
  std::string media_type;
  TRY_VOID(ReadText(test, "mediaType", media_type));
  const auto artifact = test.Find("artifact");
  if (!artifact)
    return media_type.empty() ? base::Status() : base::Status(test.Find("mediaType")->Bad("needs an artifact"));
  TRY(const auto name, artifact->Text(1, kMaxText));
  if (auto good = api::ValidateArtifactName(name); !good) return artifact->Bad(good.error().message);
  out.artifact = api::Artifact{std::string(name), std::move(media_type), {}};
  return {};
}

base::Status ReadExpect(const Node& test, std::string& out) {
  TRY(const auto expect, test.Get("expect"));
  TRY(const auto text, expect.Text(1, kMaxText));
  const auto& known = Verdicts();
  if (std::find(known.begin(), known.end(), text) == known.end()) {
    return expect.Bad(fmt::format("must be one of {}", fmt::join(known, ", ")));
  }
  out = std::string(text);
  return {};
}

base::Result<PolicyTest> ReadTest(const Node& test) {
  TRY_VOID(test.OnlyMembers(
      {"name", "policy", "subject", "artifact", "mediaType", "algorithm", "digest", "at", "approvals", "expect"}));
  PolicyTest out;
  TRY(const auto name, test.Get("name"));
  TRY(const auto name_text, name.Text(1, kMaxText));
  out.name = std::string(name_text);
  TRY(const auto policy, test.Get("policy"));
  TRY(const auto policy_text, policy.Text(1, kMaxText));
  out.policy = std::string(policy_text);
  TRY_VOID(ReadSubject(test, out.question));
  TRY_VOID(ReadArtifact(test, out.question));
  if (const auto algorithm = test.Find("algorithm")) {
    TRY(out.question.algorithm, api::ReadAlgorithm(*algorithm));
  }
  if (const auto digest = test.Find("digest")) {
    TRY(const auto text, digest->Text(1, kMaxText));
    auto parsed = api::ParseDigest(text);
    if (!parsed) return digest->Bad(parsed.error().message);
    out.question.digest = std::move(*parsed);
  }
  if (const auto at = test.Find("at")) {
    TRY(out.question.at, api::ReadTimePoint(*at));
    out.has_time = true;
  }
  if (const auto approvals = test.Find("approvals")) {
    TRY(const auto count, approvals->Integer(0, kMaxItems));
    out.question.approvals = static_cast<int>(count);
  }
  TRY_VOID(ReadExpect(test, out.expect));
  return out;
}

/// What only the policies can tell: the name is one of theirs, and windows need a time.
base::Status CheckAgainst(const std::map<std::string, api::SigningPolicy>& policies, const Node& item,
                          const PolicyTest& test) {
  const auto found = policies.find(test.policy);
  if (found == policies.end()) {
    return item.Find("policy")->Bad(fmt::format("no policy of the files is called {}", test.policy));
  }
  if (!found->second.spec.windows.empty() && !test.has_time) {
    return base::MakeError(
        base::Code::kInvalidArgument, "Invalid",
        item.Path() + ".at: is needed, since the policy has windows: the test would depend on the time of day");
  }
  return {};
}

base::Status ReadFile(const Node& root, PolicyTestFile& out) {
  TRY_VOID(root.OnlyMembers({"policies", "tests"}));
  std::vector<std::string> paths;
  const auto folder = std::filesystem::path(out.path).parent_path();
  TRY(const auto policies, root.Get("policies"));
  TRY_VOID(policies.EachItem(kMaxItems, [&](const Node& item) -> base::Status {
    TRY(const auto text, item.Text(1, kMaxText));
    paths.push_back((folder / std::string(text)).string());
    return {};
  }));
  TRY(out.policies, LoadPolicies(paths));
  TRY(const auto tests, root.Get("tests"));
  const auto take = [&out](const Node& item) -> base::Status {
    TRY(auto test, ReadTest(item));
    TRY_VOID(CheckAgainst(out.policies, item, test));
    out.tests.push_back(std::move(test));
    return {};
  };
  TRY_VOID(tests.EachItem(kMaxTests, take));
  if (out.tests.empty()) return tests.Bad("holds no test");
  return {};
}

}  // namespace

base::Result<PolicyTestFile> LoadPolicyTests(const std::string& path) {
  TRY(const auto text, ReadAll(path, store::kMaxManifestBytes));
  auto documents = store::ParseManifest(base::AsText(text), path);
  if (!documents) return FileInvalid(documents.error().message);
  if (documents->size() != 1)
    return FileInvalid(fmt::format("{}: must hold one document with policies and tests", path));
  PolicyTestFile out;
  out.path = path;
  if (auto read = ReadFile(Node(documents->front().value, ""), out); !read) {
    auto error = read.error();
    if (error.reason == "Invalid") error.message = fmt::format("{}: {}", path, error.message);
    if (error.reason != "FileUnreadable") error.reason = "ConfigInvalid";
    return error;
  }
  return out;
}

std::vector<TestResult> RunPolicyTests(const PolicyTestFile& file) {
  std::vector<TestResult> out;
  for (const auto& test : file.tests) {
    Question question = test.question;
    if (!test.has_time) question.at = base::SystemClock().Now();
    const auto verdict = Evaluate(file.policies.at(test.policy), question);
    TestResult result{file.path, test.name, verdict && verdict->reason == test.expect, "",
                      verdict && verdict->allowed() ? verdict->note : ""};
    if (!verdict) {
      result.got = verdict.error().message;
    } else if (!result.passed) {
      result.got = fmt::format("expected {}, got {}{}{}", test.expect, verdict->reason,
                               verdict->message.empty() ? "" : ": ", verdict->message);
    }
    out.push_back(std::move(result));
  }
  return out;
}

}  // namespace signet::cli
