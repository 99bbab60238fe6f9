#include "controller/controller.hpp"

#include <exception>
#include <utility>

#include "base/check.hpp"
#include "obs/log.hpp"
#include "obs/metrics.hpp"

namespace signet::controller {

bool ShouldRetry(base::Code code) {
  switch (code) {
    case base::Code::kUnavailable:
    case base::Code::kAborted:
    case base::Code::kDeadlineExceeded:
    case base::Code::kResourceExhausted:
    case base::Code::kAlreadyExists:
    case base::Code::kFailedPrecondition:
    // Of the store's answers: a token that is being rotated, a role that is being repaired. Giving up would leave an
    // accepted object without an end state, and nothing would bring it back.
    case base::Code::kUnauthenticated:
    case base::Code::kPermissionDenied:
      return true;
    case base::Code::kInvalidArgument:
    case base::Code::kNotFound:
    case base::Code::kUnimplemented:
    case base::Code::kInternal:
      return false;
  }
  return false;
}

Controller::Controller(Options options, Reconciler& reconciler, const base::Clock& clock)
    : options_(std::move(options)), reconciler_(reconciler), clock_(clock) {
  CHECK(options_.workers >= 1 && options_.workers <= 64, "a controller has 1 to 64 workers");
}

Controller::~Controller() { Stop(); }

void Controller::Watch(Informer& informer, MapKeys map) {
  informers_.push_back(&informer);
  if (!map) {
    map = [](const Key& key, const Informer::Object&, const Informer::Object&) { return std::vector<Key>{key}; };
  }
  sources_.emplace_back(&informer, map);
  informer.AddHandler(
      [this, map = std::move(map)](const Key& key, const Informer::Object& before, const Informer::Object& after) {
        const auto running = queue();
        if (running == nullptr) return;
        for (Key& affected : map(key, before, after)) running->Add(std::move(affected));
      });
}

void Controller::Start() {
  if (IsRunning()) return;
  const auto started =
      std::make_shared<WorkQueue>(WorkQueue::Options{options_.name, options_.base_delay, options_.max_delay}, clock_);
  {
    // Before the known objects are added: a change in between is then added by its event.
    const std::lock_guard lock(mutex_);
    queue_ = started;
  }
  for (const auto& [informer, map] : sources_) {
    for (const Key& known : informer->Keys()) {
      for (Key& key : map(known, nullptr, informer->Get(known))) started->Add(std::move(key));
    }
  }
  for (int i = 0; i < options_.workers; ++i) {
    threads_.emplace_back([this, started] { Work(*started); });
  }
  obs::Info("controller started", {{"controller", options_.name}, {"workers", options_.workers}});
}

void Controller::Stop() {
  std::shared_ptr<WorkQueue> stopped;
  {
    const std::lock_guard lock(mutex_);
    stopped = std::exchange(queue_, nullptr);
  }
  if (stopped == nullptr) return;
  stopped->ShutDown(WorkQueue::Drain::kNothing);
  for (auto& thread : threads_) thread.join();
  threads_.clear();
  obs::Info("controller stopped", {{"controller", options_.name}});
}

bool Controller::IsRunning() const { return queue() != nullptr; }

void Controller::Enqueue(const Key& key) {
  if (const auto running = queue()) running->Add(key);
}

std::shared_ptr<WorkQueue> Controller::queue() const {
  const std::lock_guard lock(mutex_);
  return queue_;
}

void Controller::Work(WorkQueue& queue) {
  while (const auto key = queue.Take()) {
    ProcessOne(queue, *key);
    queue.Done(*key);
  }
}

void Controller::ProcessOne(WorkQueue& queue, const Key& key) {
  const auto began = clock_.Steady();
  base::Result<Outcome> result = [&]() -> base::Result<Outcome> {
    try {
      return reconciler_.Reconcile(key);
    } catch (const std::exception& error) {
      return base::MakeError(base::Code::kInternal, error.what());
    }
  }();
  obs::GetHistogram("signet_reconcile_seconds", "Time of one reconcile", {{"controller", options_.name}})
      .Observe(std::chrono::duration<double>(clock_.Steady() - began).count());
  if (result) {
    queue.Forget(key);
    if (result->after) queue.AddAfter(key, *result->after);
    return;
  }
  const bool retry = ShouldRetry(result.error().code);
  obs::GetCounter("signet_reconcile_errors_total", "Reconciles that ended with an error",
                  {{"controller", options_.name}, {"final", retry ? "false" : "true"}})
      .Add();
  obs::Log(retry ? obs::Level::kWarn : obs::Level::kError, retry ? "reconcile will be retried" : "reconcile failed",
           {{"controller", options_.name},
            {"key", Describe(key)},
            {"code", base::Name(result.error().code)},
            {"error", base::Describe(result.error())}});
  if (retry) {
    queue.AddRateLimited(key);
  } else {
    queue.Forget(key);
  }
}

}  // namespace signet::controller
