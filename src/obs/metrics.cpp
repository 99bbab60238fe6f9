#include "obs/metrics.hpp"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <map>
#include <memory>
#include <mutex>

namespace signet::obs {
namespace {

class CounterHandle final : public Counter {
 public:
  explicit CounterHandle(prometheus::Counter& counter) : counter_(counter) {}
  void Add(double amount) override { counter_.Increment(amount); }

 private:
  prometheus::Counter& counter_;
};

class GaugeHandle final : public Gauge {
 public:
  explicit GaugeHandle(prometheus::Gauge& gauge) : gauge_(gauge) {}
  void Set(double value) override { gauge_.Set(value); }

 private:
  prometheus::Gauge& gauge_;
};

class HistogramHandle final : public Histogram {
 public:
  explicit HistogramHandle(prometheus::Histogram& histogram) : histogram_(histogram) {}
  void Observe(double seconds) override { histogram_.Observe(seconds); }

 private:
  prometheus::Histogram& histogram_;
};

const prometheus::Histogram::BucketBoundaries& Buckets() {
  static const prometheus::Histogram::BucketBoundaries bounds = {
      0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
  return bounds;
}

/// Everything the process measures; the registry and the handles given out live as long as it.
struct Instruments {
  std::mutex mutex;
  prometheus::Registry registry;
  std::map<std::string, std::unique_ptr<Counter>> counters;
  std::map<std::string, std::unique_ptr<Gauge>> gauges;
  std::map<std::string, std::unique_ptr<Histogram>> histograms;
  std::map<std::string, prometheus::Gauge*, std::less<>> infos;
};

Instruments& Global() {
  static auto* instruments = new Instruments;  // never destroyed: handles outlive static destruction
  return *instruments;
}

std::map<std::string, std::string> ToMap(Labels labels) {
  std::map<std::string, std::string> map;
  for (const auto& [name, value] : labels) map.emplace(name, value);
  return map;
}

std::string Key(std::string_view name, Labels labels) {
  std::string key(name);
  for (const auto& [label, value] : labels) {
    key += '\0';
    key += label;
    key += '\0';
    key += value;
  }
  return key;
}

}  // namespace

Counter& GetCounter(std::string_view name, std::string_view help, Labels labels) {
  Instruments& all = Global();
  const std::lock_guard lock(all.mutex);
  auto& handle = all.counters[Key(name, labels)];
  if (!handle) {
    auto& family = prometheus::BuildCounter().Name(std::string(name)).Help(std::string(help)).Register(all.registry);
    handle = std::make_unique<CounterHandle>(family.Add(ToMap(labels)));
  }
  return *handle;
}

Gauge& GetGauge(std::string_view name, std::string_view help, Labels labels) {
  Instruments& all = Global();
  const std::lock_guard lock(all.mutex);
  auto& handle = all.gauges[Key(name, labels)];
  if (!handle) {
    auto& family = prometheus::BuildGauge().Name(std::string(name)).Help(std::string(help)).Register(all.registry);
    handle = std::make_unique<GaugeHandle>(family.Add(ToMap(labels)));
  }
  return *handle;
}

Histogram& GetHistogram(std::string_view name, std::string_view help, Labels labels) {
  Instruments& all = Global();
  const std::lock_guard lock(all.mutex);
  auto& handle = all.histograms[Key(name, labels)];
  if (!handle) {
    auto& family = prometheus::BuildHistogram().Name(std::string(name)).Help(std::string(help)).Register(all.registry);
    handle = std::make_unique<HistogramHandle>(family.Add(ToMap(labels), Buckets()));
  }
  return *handle;
}

void SetInfo(std::string_view name, std::string_view help, std::string_view label, std::string_view value) {
  Instruments& all = Global();
  const std::lock_guard lock(all.mutex);
  auto& family = prometheus::BuildGauge().Name(std::string(name)).Help(std::string(help)).Register(all.registry);
  auto& series = family.Add({{std::string(label), std::string(value)}});
  const auto before = all.infos.find(name);
  if (before == all.infos.end()) {
    all.infos.emplace(name, &series);
  } else if (before->second != &series) {
    family.Remove(before->second);
    before->second = &series;
  }
  series.Set(1);
}

std::string RenderMetrics() { return prometheus::TextSerializer().Serialize(Global().registry.Collect()); }

}  // namespace signet::obs
