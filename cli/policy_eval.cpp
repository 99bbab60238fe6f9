#include "cli/policy_eval.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "api/json.hpp"
#include "cli/cli_error.hpp"
#include "cli/io.hpp"
#include "identity/principal.hpp"
#include "store/folder.hpp"
#include "store/manifest.hpp"

namespace signet::cli {
namespace {

using Labels = std::map<std::string, std::string>;

base::Result<std::vector<std::string>> FilesOf(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored)) return std::vector<std::string>{path};
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(path, ignored)) {
    if (store::IsManifestName(entry.path().filename().string())) out.push_back(entry.path().string());
  }
  std::sort(out.begin(), out.end());
  if (out.empty()) return FileInvalid(path + " holds no manifests");
  return out;
}

base::Status LoadFile(const std::string& file, std::map<std::string, api::SigningPolicy>& out) {
  TRY(const auto text, ReadAll(file, store::kMaxManifestBytes));
  auto documents = store::ParseManifest(base::AsText(text), file);
  if (!documents) return FileInvalid(documents.error().message);
  for (const auto& document : *documents) {
    const auto& value = document.value;
    if (!value.is_object() || value.value("kind", nlohmann::json()) != "SigningPolicy") continue;
    auto policy = api::PolicyFromJson(value);
    if (!policy) return FileInvalid(fmt::format("{}:{}: {}", file, document.line, policy.error().message));
    const std::string name = policy->metadata.name;
    if (!out.emplace(name, std::move(*policy)).second) {
      return FileInvalid(fmt::format("{}:{}: a second SigningPolicy {}", file, document.line, name));
    }
  }
  return {};
}

/// What the pipeline checks after the policy has said yes.
std::optional<Verdict> CheckDigest(const Question& question, api::SignatureAlgorithm algorithm) {
  if (!question.digest) return std::nullopt;
  const auto& info = encoding::Info(algorithm);
  if (!info.hash) return Verdict{"DigestMismatch", fmt::format("{} signs messages, not digests", info.name), algorithm};
  if (*info.hash == question.digest->hash) return std::nullopt;
  return Verdict{"DigestMismatch",
                 fmt::format("{} signs a {} digest, this is a {} digest", info.name, encoding::Name(*info.hash),
                             encoding::Name(question.digest->hash)),
                 algorithm};
}

}  // namespace

const std::vector<std::string_view>& Verdicts() {
  static const std::vector<std::string_view> kAll = {policy::Name(policy::Reason::kAllowed),
                                                     policy::Name(policy::Reason::kNotAllowed),
                                                     policy::Name(policy::Reason::kSuspended),
                                                     policy::Name(policy::Reason::kAlgorithmNotAllowed),
                                                     policy::Name(policy::Reason::kArtifactNotAllowed),
                                                     policy::Name(policy::Reason::kOutsideWindow),
                                                     policy::Name(policy::Reason::kAwaitingApproval),
                                                     "DigestMismatch"};
  return kAll;
}

base::Result<Verdict> Evaluate(const api::SigningPolicy& policy, const Question& question) {
  if (policy.spec.pod) {
    api::SigningPolicy rest = policy;
    rest.spec.pod.reset();
    TRY(auto verdict, Evaluate(rest, question));
    verdict.note = fmt::format(
        "only pods whose containers all run one of {} images (spec.pod.imageDigests); that is judged at the gateway "
        "alone, and every other door refuses (ImageNotAllowed)",
        policy.spec.pod->image_digests.size());
    return verdict;
  }
  // Approvals are given as a number here: enough of them stand for a policy that asks for none.
  api::SigningPolicy asked = policy;
  const int required = policy.spec.approvals ? policy.spec.approvals->required : 0;
  if (question.approvals >= required) asked.spec.approvals.reset();
  TRY(const auto compiled, policy::CompiledPolicy::Compile(std::move(asked)));
  const identity::Principal principal{question.username, "", question.groups, {}, identity::Proof::kAsserted};
  const std::function<const Labels*(std::string_view)> labels = [&](std::string_view) {
    return question.namespace_labels ? &*question.namespace_labels : nullptr;
  };
  policy::Facts facts;
  facts.principal = &principal;
  facts.algorithm = question.algorithm;
  facts.artifact = question.artifact ? &*question.artifact : nullptr;
  facts.now = question.at;
  facts.namespace_labels = &labels;
  const auto decision = compiled->Decide(facts);
  if (decision.reason == policy::Reason::kAwaitingApproval) {
    return Verdict{std::string(policy::Name(decision.reason)),
                   fmt::format("the policy requires {} approvals{}, {} are given", required,
                               policy.spec.approvals->require_signed ? ", each signed" : "", question.approvals),
                   {}};
  }
  if (decision.allowed()) {
    if (auto wrong = CheckDigest(question, decision.algorithm)) return *wrong;
  }
  return Verdict{std::string(policy::Name(decision.reason)), decision.message, decision.algorithm};
}

std::vector<std::string> ImpliedGroups(std::string_view username) {
  const auto account = identity::ParseServiceAccount(username);
  if (!account) return {"system:authenticated"};
  return {"system:serviceaccounts", fmt::format("system:serviceaccounts:{}", account->ns), "system:authenticated"};
}

base::Result<std::map<std::string, api::SigningPolicy>> LoadPolicies(const std::vector<std::string>& paths) {
  std::map<std::string, api::SigningPolicy> out;
  for (const auto& path : paths) {
    TRY(const auto files, FilesOf(path));
    for (const auto& file : files) TRY_VOID(LoadFile(file, out));
  }
  return out;
}

}  // namespace signet::cli
