#include "base/check.hpp"

#include <cstdio>
#include <cstdlib>

namespace signet::base {
void CheckFailed(const char* condition, const char* file, int line, const char* why) noexcept {
  std::fprintf(stderr, "signet: broken invariant at %s:%d: %s (%s)\n", file, line, why, condition);
  std::abort();
}
}  // namespace signet::base
