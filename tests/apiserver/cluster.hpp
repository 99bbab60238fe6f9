// tests/apiserver/cluster.hpp - the cluster under test: configurations, a kind of our own, waiting.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "config/kubeconfig.hpp"
#include "kube/rest_store.hpp"

namespace signet::testing {

using nlohmann::json;
using namespace std::chrono_literals;

inline std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}
/// True when the cluster is not ours: its server cannot be taken away.
inline bool IsForeignCluster() { return !Environment("KUBECONFIG").empty(); }

inline kube::ClusterConfig AdminConfig() {
  const std::string foreign = Environment("KUBECONFIG");
  auto config =
      config::LoadKubeconfig(foreign.empty() ? Environment("SIGNET_CLUSTER_DIR") + "/kubeconfig" : foreign, "");
  if (!config) throw std::runtime_error(base::Describe(config.error()));
  return *std::move(config);
}

inline std::unique_ptr<kube::RestStore> OpenStore(kube::RestOptions options = {},
                                                  kube::ClusterConfig config = AdminConfig()) {
  kube::InitializeProcess();
  auto store = kube::RestStore::Open(std::move(config), std::move(options));
  if (!store) throw std::runtime_error(base::Describe(store.error()));
  return *std::move(store);
}

inline const kube::Resource kConfigMaps{"", "v1", "configmaps", "ConfigMap", true};
inline const kube::Resource kWidgets{"test.signet.dev", "v1", "widgets", "Widget", true};
inline const kube::Resource kCrds{"apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition",
                                  false};

/// A name that no other test uses.
inline std::string UniqueName(const std::string& stem) {
  static std::atomic<int> counter{0};
  return stem + "-" + std::to_string(::getpid()) + "-" +
         std::to_string(std::chrono::system_clock::now().time_since_epoch().count() % 1'000'000'000) + "-" +
         std::to_string(++counter);
}

/// Asks again until `done`, as what it waits for is in another process.
inline bool Eventually(const std::function<bool()>& done, std::chrono::milliseconds limit = 10s) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(10ms);
  }
  return true;
}

/// The kind Widget, with a status of its own.
inline void InstallWidgets(kube::ObjectStore& store) {
  const json any = {{"type", "object"}, {"x-kubernetes-preserve-unknown-fields", true}};
  auto made = store.Create(
      kCrds, "",
      {{"apiVersion", "apiextensions.k8s.io/v1"},
       {"kind", "CustomResourceDefinition"},
       {"metadata", {{"name", "widgets.test.signet.dev"}}},
       {"spec",
        {{"group", "test.signet.dev"},
         {"scope", "Namespaced"},
         {"names", {{"plural", "widgets"}, {"singular", "widget"}, {"kind", "Widget"}}},
         {"versions",
          {{{"name", "v1"},
            {"served", true},
            {"storage", true},
            {"subresources", {{"status", json::object()}}},
            {"schema",
             {{"openAPIV3Schema", {{"type", "object"}, {"properties", {{"spec", any}, {"status", any}}}}}}}}}}}}});
  ASSERT_TRUE(made.has_value() || made.error().code == base::Code::kAlreadyExists) << base::Describe(made.error());
  ASSERT_TRUE(Eventually([&] { return store.ListAll(kWidgets).has_value(); }));
}

inline json Widget(const std::string& name, int size = 1) {
  return {{"apiVersion", "test.signet.dev/v1"},
          {"kind", "Widget"},
          {"metadata", {{"name", name}, {"namespace", "default"}}},
          {"spec", {{"size", size}}}};
}

inline std::string Meta(const json& object, const char* member) { return object["metadata"][member]; }

/// Collects what a watch brings.
class Recorder {
 public:
  kube::WatchSink Sink() {
    return {[this](kube::WatchEvent event) {
              const std::lock_guard lock(mutex_);
              times_.push_back(std::chrono::steady_clock::now());
              events_.push_back(std::move(event));
              changed_.notify_all();
            },
            [this](base::Status end) {
              const std::lock_guard lock(mutex_);
              ++ends_;
              end_ = std::move(end);
              changed_.notify_all();
            }};
  }
  bool WaitForEvents(std::size_t count, std::chrono::milliseconds limit = 10s) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [&] { return events_.size() >= count; });
  }
  std::optional<base::Status> WaitForEnd(std::chrono::milliseconds limit = 10s) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, limit, [&] { return end_.has_value(); });
    return end_;
  }
  std::vector<kube::WatchEvent> events() const {
    const std::lock_guard lock(mutex_);
    return events_;
  }
  std::vector<std::chrono::steady_clock::time_point> times() const {
    const std::lock_guard lock(mutex_);
    return times_;
  }
  int ends() const {
    const std::lock_guard lock(mutex_);
    return ends_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<kube::WatchEvent> events_;
  std::vector<std::chrono::steady_clock::time_point> times_;
  std::optional<base::Status> end_;
  int ends_ = 0;
};

/// Runs `work(i)` for 0 <= i < count on `threads` threads.
inline void InParallel(int threads, int count, const std::function<void(int)>& work) {
  std::atomic<int> next{0};
  std::vector<std::thread> running;
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([&] {
      for (int i; (i = next++) < count;) work(i);
    });
  }
  for (auto& thread : running) thread.join();
}

}  // namespace signet::testing
