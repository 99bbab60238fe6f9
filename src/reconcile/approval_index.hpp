// reconcile/approval_index.hpp - SigningApprovals by the request that they name.
//
// Bounded: of one request at most kMost are given out, those whose stamp holds first, so that objects that anybody
// could create while the webhook was away cannot crowd out an approver's.
//
// Thread-safety: any thread. `stamped` is called outside the lock.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "base/result.hpp"
#include "controller/work_queue.hpp"
#include "policy/approvals.hpp"

namespace signet::reconcile {

class ApprovalIndex {
 public:
  static constexpr std::size_t kMost = 64;
  /// Empty: the store's owner vouches for what is written.
  using Stamped = std::function<base::Status(const nlohmann::json& object)>;

  explicit ApprovalIndex(Stamped stamped) : stamped_(std::move(stamped)) {}

  /// As an informer's handler gets it: `after` is null for one that is gone. The request it names, or named.
  std::vector<controller::Key> Change(const controller::Key& key, const std::shared_ptr<const nlohmann::json>& after);
  /// In the order of creation, then of names. Those that are not valid are left out.
  [[nodiscard]] std::vector<policy::Approval> For(const controller::Key& request) const;
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
