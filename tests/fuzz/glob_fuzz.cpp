// PATTERN newline NAME, against the plain reference.
#include "fuzz/fuzz.hpp"
#include "policy/glob.hpp"
#include "support/naive_glob.hpp"

using namespace signet;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = fuzz::AsInput(data, size);
  const auto line = text.find('\n');
  if (line == std::string_view::npos) return 0;
  const auto pattern = text.substr(0, line);
  const auto name = text.substr(line + 1);
  if (pattern.size() > 512 || name.size() > 1024) return 0;
  for (const auto segment : signet::testing::SplitSegments(pattern)) {
    if (segment != "**" && segment.find("**") != std::string_view::npos) return 0;
  }
  const bool matches = policy::Glob(std::string(pattern)).Matches(name);
  // The reference takes exponential time.
  if (pattern.size() <= 20 && name.size() <= 20) HOLDS(matches == signet::testing::NaiveGlobMatches(pattern, name));
  return 0;
}
