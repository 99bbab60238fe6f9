// frontend/request_use.hpp - what all doors do with a request, whoever answers it: count it, read its Idempotency-Key.
//
// Thread-safety: reactor thread.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.hpp"
#include "http/server.hpp"
#include "obs/metrics.hpp"

namespace signet::frontend {

/// One use of a route, counted and timed when it is answered.
class RouteMetrics {
 public:
  /// `path` as Routes() writes it, or "other".
  void Count(std::string_view path, int status, std::chrono::duration<double> time);

 private:
  std::map<std::pair<std::string_view, int>, obs::Counter*> counters_;
  std::map<std::string_view, obs::Histogram*> histograms_;
};

/// The key, nothing when there is none, or why it is refused ("Malformed").
base::Result<std::optional<std::string_view>> IdempotencyKey(const http::Request& request);

}  // namespace signet::frontend
