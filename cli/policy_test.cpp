// `signet policy test`.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/output.hpp"
#include "cli/policy_commands.hpp"
#include "cli/policy_test_file.hpp"

namespace signet::cli {
namespace {

using nlohmann::json;

constexpr const char* kPolicyTestPurpose =
    R"(Run the tests that you keep beside your policies: who may sign what, when, and who may not.

A file names policies (relative to itself) and a table of cases; examples/policy-tests.yaml explains every field. Needs
no cluster and no HSM: the policies are evaluated with the operator's own code.)";
constexpr const char* kPolicyTestFooter = R"(Examples:
  {signet} policy test policies/tests.yaml
  {signet} policy test policies/*-test.yaml -o json

  # tests.yaml
  policies: [release.yaml]
  tests:
  - name: CI may sign its own images
    policy: release
    subject: {username: "system:serviceaccount:payments-ci:ci-main"}
    artifact: registry.example.com/payments/api
    expect: Allowed

Exit codes: 0 every test passed; 1 one failed; 2 usage; 3 a file that cannot be read or has unknown fields.)";

struct PolicyTestFlags {
  std::vector<std::string> files;
  Format format = Format::kTable;
};

std::string TextOf(const std::vector<TestResult>& results, std::size_t passed, bool several) {
  std::string out;
  for (const auto& result : results) {
    out += fmt::format("{}  {}{}{}{}\n", result.passed ? "ok    " : "FAILED", several ? result.file + ": " : "",
                       Clean(result.name), result.passed ? "" : "\n        ", Clean(result.got));
    if (!result.note.empty()) out += fmt::format("        {}\n", Clean(result.note));
  }
  return out + fmt::format("{} of {} passed\n", passed, results.size());
}

ExitCode RunPolicyTest(const Context& context, const PolicyTestFlags& flags) {
  std::vector<TestResult> results;
  for (const auto& path : flags.files) {
    const auto file = LoadPolicyTests(path);
    if (!file) return Fail(context, ExitCode::kConfiguration, file.error());
    auto of_file = RunPolicyTests(*file);
    results.insert(results.end(), of_file.begin(), of_file.end());
  }
  const auto passed = static_cast<std::size_t>(
      std::count_if(results.begin(), results.end(), [](const auto& result) { return result.passed; }));
  std::string text;
  if (flags.format == Format::kTable) {
    text = TextOf(results, passed, flags.files.size() > 1);
  } else {
    json out = {{"passed", passed}, {"failed", results.size() - passed}, {"tests", json::array()}};
    for (const auto& result : results) {
      json line = {{"file", result.file}, {"name", result.name}, {"passed", result.passed}};
      if (!result.passed) line["message"] = result.got;
      if (!result.note.empty()) line["note"] = result.note;
      out["tests"].push_back(std::move(line));
    }
    text = Render(out, flags.format);
  }
  if (const auto printed = Print(context, text); printed != ExitCode::kDone) return printed;
  if (passed == results.size()) return ExitCode::kDone;
  return Fail(context, ExitCode::kFailed,
              fmt::format("{} of {} tests failed", results.size() - passed, results.size()));
}

}  // namespace

void AddPolicyTest(CLI::App& parent, Context& context) {
  auto flags = std::make_shared<PolicyTestFlags>();
  auto* command = AddCommand(parent, context, "test", kPolicyTestPurpose, kPolicyTestFooter,
                             [&context, flags] { return RunPolicyTest(context, *flags); });
  command->add_option("FILE", flags->files, "Files of tests")->required();
  AddOutputFlag(*command, flags->format, {Format::kTable, Format::kJson, Format::kYaml});
}

}  // namespace signet::cli
