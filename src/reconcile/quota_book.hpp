// reconcile/quota_book.hpp - who has been lent what of a day's budget: a member of a ConfigMap, and its
// arithmetic.
//
//   {"policy":"release","since":"2026-11-22","days":{"2026-11-23":{"":{"<stream>":{"replica":"signet-operator-0",
//    "lent":150,"used":97,"perDay":1000}}}}}
//
// day -> subject ("" for all callers together) -> stream of a record -> what it has. A replica is known
// by the stream of its record, since that record is what remembers how much was used: with the record
// gone, what was lent to it counts as used.
//
// Invariant:     the sum of `lent` over an account never grows beyond perDay.
// Block:         perDay/20, in [1, 1000], a quarter of what is left at most, and at least what is wanted.
// Thread-safety: none. Sizes: two days are kept.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "policy/quota_lease.hpp"

namespace signet::reconcile {

class QuotaBook {
 public:
  /// "" is an empty book. kUnavailable, QuotaUnavailable: not a book.
  static base::Result<QuotaBook> Parse(std::string_view text);
  /// The same book gives the same text.
  [[nodiscard]] std::string Text(const std::string& policy) const;

  /// True: a book of which no day can be lent from on `day` or after it.
  static bool IsOver(std::string_view text, std::int64_t day);

  struct Borrower {
    std::string stream;   ///< of its record
    std::string replica;  ///< its name, for people
  };
  /// Lends to `borrower`. Asking again after an answer was lost lends at most one block more.
  /// @return kUnavailable, QuotaUnavailable: a day that was closed already; this replica's clock is behind
  base::Result<policy::Lease> Lend(const policy::LeaseAsk& ask, const Borrower& borrower);

 private:
  struct Row {
    std::string replica;
    std::int64_t lent = 0;     ///< in all, on this day
    std::int64_t used = 0;     ///< as reported last
    std::int64_t lost = 0;     ///< part of lent that nobody may use: its record has forgotten signatures
    std::int64_t per_day = 0;  ///< the limit that it was lent under
  };
  using Account = std::map<std::string, Row, std::less<>>;  ///< by stream
  using Day = std::map<std::string, Account, std::less<>>;  ///< by subject

  std::int64_t since_ = 0;  ///< the first day that may still be lent from
  std::map<std::int64_t, Day> days_;
};

}  // namespace signet::reconcile
