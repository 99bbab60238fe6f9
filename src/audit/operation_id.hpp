// audit/operation_id.hpp - names of operations: ULIDs, 26 characters, growing within one process.
//
// Shared by intent, outcome and release, and handed to callers as `record`. 48 bits of
// milliseconds and 80 random bits; within one millisecond, or when the clock steps back, the
// random part counts up, so that the order of names is the order of operations.
//
// Thread-safety: none; one object per loop. Blocking: never.
// Sources:       ULID specification (Crockford's base 32, monotonic form).
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/bytes.hpp"
#include "base/clock.hpp"

namespace signet::audit {

inline constexpr std::size_t kOperationIdSize = 26;

class OperationIds {
 public:
  explicit OperationIds(const base::Clock& clock) : clock_(clock) {}
  std::string Next();

 private:
  void Refill();

  const base::Clock& clock_;
  std::uint64_t millisecond_ = 0;
  std::array<std::uint8_t, 10> random_{};
  base::Bytes pool_;  ///< random octets fetched ahead: one system call serves many names
  std::size_t used_ = 0;
};

}  // namespace signet::audit
