// The book of a day's budget, as it comes out of a ConfigMap that somebody may have edited.
#include "fuzz/fuzz.hpp"
#include "reconcile/quota_book.hpp"

using namespace signet;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto book = reconcile::QuotaBook::Parse(fuzz::AsInput(data, size));
  if (!book) return 0;
  const auto text = book->Text("release");
  const auto again = reconcile::QuotaBook::Parse(text);
  HOLDS(again.has_value());
  HOLDS(again->Text("release") == text);
  policy::LeaseAsk ask;
  ask.day = 20780;  // 2026-11-23
  ask.per_day = 100;
  ask.used = 7;
  const auto lease = book->Lend(ask, {"a", "signet-operator-0"});
  if (!lease) return 0;
  HOLDS(lease->lent >= ask.used);
  ask.used = lease->lent;
  const auto more = book->Lend(ask, {"a", "signet-operator-0"});
  HOLDS(more && more->lent >= lease->lent);
  HOLDS(!lease->all_lent || more->lent == lease->lent);
  HOLDS(reconcile::QuotaBook::Parse(book->Text("release")).has_value());
  return 0;
}
