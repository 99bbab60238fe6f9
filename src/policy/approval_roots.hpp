// policy/approval_roots.hpp - whose signatures must stand behind an approval, whatever the API says.
//
// The roots come from a file of the operator (config/approval_roots.hpp), out of reach of everybody who can only
// write to the API server. A rule covers every signature under its policy's name, and every signature with its key
// under whatever name: another policy for the same key is no way around it.
//
// Thread-safety: immutable.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "crypto/ssh_key.hpp"

namespace signet::policy {

struct RootApprover {
  std::string username;  ///< of the Kubernetes user who stands for this person
  std::vector<crypto::SshPublicKey> keys;
};

struct RootRule {
  std::string policy;  ///< the policy's name
  std::string key_id;  ///< of the policy's key; empty: other policies with the same key are not covered
  int required = 1;    ///< different people, at least 1
  std::vector<RootApprover> approvers;
};

class ApprovalRoots {
 public:
  explicit ApprovalRoots(std::vector<RootRule> rules) : rules_(std::move(rules)) {}

  /// Every rule that covers this policy or this key; valid as long as the roots.
  [[nodiscard]] std::vector<const RootRule*> For(std::string_view policy, std::string_view key_id) const;
  [[nodiscard]] const std::vector<RootRule>& rules() const { return rules_; }

 private:
  std::vector<RootRule> rules_;
};

}  // namespace signet::policy
