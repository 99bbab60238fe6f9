#include "reconcile/quota_book.hpp"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "encoding/json.hpp"
#include "reconcile/quota_error.hpp"

namespace signet::reconcile {
namespace {

constexpr std::int64_t kBlocksPerDay = 20;
constexpr std::int64_t kLargestBlock = 1000;
constexpr std::int64_t kShareOfTheRest =
    4;  // so that the last of a day is not parked with replicas that do not need it
constexpr std::int64_t kLargestNumber = 1LL << 50U;

std::string DayText(std::int64_t day) {
  return base::FormatTimeSeconds(base::TimePoint(std::chrono::days(day))).substr(0, 10);
}

base::Result<std::int64_t> ReadDay(const std::string& text) {
  TRY(const auto time, base::ParseTime(text + "T00:00:00Z"));
  return static_cast<std::int64_t>(std::chrono::floor<std::chrono::days>(time).time_since_epoch().count());
}

/// Throws nlohmann::json::exception for everything that is no count.
std::int64_t Count(const nlohmann::json& row, const char* name) {
  const auto& member = row.at(name);
  const auto count = member.is_number_integer() ? member.get<std::int64_t>() : -1;
  if (count < 0 || count > kLargestNumber) throw nlohmann::json::other_error::create(501, name, &member);
  return count;
}

}  // namespace

base::Result<QuotaBook> QuotaBook::Parse(std::string_view text) {
  QuotaBook book;
  if (text.empty()) return book;
  TRY(const auto parsed, encoding::ParseJson(text));
  try {
    TRY(book.since_, ReadDay(parsed.at("since").get<std::string>()));
    for (const auto& [day, accounts] : parsed.at("days").items()) {
      TRY(const auto number, ReadDay(day));
      for (const auto& [subject, rows] : accounts.items()) {
        auto& account = book.days_[number][subject];
        for (const auto& [stream, row] : rows.items()) {
          account[stream] = {row.at("replica").get<std::string>(), Count(row, "lent"), Count(row, "used"),
                             row.contains("lost") ? Count(row, "lost") : 0, Count(row, "perDay")};
        }
      }
    }
  } catch (const nlohmann::json::exception&) {
    return QuotaUnavailable("lacks a member, or has one of a wrong type");
  }
  return book;
}

bool QuotaBook::IsOver(std::string_view text, std::int64_t day) {
  const auto book = Parse(text);
  return book && book->since_ + 1 < day - 1;  // it was lent from on the day after `since_` last
}

std::string QuotaBook::Text(const std::string& policy) const {
  nlohmann::json out = {{"policy", policy}, {"since", DayText(since_)}, {"days", nlohmann::json::object()}};
  for (const auto& [number, accounts] : days_) {
    auto& day = out["days"][DayText(number)];
    for (const auto& [subject, rows] : accounts) {
      auto& account = day[subject];
      for (const auto& [stream, row] : rows) {
        account[stream] = {{"replica", row.replica}, {"lent", row.lent}, {"used", row.used}, {"perDay", row.per_day}};
        if (row.lost > 0) account[stream]["lost"] = row.lost;
      }
    }
  }
  return out.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

base::Result<policy::Lease> QuotaBook::Lend(const policy::LeaseAsk& ask, const Borrower& borrower) {
  if (ask.day < since_) {
    return QuotaUnavailable("the budget of " + DayText(ask.day) + " is closed: the clock of this replica is behind");
  }
  // Yesterday stays for replicas whose clocks are a little behind.
  since_ = std::max(since_, ask.day - 1);
  days_.erase(days_.begin(), days_.lower_bound(since_));
  Account& account = days_[ask.day][ask.subject];
  Row& row = account[borrower.stream];
  row.replica = borrower.replica;
  // Somebody has deleted or cut the book: what this replica knows to have is not lent twice.
  row.lent = std::max(row.lent, ask.lent + row.lost);
  // Its record knows of less than it did: what is missing there may have been signed.
  if (ask.used < row.used) row.lost = std::max(row.lost, row.lent - ask.used);
  const auto allowed = row.lent - row.lost;
  if (ask.used > allowed) {
    row.lent += ask.used - allowed;  // signed before the policy had this limit, or under another scope
  } else if (row.per_day > ask.per_day) {
    row.lent = ask.used + row.lost;  // the limit was lowered: what is not used goes back
  }
  std::int64_t total = 0;
  for (const auto& [stream, other] : account) total += other.lent;
  const auto left = ask.per_day - total;
  const auto spare = row.lent - row.lost - ask.used;
  if (left > 0 && spare < ask.wanted) {
    const auto block = std::clamp<std::int64_t>(ask.per_day / kBlocksPerDay, 1, kLargestBlock);
    const auto grant = std::max(std::min(block, left / kShareOfTheRest), ask.wanted - spare);
    const auto lent = std::clamp<std::int64_t>(grant, 1, left);
    row.lent += lent;
    total += lent;
  }
  row.used = ask.used;
  row.per_day = ask.per_day;
  return policy::Lease{row.lent - row.lost, total >= ask.per_day};
}

}  // namespace signet::reconcile
