#include "frontend/request_use.hpp"

#include <algorithm>

namespace signet::frontend {
namespace {

constexpr std::size_t kMaxIdempotencyKey = 255;

}  // namespace

void RouteMetrics::Count(std::string_view path, int status, std::chrono::duration<double> time) {
  auto*& counter = counters_[{path, status}];
  if (counter == nullptr) {
    counter = &obs::GetCounter("signet_http_requests_total", "Requests answered, by route and status.",
                               {{"route", path}, {"status", std::to_string(status)}});
  }
  counter->Add();
  auto*& histogram = histograms_[path];
  if (histogram == nullptr) {
    histogram = &obs::GetHistogram("signet_http_request_duration_seconds",
                                   "From the whole request to its answer, by route.", {{"route", path}});
  }
  histogram->Observe(time.count());
}

base::Result<std::optional<std::string_view>> IdempotencyKey(const http::Request& request) {
  std::optional<std::string_view> key;
  for (const auto& [name, value] : request.headers) {
    if (name != "idempotency-key") continue;
    const bool printable = std::all_of(value.begin(), value.end(), [](char c) { return c > 0x20 && c < 0x7F; });
    if (key || value.empty() || value.size() > kMaxIdempotencyKey || !printable) {
      return base::MakeError(base::Code::kInvalidArgument, "Malformed",
                             "Idempotency-Key: one value of 1 to 255 printable ASCII characters without spaces");
    }
    key = value;
  }
  return key;
}

}  // namespace signet::frontend
