#include "policy/quota.hpp"

#include <algorithm>
#include <utility>

namespace signet::policy {
namespace {

using std::chrono::days;
using std::chrono::floor;
using std::chrono::seconds;
using Why = QuotaRefusal::Why;

// A block smaller than this is asked for when it is needed, not before: it would lie here while others want it.
constexpr std::int64_t kSmallestPrefetched = 8;
constexpr base::Duration kAfterFailure = seconds(1);
constexpr base::Duration kAskAgain = std::chrono::minutes(1);  // another replica may have given something back

base::Duration UntilTomorrow(base::TimePoint now) { return floor<days>(now) + days(1) - now; }

base::Duration UntilNextSecond(base::SteadyPoint now) {
  return std::chrono::ceil<base::Duration>(floor<seconds>(now) + seconds(1) - now);
}

}  // namespace

void QuotaLedger::Account::MoveTo(std::int64_t this_second, std::int64_t today) {
  if (this_second != second) {
    second = this_second;
    in_second = 0;
  }
  // A wall clock that was set back keeps counting on the later day: no budget is had twice.
  if (today > day) {
    day = today;
    in_day = 0;
  }
}

QuotaLedger::Book& QuotaLedger::Open(std::string_view policy_name, std::int64_t today) {
  if (today > day_) DropBooksBefore(today);
  auto it = books_.find(policy_name);
  if (it == books_.end()) it = books_.emplace(std::string(policy_name), Book{}).first;
  Book& book = it->second;
  if (today > book.day) {
    // Only subjects of today are kept, so memory is bounded by who signs on one day.
    book.day = today;
    book.by_subject.clear();
    std::erase_if(book.shares, [](const auto& entry) { return !entry.second.asking; });
  }
  return book;
}

/// Of policies that are gone, nobody opens the book again. What the current second has used stays.
void QuotaLedger::DropBooksBefore(std::int64_t today) {
  day_ = today;
  const auto second = static_cast<std::int64_t>(floor<seconds>(clock_.Steady()).time_since_epoch().count());
  std::erase_if(books_, [&](const auto& entry) {
    const Book& book = entry.second;
    const bool asking =
        std::any_of(book.shares.begin(), book.shares.end(), [](const auto& s) { return s.second.asking; });
    return book.day < today && book.total.second != second && !asking;
  });
}

QuotaLedger::Account& QuotaLedger::Of(Book& book, std::string_view principal) {
  const auto it = book.by_subject.find(principal);
  return it != book.by_subject.end() ? it->second
                                     : book.by_subject.emplace(std::string(principal), Account{}).first->second;
}

QuotaLedger::Share& QuotaLedger::ShareOf(Book& book, const api::Quota& quota, std::string_view principal) {
  const auto subject = quota.scope == api::Quota::Scope::kPolicy ? std::string_view() : principal;
  const auto it = book.shares.find(subject);
  return it != book.shares.end() ? it->second : book.shares.emplace(std::string(subject), Share{}).first->second;
}

std::optional<QuotaRefusal> QuotaLedger::CheckShare(std::string_view policy_name, const Book& book, Share& share,
                                                    const api::Quota& quota, std::string_view principal,
                                                    std::int64_t used) {
  // Lent under a higher limit, it is used no further: the lender takes back what is left before it lends again.
  if (share.per_day > *quota.per_day) share.lent = std::min(share.lent, used);
  const bool holds = share.day == book.day && share.per_day <= *quota.per_day;
  if (holds && used < share.lent) return std::nullopt;
  const auto since = clock_.Steady() - share.answered_at;
  if (holds && share.all_lent && share.per_day == *quota.per_day) {
    if (!share.asking && since >= kAskAgain) AskFor(policy_name, book.day, share, quota, principal, used, 1);
    return QuotaRefusal{Why::kUsedUp, UntilTomorrow(clock_.Now())};
  }
  if (!share.asking && share.failed && since < kAfterFailure) return QuotaRefusal{Why::kUnavailable, kAfterFailure};
  if (!share.asking) {
    AskFor(policy_name, book.day, share, quota, principal, used, std::max<std::int64_t>(share.demand, 1));
  }
  return QuotaRefusal{Why::kWaiting, kAfterFailure};
}

void QuotaLedger::AskFor(std::string_view policy_name, std::int64_t day, Share& share, const api::Quota& quota,
                         std::string_view principal, std::int64_t used, std::int64_t wanted) {
  share.asking = true;
  LeaseAsk ask;
  ask.policy = policy_name;
  if (quota.scope == api::Quota::Scope::kSubject) ask.subject = principal;
  ask.day = day;
  ask.per_day = *quota.per_day;
  ask.used = used;
  ask.lent = share.day == day ? share.lent : 0;
  ask.wanted = wanted;
  lender_->Ask(ask, [this, alive = alive_, ask](const base::Result<Lease>& lease) {
    if (*alive) OnAnswer(ask, lease);
  });
}

void QuotaLedger::OnAnswer(const LeaseAsk& ask, const base::Result<Lease>& lease) {
  const auto book = books_.find(ask.policy);
  if (book == books_.end()) return;
  const auto found = book->second.shares.find(ask.subject);
  if (found == book->second.shares.end()) return;
  Share& share = found->second;
  share.asking = false;
  share.answered_at = clock_.Steady();
  share.failed = !lease;
  if (lease) {
    share.day = ask.day;
    share.per_day = ask.per_day;
    share.lent = lease->lent;
    share.block = lease->lent - ask.used;
    share.all_lent = lease->all_lent;
  }
  const auto waiting = std::exchange(share.waiting, {});
  share.demand = static_cast<std::int64_t>(waiting.size());
  for (const auto& again : waiting) again();
}

bool QuotaLedger::WhenAnswered(std::string_view policy_name, const api::Quota& quota, std::string_view principal,
                               std::function<void()> again) {
  const auto book = books_.find(policy_name);
  if (book == books_.end()) return false;
  auto& waiting = ShareOf(book->second, quota, principal).waiting;
  if (waiting.size() >= kMostWaiting) return false;
  waiting.push_back(std::move(again));
  return true;
}

std::optional<QuotaRefusal> QuotaLedger::Reserve(std::string_view policy_name, const api::Quota& quota,
                                                 std::string_view principal) {
  const auto steady = clock_.Steady();
  const auto now = clock_.Now();
  const auto this_second = static_cast<std::int64_t>(floor<seconds>(steady).time_since_epoch().count());
  const auto today = static_cast<std::int64_t>(floor<days>(now).time_since_epoch().count());
  Book& book = Open(policy_name, today);
  Account& subject = Of(book, principal);
  book.total.MoveTo(this_second, book.day);
  subject.MoveTo(this_second, book.day);
  const Account& counted = quota.scope == api::Quota::Scope::kPolicy ? book.total : subject;
  if (quota.per_day && counted.in_day >= *quota.per_day) return QuotaRefusal{Why::kUsedUp, UntilTomorrow(now)};
  if (quota.per_second && counted.in_second >= *quota.per_second) {
    return QuotaRefusal{Why::kUsedUp, UntilNextSecond(steady)};
  }
  Share* share = lender_ != nullptr && quota.per_day ? &ShareOf(book, quota, principal) : nullptr;
  if (share != nullptr) {
    if (auto refused = CheckShare(policy_name, book, *share, quota, principal, counted.in_day)) return refused;
    share->demand = std::max<std::int64_t>(share->demand - 1, 0);
  }
  for (Account* account : {&book.total, &subject}) {
    ++account->in_second;
    ++account->in_day;
  }
  if (share == nullptr || share->asking || share->all_lent || share->block < kSmallestPrefetched) return std::nullopt;
  const auto left = share->lent - counted.in_day;
  const bool failed_now = share->failed && steady - share->answered_at < kAfterFailure;
  if (left * 2 <= share->block && !failed_now) {
    AskFor(policy_name, book.day, *share, quota, principal, counted.in_day, left + 1);
  }
  return std::nullopt;
}

void QuotaLedger::Restore(std::string_view policy_name, std::string_view principal, std::uint64_t count_today) {
  const auto today = static_cast<std::int64_t>(floor<days>(clock_.Now()).time_since_epoch().count());
  Book& book = Open(policy_name, today);
  const auto count = static_cast<std::int64_t>(std::min<std::uint64_t>(count_today, 1ULL << 40U));
  for (Account* account : {&book.total, &Of(book, principal)}) {
    account->MoveTo(account->second, book.day);
    account->in_day += count;
  }
}

}  // namespace signet::policy
