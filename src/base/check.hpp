// base/check.hpp - CHECK: a broken invariant ends the process, in every build.
//
// Never on input, network, file or HSM results: those are Result<T>.
#pragma once

namespace signet::base {
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line, const char* why) noexcept;
}

#define CHECK(condition, why) \
  ((condition) ? static_cast<void>(0) : ::signet::base::CheckFailed(#condition, __FILE__, __LINE__, why))
