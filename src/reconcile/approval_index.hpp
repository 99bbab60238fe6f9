// reconcile/approval_index.hpp - SigningApprovals by the request that they name.
//
// What is given out is bounded by people, not by objects: of one person's approvals of one request that somebody
// vouches for, the first no and the newest kMaxYes of the yeses. A no that is vouched for is never left out, however
// many objects there are. Of those that nobody vouches for, which count for nothing, kMaxUnvouched are given out to be
// shown.
//
// Thread-safety: any thread. `stamped` is called outside the lock.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "controller/work_queue.hpp"
#include "kube/object_store.hpp"
#include "policy/approvals.hpp"

namespace signet::reconcile {

/// Approvals of one request, as they come; what is kept of them does not grow with their number.
class ApprovalCollector {
 public:
  static constexpr std::size_t kMaxYes =
      8;  ///< of one person: the policy's revision, age and signature tell them apart
  static constexpr std::size_t kMaxUnvouched = 64;

  void Add(policy::Approval approval);
  /// Those that are vouched for first, then in the order of creation, then of names.
  [[nodiscard]] std::vector<policy::Approval> Take();

 private:
  struct Person {
    std::vector<policy::Approval> no;   ///< at most one
    std::vector<policy::Approval> yes;  ///< oldest first
  };
  /// The request's uid, and all that is known of the person: a no as somebody's delegate may not count where one in
  /// the person's own name does.
  std::map<std::pair<std::string, std::string>, Person> people_;
  std::vector<policy::Approval> unvouched_;
};

class ApprovalIndex {
 public:
  /// Empty: the store's owner vouches for what is written.
  using Stamped = std::function<base::Status(const nlohmann::json& object)>;

  explicit ApprovalIndex(Stamped stamped) : stamped_(std::move(stamped)) {}

  /// As an informer's handler gets it: `after` is null for one that is gone. The request it names, or named.
  std::vector<controller::Key> Change(const controller::Key& key, const std::shared_ptr<const nlohmann::json>& after);
  /// As the informer knows them. Those that are not valid are left out.
  [[nodiscard]] std::vector<policy::Approval> For(const controller::Key& request) const;
  /// As the store has them now. Blocks for a list of the request's namespace.
  [[nodiscard]] base::Result<std::vector<policy::Approval>> ReadLive(kube::ObjectStore& store,
                                                                     const controller::Key& request) const;
  /// One object as For() gives it out; kInvalidArgument where it is not valid.
  [[nodiscard]] base::Result<policy::Approval> Read(const nlohmann::json& object) const;

 private:
  using Object = std::shared_ptr<const nlohmann::json>;
  const Stamped stamped_;
  mutable std::mutex mutex_;
  std::map<controller::Key, std::map<std::string, Object>> by_request_;  ///< guarded by mutex_; approval's name inside
  std::map<controller::Key, controller::Key> request_of_;                ///< guarded by mutex_
};

}  // namespace signet::reconcile
