// policy/quota.hpp - per-second and per-day budgets, local to one process.
//
// Counted once per operation and reserved before signing; a refused operation costs nothing, a
// failed one keeps its count. perSecond: whole seconds of the steady clock; perDay: UTC days, rebuilt from the
// audit record at start.
//
// Thread-safety: reactor thread only.
#pragma once

#include <cstdint>
#include <functional>
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
  std::optional<base::Duration> Reserve(std::string_view policy_name, const api::Quota& quota,
                                        std::string_view principal);
  /// What earlier processes used today; both scopes are counted.
  void Restore(std::string_view policy_name, std::string_view principal, std::uint64_t count_today);

 private:
  struct Account {
    std::int64_t second = 0;
    std::int64_t in_second = 0;
    std::int64_t day = 0;
    std::int64_t in_day = 0;
    void MoveTo(std::int64_t this_second, std::int64_t today);
  };
  struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  template <class Value>
  using ByText = std::unordered_map<std::string, Value, TextHash, std::equal_to<>>;
  /// Both scopes are always counted, so that a policy may change its scope in the middle of a day.
  struct Book {
    std::int64_t day = 0;
    Account total;
    ByText<Account> by_subject;
  };
  Book& Open(std::string_view policy_name, std::int64_t today);
  static Account& Of(Book& book, std::string_view principal);

  const base::Clock& clock_;
  ByText<Book> books_;
};

}  // namespace signet::policy
