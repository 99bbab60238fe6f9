// tests/bench/patch_bench.cpp - what the API server can do, by the operator's own client.
//
// patch_bench KUBECONFIG NAMESPACE POLICY ceiling COUNT THREADS   status PATCHes of COUNT unsigned requests, per second
// patch_bench KUBECONFIG NAMESPACE POLICY watched COUNT THREADS   the same while a watch follows them
// patch_bench KUBECONFIG NAMESPACE POLICY create COUNT THREADS    creates COUNT requests (for the operator to sign)
// patch_bench KUBECONFIG NAMESPACE POLICY ready COUNT 1           create to Ready=True, one after another
// patch_bench KUBECONFIG NAMESPACE POLICY finished COUNT THREADS [BYTES]  makes COUNT requests that look signed, with a
//                                                                 message of BYTES
// Prints one JSON line.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <thread>

#include "base/clock.hpp"
#include "config/kubeconfig.hpp"
#include "encoding/text.hpp"
#include "kube/rest_store.hpp"

namespace {

using namespace signet;  // NOLINT: a program of one file
using nlohmann::json;

const kube::Resource kRequests{"signet.dev", "v1alpha1", "signingrequests", "SigningRequest", true};

template <class T>
T Need(base::Result<T> result, const char* what) {
  if (result) return std::move(*result);
  std::fprintf(stderr, "patch_bench: %s: %s\n", what, base::Describe(result.error()).c_str());
  std::exit(1);
}

double Micros(base::SteadyPoint since) {
  return std::chrono::duration<double, std::micro>(base::SystemClock().Steady() - since).count();
}

double Percentile(std::vector<double>& values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
}

struct Bench {
  kube::RestStore& store;
  std::string ns, policy, prefix;
  std::string message;  ///< base64; empty: a digest

