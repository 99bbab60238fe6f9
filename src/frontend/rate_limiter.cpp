#include "frontend/rate_limiter.hpp"

#include <algorithm>
#include <cmath>

namespace signet::frontend {

std::optional<base::Duration> RateLimiter::Take(std::string_view caller, double cost) {
  if (options_.rate <= 0) return std::nullopt;
  Bucket& bucket = Find(caller);
  const base::SteadyPoint now = clock_.Steady();
  const double passed = std::chrono::duration<double>(now - bucket.at).count();
  bucket.level = std::min(options_.burst, bucket.level + passed * options_.rate);
  bucket.at = now;
  const double needed = std::min(cost, options_.burst);
  if (bucket.level >= needed) {
    bucket.level -= cost;
    return std::nullopt;
  }
  const double wait = (needed - bucket.level) / options_.rate;
  return base::Duration(static_cast<base::Duration::rep>(std::ceil(wait * 1e6)));
}

RateLimiter::Bucket& RateLimiter::Find(std::string_view caller) {
  const auto [found, created] = buckets_.try_emplace(std::string(caller));
  Bucket& bucket = found->second;
  if (!created) {
    order_.splice(order_.end(), order_, bucket.order);
    return bucket;
  }
  bucket.level = options_.burst;
  bucket.at = clock_.Steady();
  bucket.order = order_.insert(order_.end(), found->first);
  if (buckets_.size() > options_.entries) {
    buckets_.erase(order_.front());
    order_.pop_front();
  }
  return bucket;
}

}  // namespace signet::frontend
