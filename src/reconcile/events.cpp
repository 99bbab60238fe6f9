#include "reconcile/events.hpp"

#include <fmt/format.h>

#include <utility>

#include "base/printable.hpp"
#include "obs/log.hpp"
#include "obs/metrics.hpp"
#include "reconcile/conditions.hpp"
#include "reconcile/resources.hpp"

namespace signet::reconcile {
namespace {

constexpr std::size_t kMaxEventMessage = 1024;  // the API server refuses longer ones
constexpr std::size_t kMaxNamePrefix = 200;     // leaves room for the suffix within 253

}  // namespace

StoreEventRecorder::StoreEventRecorder(kube::ObjectStore& store, const base::Clock& clock, Options options)
    : store_(store), clock_(clock), options_(std::move(options)), thread_([this] { Run(); }) {}

StoreEventRecorder::~StoreEventRecorder() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void StoreEventRecorder::Record(const kube::Resource& resource, const api::ObjectMeta& object, Type type,
                                std::string reason, std::string message) {
  const auto now = clock_.Now();
  const std::string time = base::FormatTimeSeconds(now);
  message = Bounded(base::PrintableLine(message), kMaxEventMessage);
  // Events of cluster-scoped objects live in "default", as those of nodes do.
  const std::string ns = object.ns.empty() ? "default" : object.ns;
  nlohmann::json event = {
      {"apiVersion", "v1"},
      {"kind", "Event"},
      {"involvedObject",
       {{"apiVersion", resource.group + "/" + resource.version},
        {"kind", resource.kind},
        {"name", object.name},
        {"uid", object.uid},
        {"resourceVersion", object.resource_version}}},
      {"reason", std::move(reason)},
      {"message", std::move(message)},
      {"type", type == Type::kWarning ? "Warning" : "Normal"},
      {"count", 1},
      {"firstTimestamp", time},
      {"lastTimestamp", time},
      {"source", {{"component", options_.component}}},
      {"reportingComponent", "signet.dev/operator"},
      {"reportingInstance", options_.instance},
  };
  if (!object.ns.empty()) event["involvedObject"]["namespace"] = object.ns;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || queue_.size() >= options_.queue) {
      obs::GetCounter("signet_events_dropped_total", "Events not written because the queue was full").Add();
      return;
    }
    event["metadata"] = {{"name", fmt::format("{}.{:x}{:04x}", object.name.substr(0, kMaxNamePrefix),
                                              now.time_since_epoch().count(), ++counter_ & 0xFFFFU)},
                         {"namespace", ns}};
    queue_.push_back({ns, std::move(event)});
  }
  wake_.notify_one();
}

void StoreEventRecorder::Run() {
  for (;;) {
    Pending next;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      next = std::move(queue_.front());
      queue_.pop_front();
    }
    if (auto created = store_.Create(Events(), next.ns, next.object); !created) {
      obs::Debug("event not written", {{"error", base::Describe(created.error())}});
    }
  }
}

void LogEventRecorder::Record(const kube::Resource& resource, const api::ObjectMeta& object, Type type,
                              std::string reason, std::string message) {
  obs::Log(type == Type::kWarning ? obs::Level::kWarn : obs::Level::kInfo, "event",
           {{"kind", resource.kind},
            {"namespace", object.ns},
            {"name", object.name},
            {"reason", reason},
            {"message", message}});
}

}  // namespace signet::reconcile
