#include "base/clock.hpp"
#include "fuzz/fuzz.hpp"

using namespace signet;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto time = base::ParseTime(fuzz::AsInput(data, size));
  if (!time) return 0;
  const std::string text = base::FormatTime(*time);
  const auto again = base::ParseTime(text);
  HOLDS(text.size() == 27);
  HOLDS(again.has_value() && *again == *time);
  HOLDS(base::FormatTimeSeconds(*time).size() == 20);
  return 0;
}
