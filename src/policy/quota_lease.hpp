// policy/quota_lease.hpp - how replicas come by their parts of one day's budget.
//
// An account is what a budget belongs to: a policy (scope Policy), or a policy and a subject. A
// replica may use what was lent to it, and nothing else; it asks for more before that is used up.
//
// Thread-safety: Ask on the reactor's thread; `done` runs there, later, exactly once, unless the lender
//                is destroyed first.
// Errors:        kUnavailable, reason QuotaUnavailable: nobody can say now; nothing was lent.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.hpp"

namespace signet::policy {

struct LeaseAsk {
  std::string policy;
  std::string subject;       ///< empty: the account of all callers together
  std::int64_t day = 0;      ///< days since 1970-01-01, UTC
  std::int64_t per_day = 0;  ///< the policy's limit, as it is now
  std::int64_t used = 0;     ///< on that day by this replica, in all its lives
  std::int64_t lent = 0;     ///< what this replica believes it has; 0: does not know
  std::int64_t wanted = 1;   ///< so much should be left to use afterwards
};

struct Lease {
  std::int64_t lent = 0;  ///< to this replica on that day, in all: it may use until `used` is this
  bool all_lent = false;  ///< nothing is left of the day's budget that could be lent
};

class BudgetLender {
 public:
  using Done = std::function<void(base::Result<Lease>)>;
  virtual ~BudgetLender() = default;
  virtual void Ask(LeaseAsk ask, Done done) = 0;
};

}  // namespace signet::policy
