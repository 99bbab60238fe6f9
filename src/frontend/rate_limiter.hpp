// frontend/rate_limiter.hpp - so many requests a second and caller: token buckets by name.
//
// A bucket fills at `rate` up to `burst`. What costs more than a full bucket is let through when it is full, and paid
// back before the next: a batch of 256 is possible at a rate of 1, and then not for four minutes.
//
// Ownership:     owns its buckets.
// Thread-safety: reactor thread.
// Blocking:      never.
// Sizes:         Options::entries buckets; the least recently used goes first (and would start full again).
// Units:         requests; seconds.
#pragma once

#include <cstddef>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/clock.hpp"

namespace signet::frontend {

class RateLimiter {
 public:
  struct Options {
    double rate = 1000;   ///< a second; 0: no limit
    double burst = 2000;  ///< at least 1
    std::size_t entries = 10'000;
  };
  RateLimiter(Options options, const base::Clock& clock) : options_(options), clock_(clock) {}

  /// Nothing: go on. Otherwise how long to wait until `cost` can be had; nothing was taken.
  std::optional<base::Duration> Take(std::string_view caller, double cost);
  [[nodiscard]] std::size_t size() const { return buckets_.size(); }

 private:
  struct Bucket {
    double level = 0;  ///< may be below 0: debt
    base::SteadyPoint at{};
    std::list<std::string>::iterator order;
  };
  Bucket& Find(std::string_view caller);

  const Options options_;
  const base::Clock& clock_;
  std::unordered_map<std::string, Bucket> buckets_;
  std::list<std::string> order_;  ///< names of buckets_, the least recently used first
};

}  // namespace signet::frontend
