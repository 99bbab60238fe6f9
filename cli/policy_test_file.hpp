// cli/policy_test_file.hpp - the table-driven tests that a platform team keeps beside its policies.
//
// examples/policy-tests.yaml explains every field. Unknown fields are errors that name their path.
//
// Thread-safety: none. Blocking: reads files.
// Errors:        kInvalidArgument, reason "ConfigInvalid"; kNotFound, reason "FileUnreadable".
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"
#include "cli/policy_eval.hpp"

namespace signet::cli {

struct PolicyTest {
  std::string name, policy, expect;
  Question question;
  bool has_time = false;  ///< `at` is given
};

struct PolicyTestFile {
  std::string path;
  std::map<std::string, api::SigningPolicy> policies;
  std::vector<PolicyTest> tests;
};

/// Policies are looked for beside the file.
base::Result<PolicyTestFile> LoadPolicyTests(const std::string& path);

struct TestResult {
  std::string file, name;
  bool passed = false;
  std::string got;   ///< "Suspended: message", where it did not
  std::string note;  ///< a rule that the test cannot judge; may be empty
};
std::vector<TestResult> RunPolicyTests(const PolicyTestFile& file);

}  // namespace signet::cli
