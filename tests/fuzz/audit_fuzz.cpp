// A record as `signet audit verify` reads it: whatever is in the file, it says something true and does not fall over.
#include "audit/ledger.hpp"
#include "audit/verify.hpp"
#include "fuzz/fuzz.hpp"

using namespace signet;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto report = audit::VerifyText(fuzz::AsInput(data, size));
  HOLDS(!report.problem || !report.problem->why.empty());
  HOLDS(report.head.empty() || report.head.size() == 64);
  HOLDS(report.records <= size);
  HOLDS(report.signed_ + report.failed + report.unknown <= report.records);
  if (report.records > 0) HOLDS(report.last_seq >= report.first_seq);
  audit::Ledger ledger;
  if (ledger.Restore(fuzz::AsInput(data, size))) {
    std::string checkpoint;
    ledger.AppendCheckpoint(checkpoint);
    audit::Ledger again;
    HOLDS(again.Restore(checkpoint).has_value());
    std::string same;
    again.AppendCheckpoint(same);
    HOLDS(same == checkpoint);
  }
  return 0;
}
