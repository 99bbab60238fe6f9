// obs/metrics.hpp - the process's metrics (prometheus-cpp inside).
//
// Names are signet_<thing>_<unit>; docs/metrics.md lists them. Thread-safety: any thread. Handles live for the process.
#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace signet::obs {

using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

class Counter {
 public:
  virtual ~Counter() = default;
  virtual void Add(double amount = 1) = 0;
};
class Gauge {
 public:
  virtual ~Gauge() = default;
  virtual void Set(double value) = 0;
};
class Histogram {
 public:
  virtual ~Histogram() = default;
  virtual void Observe(double seconds) = 0;
};

/// The same name and labels give the same handle; look up once and keep the reference on hot paths.
Counter& GetCounter(std::string_view name, std::string_view help, Labels labels = {});
Gauge& GetGauge(std::string_view name, std::string_view help, Labels labels = {});
/// Buckets from 50 µs to 10 s.
Histogram& GetHistogram(std::string_view name, std::string_view help, Labels labels = {});

/// A series with the value 1 whose label says something that changes; the series before it goes away.
void SetInfo(std::string_view name, std::string_view help, std::string_view label, std::string_view value);

/// Prometheus text exposition format 0.0.4.
std::string RenderMetrics();

}  // namespace signet::obs
