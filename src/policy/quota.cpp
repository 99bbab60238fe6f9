#include "policy/quota.hpp"

#include <algorithm>

namespace signet::policy {
namespace {

using std::chrono::days;
using std::chrono::floor;
using std::chrono::seconds;

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
  auto it = books_.find(policy_name);
  if (it == books_.end()) it = books_.emplace(std::string(policy_name), Book{}).first;
  Book& book = it->second;
  if (today > book.day) {
    // Only subjects of today are kept, so memory is bounded by who signs on one day.
    book.day = today;
    book.by_subject.clear();
  }
  return book;
}

QuotaLedger::Account& QuotaLedger::Of(Book& book, std::string_view principal) {
  const auto it = book.by_subject.find(principal);
  return it != book.by_subject.end() ? it->second
                                     : book.by_subject.emplace(std::string(principal), Account{}).first->second;
}

std::optional<base::Duration> QuotaLedger::Reserve(std::string_view policy_name, const api::Quota& quota,
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
  if (quota.per_day && counted.in_day >= *quota.per_day) return UntilTomorrow(now);
  if (quota.per_second && counted.in_second >= *quota.per_second) return UntilNextSecond(steady);
  for (Account* account : {&book.total, &subject}) {
    ++account->in_second;
    ++account->in_day;
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
