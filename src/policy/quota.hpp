// policy/quota.hpp - per-second and per-day budgets, local to one process.
//
// Counted once per operation and reserved before signing; a refused operation costs nothing, a
// failed one keeps its count. perSecond: whole seconds of the steady clock; perDay: UTC days, rebuilt from the
// audit record at start.
//
// Thread-safety: reactor thread only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "api/types.hpp"
#include "base/clock.hpp"

namespace signet::policy {

class QuotaLedger {
 public:
  explicit QuotaLedger(const base::Clock& clock) : clock_(clock) {}

  /// Takes one signature of the budget of (policy, principal). Nothing: taken. A duration: refused; ask again after it.
  std::optional<base::Duration> Reserve(std::string_view policy_name, const api::Quota& quota, std::string_view principal);
  /// What earlier processes used today; both scopes are counted.
  void Restore(std::string_view policy_name, std::string_view principal, std::uint64_t count_today);

 private:
  struct Account {
    std::int64_t second = 0;
    std::int64_t in_second = 0;
    std::int64_t day = 0;
    std::int64_t in_day = 0;
  };
  const base::Clock& clock_;
  std::unordered_map<std::string, Account> accounts_;
};

}  // namespace signet::policy
