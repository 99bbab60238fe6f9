// What a stranger may put into the Authorization field: read without falling over, and never taken for more than it is.
#include "authn/bearer_token.hpp"
#include "fuzz/fuzz.hpp"

using namespace signet;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view field = fuzz::AsInput(data, size);
  const auto token = authn::BearerOf(field);
  HOLDS(!token || (!token->empty() && field.ends_with(*token)));
  const base::TimePoint now{std::chrono::seconds(1'795'424'400)};
  const auto ends = authn::CheckToken(token ? *token : field, "signet.dev", now);
  HOLDS(ends ? *ends > now : ends.error().code == base::Code::kUnauthenticated);
  HOLDS(ends || ends.error().message.find(field) == std::string::npos || size < 4);
  return 0;
}
