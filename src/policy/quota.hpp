// policy/quota.hpp - per-second and per-day budgets.
//
// Counted once per operation and reserved before signing; a refused operation costs nothing, a
// failed one keeps its count. perSecond: whole seconds of the steady clock, for this process alone. perDay: UTC
// days; what this process has used is rebuilt from the audit record at start. Without a lender the whole
// budget is this process's; with one it uses only what was lent to it (quota_lease.hpp), asks for more
// before that runs out, and signs nothing beyond it.
//
// Thread-safety: reactor thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "api/types.hpp"
#include "base/clock.hpp"
#include "policy/quota_lease.hpp"

namespace signet::policy {

/// Why nothing was taken of a budget.
struct QuotaRefusal {
  enum class Why : std::uint8_t {
    kUsedUp,
    kWaiting,      ///< this process's part is used up, and more has been asked for: WhenAnswered says when to try again
    kUnavailable,  ///< the same, but nobody can lend now
  };
  Why why = Why::kUsedUp;
  base::Duration retry_after{0};
};

class QuotaLedger {
 public:
  /// Of one account, for one answer; those who gave up meanwhile are counted.
  static constexpr std::size_t kMostWaiting = 4096;

  explicit QuotaLedger(const base::Clock& clock) : clock_(clock) {}
  ~QuotaLedger() { *alive_ = false; }
  QuotaLedger(const QuotaLedger&) = delete;
  QuotaLedger& operator=(const QuotaLedger&) = delete;

  /// From now on perDay is shared with other processes through `lender`, which must be destroyed before this object
  /// stops being used. Before the first Reserve.
  void ShareThrough(BudgetLender* lender) { lender_ = lender; }
  [[nodiscard]] bool IsShared() const { return lender_ != nullptr; }

  /// Takes one signature of the budget of (policy, principal). Nothing: taken.
  std::optional<QuotaRefusal> Reserve(std::string_view policy_name, const api::Quota& quota,
                                      std::string_view principal);
  /// After a Reserve that said kWaiting, in the same turn of the loop: `again` runs once the answer is there,
  /// whatever it is. Dropped with this object. False: so many wait already, and `again` will not run.
  [[nodiscard]] bool WhenAnswered(std::string_view policy_name, const api::Quota& quota, std::string_view principal,
                                  std::function<void()> again);
  [[nodiscard]] std::size_t books() const { return books_.size(); }  ///< policies that are remembered
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
  /// What this process may use of an account that it shares.
  struct Share {
    std::int64_t day = -1;
    std::int64_t per_day = 0;  ///< the limit that it was lent under
    std::int64_t lent = 0;     ///< until in_day is this
    std::int64_t block = 0;    ///< what was left to use after the last answer
    std::int64_t demand = 0;   ///< operations that the last answer has set going and that have not taken yet
    bool all_lent = false;     ///< there is no more
    bool asking = false;
    base::SteadyPoint answered_at{};
    bool failed = false;  ///< the last answer was an error
    std::vector<std::function<void()>> waiting;
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
    ByText<Share> shares;  ///< by subject, "" for all together
  };
  Book& Open(std::string_view policy_name, std::int64_t today);
  void DropBooksBefore(std::int64_t today);
  static Account& Of(Book& book, std::string_view principal);
  static Share& ShareOf(Book& book, const api::Quota& quota, std::string_view principal);
  std::optional<QuotaRefusal> CheckShare(std::string_view policy_name, const Book& book, Share& share,
                                         const api::Quota& quota, std::string_view principal, std::int64_t used);
  void AskFor(std::string_view policy_name, std::int64_t day, Share& share, const api::Quota& quota,
              std::string_view principal, std::int64_t used, std::int64_t wanted);
  void OnAnswer(const LeaseAsk& ask, const base::Result<Lease>& lease);

  const base::Clock& clock_;
  BudgetLender* lender_ = nullptr;
  ByText<Book> books_;    ///< of policies that were asked for today
  std::int64_t day_ = 0;  ///< the latest that books_ was cleared for
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace signet::policy
