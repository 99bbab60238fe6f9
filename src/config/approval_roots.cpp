#include "config/approval_roots.hpp"

#include <fmt/format.h>

#include <map>
#include <utility>

#include "api/limits.hpp"
#include "config/options.hpp"
#include "config/reader.hpp"

namespace signet::config {
namespace {

bool IsKeyId(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

policy::RootApprover ReadApprover(Reader section, std::map<std::string, std::string>& owners) {
  policy::RootApprover out;
  section.Text("username", out.username);
  if (out.username.empty()) section.Refuse("username", "must name the Kubernetes user");
  std::vector<std::string> lines;
  section.Texts("keys", lines);
  if (lines.empty()) section.Refuse("keys", "must list at least one SSH public key");
  for (const auto& line : lines) {
    auto key = crypto::SshPublicKey::Parse(line);
    if (!key) {
      section.Refuse("keys", key.error().message);
      return out;
    }
    const auto [owner, added] = owners.try_emplace(key->fingerprint(), out.username);
    if (!added && owner->second != out.username) {
      section.Refuse("keys",
                     fmt::format("{} is {}'s already: one key stands for one person", owner->first, owner->second));
    }
    out.keys.push_back(std::move(*key));
  }
  return out;
}

policy::RootRule ReadRule(Reader section, std::map<std::string, std::string>& owners) {
  policy::RootRule out;
  section.Text("policy", out.policy);
  if (out.policy.empty()) section.Refuse("policy", "must name a SigningPolicy");
  section.Text("keyID", out.key_id);
  if (!out.key_id.empty() && !IsKeyId(out.key_id)) {
    section.Refuse("keyID", "must be the 64 hex digits of the policy's status.key.keyID");
  }
  std::uint32_t required = 1;
  section.Number("required", required, 1, static_cast<std::uint32_t>(api::limits::kApprovalsRequired));
  out.required = static_cast<int>(required);
  for (auto& approver : section.Sections("approvers"))
    out.approvers.push_back(ReadApprover(std::move(approver), owners));
  if (out.approvers.size() < required) {
    section.Refuse("approvers", fmt::format("lists {} people, {} are required", out.approvers.size(), required));
  }
  return out;
}

}  // namespace

base::Result<std::shared_ptr<const policy::ApprovalRoots>> LoadApprovalRoots(const std::string& file) {
  TRY(const nlohmann::json document, LoadConfigFile(file));
  Reader reader(document, "");
  std::vector<policy::RootRule> rules;
  std::map<std::string, std::string> owners;  // fingerprint to username
  for (auto& section : reader.Sections("rules")) rules.push_back(ReadRule(std::move(section), owners));
  if (rules.empty()) reader.Refuse("rules", "must list at least one rule");
  if (const auto finished = reader.Finish(); !finished) {
    return ConfigError(fmt::format("{}: {}", file, finished.error().message));
  }
  return std::make_shared<const policy::ApprovalRoots>(std::move(rules));
}

}  // namespace signet::config
