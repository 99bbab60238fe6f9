// policy/approvals.hpp - which approvals count: pure, part of CompiledPolicy::Decide.
//
// An approval counts when it is vouched for (its stamp), is about this request and this revision of the
// policy, is not too old, is of an approver that the policy names, not of the requester, and not of a person who
// has been counted already. Under requireSigned, and under every rule of the approval roots that covers the policy
// or its key, it also needs the approver's own signature over the statement (approval_statement.hpp).
//
// Thread-safety: pure functions.
// Sources:       docs/approvals.md, docs/adr/0007.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/approval.hpp"
#include "api/types.hpp"
#include "base/clock.hpp"
#include "identity/principal.hpp"

namespace signet::policy {

class ApprovalRoots;

/// One SigningApproval as the door found it.
struct Approval {
  std::string name;  ///< of the object
  api::SigningApprovalSpec spec;
  bool vouched = false;     ///< its stamp holds, or the owner of the store vouches for what it says
  std::string not_vouched;  ///< why not, for people
  base::TimePoint time{};   ///< of the stamp; without one, of its creation
};

/// What the approvals are about. Pointers may be null where nothing is known.
struct ApprovalContext {
  std::string cluster_id;
  std::string request_namespace, request_name, request_uid;
  std::string digest;                            ///< "sha256:<hex>" of what is signed, or of the message
  const std::vector<Approval>* given = nullptr;  ///< in the order of their creation
  std::string key_id;                            ///< of the policy's key
  std::shared_ptr<const ApprovalRoots> roots;    ///< nullptr: the operator was given none
  std::vector<std::string> acting_for_extra_keys = {"signet.dev/acting-for", "originaluser.jetstack.io-user"};
};

/// How the approvals stand.
struct Tally {
  int required = 0;  ///< by the policy
  int counted = 0;
  std::optional<std::string> denied_by;  ///< the approver whose Deny ends the request
  std::string denied_comment;
  std::string missing;                         ///< what is missing, for people; empty: nothing is
  std::vector<api::ApprovalStatus> approvals;  ///< one for each given, in order

  [[nodiscard]] bool complete() const { return !denied_by && missing.empty(); }
};

/// The people behind a principal: its username, and whoever `extra` says it acts for.
std::vector<std::string_view> PeopleBehind(std::string_view username,
                                           const std::map<std::string, std::vector<std::string>>& extra,
                                           const std::vector<std::string>& acting_for_keys);

}  // namespace signet::policy