  json Create(int number) {
    json request = {{"apiVersion", "signet.dev/v1alpha1"},
                    {"kind", "SigningRequest"},
                    {"metadata", {{"name", prefix + std::to_string(number)}, {"namespace", ns}}},
                    {"spec",
                     {{"policyRef", {{"name", policy}}},
                      {"digest", "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}}}};
    if (!message.empty()) {
      request["spec"].erase("digest");
      request["spec"]["message"] = message;
    }
    return Need(store.Create(kRequests, ns, request), "create");
  }

  /// Runs `work(i)` for i in [0, count) on `threads` threads; returns seconds.
  template <class Work>
  double Spread(int count, int threads, Work work) {
    std::atomic<int> next{0};
    std::vector<std::thread> pool;
    const auto start = base::SystemClock().Steady();
    for (int t = 0; t < threads; ++t) {
      pool.emplace_back([&] {
        for (int i = next++; i < count; i = next++) work(i);
      });
    }
    for (auto& thread : pool) thread.join();
    return Micros(start) / 1e6;
  }

  /// As large as what the operator writes.
  static json Status(const char* ready) {
    const auto condition = [ready](const char* type, const char* reason, const char* text) {
      return json{{"type", type},    {"status", ready},         {"reason", reason},
                  {"message", text}, {"observedGeneration", 1}, {"lastTransitionTime", "2026-01-01T00:00:00Z"}};
    };
    return {{"observedGeneration", 1},
            {"signature", std::string(96, 'A')},
            {"algorithm", "ECDSAWithSHA256"},
            {"keyID", std::string(64, 'a')},
            {"publicKey", std::string(178, 'A')},
            {"policy", {{"name", "bench"}, {"uid", "5a29e13d-8337-46ce-b8ad-6a471bb29015"}, {"generation", 1}}},
            {"signedAt", "2026-01-01T00:00:00Z"},
            {"record", "01M856Y5H3EMGKPZFP890REVJ9"},
            {"conditions", json::array({condition("Pending", "PolicyAllows", "policy bench (generation 1) allows it"),
                                        condition("Ready", "Pending", "signed and verified with status.publicKey")})}};
  }

  json Patch(const json& meta, const json& status) {
    return Need(store.PatchStatus(kRequests, ns, meta.at("name").get<std::string>(), meta.at("uid").get<std::string>(),
                                  meta.at("resourceVersion").get<std::string>(), status),
                "patch");
  }

  void Finished(int count, int threads) {
    const json status = Status("True");
    const double seconds = Spread(count, threads, [&](int i) { Patch(Create(i).at("metadata"), status); });
    std::printf(R"({"rate":%.1f})"
                "\n",
                count / seconds);
  }

  void Ceiling(int count, int threads, bool watched) {
    std::unique_ptr<kube::Watch> watch;
    if (watched) {
      watch = store.StartWatch(kRequests, Need(store.ListAll(kRequests), "list").resource_version,
                               {[](const kube::WatchEvent&) {}, [](const base::Status&) {}});
    }
    std::vector<json> objects(static_cast<std::size_t>(count));
    Spread(count, threads, [&](int i) { objects[static_cast<std::size_t>(i)] = Create(i); });
    const json status = Status("False");
    std::vector<double> micros(static_cast<std::size_t>(count));
    const double seconds = Spread(count, threads, [&](int i) {
      const json& meta = objects[static_cast<std::size_t>(i)].at("metadata");
      const auto start = base::SystemClock().Steady();
      Patch(meta, status);
      micros[static_cast<std::size_t>(i)] = Micros(start);
    });
    std::printf(R"({"rate":%.1f,"p50_us":%.0f,"p99_us":%.0f})"
                "\n",
                count / seconds, Percentile(micros, 0.5), Percentile(micros, 0.99));
  }

  void Ready(int count) {
    std::mutex mutex;
    std::condition_variable changed;
    std::map<std::string, base::SteadyPoint> ready;
    const auto version = Need(store.ListAll(kRequests), "list").resource_version;
    auto watch =
        store.StartWatch(kRequests, version,
                         {[&](kube::WatchEvent event) {
                            for (const auto& c : event.object.value("/status/conditions"_json_pointer, json::array())) {
                              if (c.at("type") != "Ready" || c.at("status") != "True") continue;
                              const std::lock_guard lock(mutex);
                              ready.emplace(event.object.at("metadata").at("name"), base::SystemClock().Steady());
                              changed.notify_all();
                            }
                          },
                          [](base::Status) {}});
    std::vector<double> micros;
    for (int i = 0; i < count; ++i) {
      const auto start = base::SystemClock().Steady();
      Create(i);
      std::unique_lock lock(mutex);
      const bool seen =
          changed.wait_for(lock, std::chrono::seconds(30), [&] { return ready.contains(prefix + std::to_string(i)); });
      if (!seen) {
        std::fprintf(stderr, "patch_bench: a request was not ready within 30 s\n");
        std::exit(1);
      }
      micros.push_back(std::chrono::duration<double, std::micro>(ready[prefix + std::to_string(i)] - start).count());
    }
    std::printf(R"({"p50_us":%.0f,"p99_us":%.0f})"
                "\n",
                Percentile(micros, 0.5), Percentile(micros, 0.99));
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7 && argc != 8) {
    std::fprintf(stderr,
                 "usage: patch_bench KUBECONFIG NAMESPACE POLICY ceiling|watched|create|ready|finished COUNT THREADS "
                 "[BYTES]\n");
    return 2;
  }
  kube::InitializeProcess();
  auto config = Need(config::LoadKubeconfig(argv[1], ""), "kubeconfig");
  auto store = Need(kube::RestStore::Open(std::move(config), {}), "client");
  const std::string mode = argv[4];
  Bench bench{*store, argv[2], argv[3],
              mode + "-" + std::to_string(base::SystemClock().Now().time_since_epoch().count()) + "-",
              argc == 8 ? encoding::ToBase64(base::Bytes(std::strtoul(argv[7], nullptr, 10), 'm')) : std::string()};
  const int count = std::atoi(argv[5]);
  const int threads = std::atoi(argv[6]);
  if (mode == "ceiling" || mode == "watched") {
    bench.Ceiling(count, threads, mode == "watched");
  } else if (mode == "finished") {
    bench.Finished(count, threads);
  } else if (mode == "ready") {
    bench.Ready(count);
  } else {
    const double seconds = bench.Spread(count, threads, [&](int i) { bench.Create(i); });
    std::printf(R"({"rate":%.1f})"
                "\n",
                count / seconds);
  }
  return 0;
}
