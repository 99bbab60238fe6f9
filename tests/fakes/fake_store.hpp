// tests/fakes/fake_store.hpp - an API server in memory: versions, uids, generations, watches, faults.
//
// As on a real server: one counter of resource versions for all objects; status is written by
// PatchStatus alone and leaves the generation as it is; spec changes raise it; a watch that starts
// before the oldest kept event ends with kAborted (410). Events are delivered in order on one thread
// of the store, never inside the writer's call.
//
// Faults: set_fault(f) is asked before each call; an error it gives is the call's answer. With
// Fault::applied the call is carried out first, so that only the answer is lost.
//
// Thread-safety: any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "kube/object_store.hpp"

namespace signet::testing {

class FakeStore final : public kube::ObjectStore {
 public:
  using Json = nlohmann::json;
  struct Call {
    std::string verb;  ///< Get, ListAll, Create, Update, PatchStatus, MergePatch, Delete, StartWatch, Review
    kube::Resource resource;
    std::string ns;
    std::string name;
    Json body;                           ///< object or status, null otherwise
    std::chrono::milliseconds limit{0};  ///< of PatchStatusWithin
  };
  struct Fault {
    base::Error error;
    bool applied = false;
  };
  using FaultHook = std::function<std::optional<Fault>(const Call&)>;

  explicit FakeStore(const base::Clock& clock = base::SystemClock(), bool trusts_requesters = false)
      : clock_(clock), trusts_requesters_(trusts_requesters), deliverer_([this] { Deliver(); }) {}
  ~FakeStore() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    deliverer_.join();
  }
  FakeStore(const FakeStore&) = delete;
  FakeStore& operator=(const FakeStore&) = delete;

  // ---- what tests turn and read ----

  void set_fault(FaultHook hook) {
    const std::lock_guard lock(mutex_);
    fault_ = std::move(hook);
  }
  /// What the server answers to a review of any kind; it is called without the store's lock.
  void set_review(std::function<base::Result<Json>(const Json& question)> answer) {
    const std::lock_guard lock(mutex_);
    review_ = std::move(answer);
  }
  /// Forgets all events: watches from before now end with kAborted when they start.
  void Compact() {
    const std::lock_guard lock(mutex_);
    history_.clear();
    compacted_ = version_;
  }
  /// Ends every running watch with `status`.
  void BreakWatches(const base::Status& status) {
    {
      const std::lock_guard lock(mutex_);
      for (auto& watch : TakeLive()) deliveries_.push_back({watch, {}, status});
      live_.clear();
    }
    wake_.notify_all();
  }
  void SendBookmarks() {
    {
      const std::lock_guard lock(mutex_);
      for (auto& watch : TakeLive()) {
        const Json object = {{"metadata", {{"resourceVersion", std::to_string(version_)}}}};
        deliveries_.push_back({watch, {kube::WatchEvent::Type::kBookmark, object}, {}});
      }
    }
    wake_.notify_all();
  }
  /// Returns when every event so far has been delivered.
  void Flush() {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return deliveries_.empty() && !delivering_; });
  }
  /// While held, events pile up undelivered.
  void HoldEvents(bool hold) {
    {
      const std::lock_guard lock(mutex_);
      held_ = hold;
    }
    wake_.notify_all();
  }
  [[nodiscard]] std::size_t CountCalls(std::string_view verb) const {
    const std::lock_guard lock(mutex_);
    const auto it = calls_.find(verb);
    return it == calls_.end() ? 0 : it->second;
  }
  [[nodiscard]] std::size_t CountWatches() const {
    const std::lock_guard lock(mutex_);
    std::size_t count = 0;
    for (const auto& watch : live_) count += watch.expired() ? 0 : 1;
    return count;
  }
  /// Every state that an object of `resource` ever had, oldest first.
  [[nodiscard]] std::vector<Json> Revisions(const kube::Resource& resource, std::string_view ns,
                                            std::string_view name) const {
    const std::lock_guard lock(mutex_);
    std::vector<Json> out;
    for (const auto& [id, object] : revisions_) {
      if (id == MakeId(resource, ns, name)) out.push_back(object);
    }
    return out;
  }

  // ---- ObjectStore ----

  base::Result<Json> Get(const kube::Resource& resource, std::string_view ns, std::string_view name) override {
    return Guard<Json>({"Get", resource, std::string(ns), std::string(name), nullptr}, [&]() -> base::Result<Json> {
      const auto it = objects_.find(MakeId(resource, ns, name));
      if (it == objects_.end()) return NotFound(name);
      return it->second;
    });
  }

  base::Result<kube::List> ListAll(const kube::Resource& resource) override {
    return Guard<kube::List>({"ListAll", resource, "", "", nullptr}, [&]() -> base::Result<kube::List> {
      kube::List list;
      for (const auto& [id, object] : objects_) {
        if (IsOf(id, resource)) list.items.push_back(object);
      }
      list.resource_version = std::to_string(version_);
      return list;
    });
  }

  base::Result<Json> Create(const kube::Resource& resource, std::string_view ns, const Json& object) override {
    Json made = object;
    auto& meta = made["metadata"];
    const std::string name = meta.value("name", "");
    return Guard<Json>({"Create", resource, std::string(ns), name, object}, [&]() -> base::Result<Json> {
      std::string final_name = name;
      if (name.empty() && meta.contains("generateName")) {
        final_name = meta["generateName"].get<std::string>() + std::to_string(version_ + 1);
      }
      if (final_name.empty()) return base::MakeError(base::Code::kInvalidArgument, "Invalid", "the object has no name");
      if (resource.namespaced == ns.empty()) {
        return base::MakeError(base::Code::kInvalidArgument, "BadRequest", "namespace and scope do not fit");
      }
      const auto id = MakeId(resource, ns, final_name);
      if (objects_.contains(id)) {
        return base::MakeError(base::Code::kAlreadyExists, "AlreadyExists", final_name + " already exists");
      }
      made["apiVersion"] = resource.group.empty() ? resource.version : resource.group + "/" + resource.version;
      made["kind"] = resource.kind;
      meta["name"] = final_name;
      if (resource.namespaced) meta["namespace"] = ns;
      meta["uid"] = "uid-" + std::to_string(++uids_);
      meta["creationTimestamp"] = base::FormatTimeSeconds(clock_.Now());
      if (HasStatus(resource)) {
        meta["generation"] = 1;
        made.erase("status");
      }
      return Store(kube::WatchEvent::Type::kAdded, id, std::move(made));
    });
  }

  base::Result<Json> Update(const kube::Resource& resource, std::string_view ns, std::string_view name,
                            const Json& object) override {
    return Guard<Json>({"Update", resource, std::string(ns), std::string(name), object}, [&]() -> base::Result<Json> {
      const auto it = objects_.find(MakeId(resource, ns, name));
      if (it == objects_.end()) return NotFound(name);
      const Json& before = it->second;
      const std::string version = object.value("/metadata/resourceVersion"_json_pointer, "");
      if (!version.empty() && version != before["metadata"]["resourceVersion"]) return Conflict(name);
      Json next = object;
      next["apiVersion"] = before["apiVersion"];
      next["kind"] = before["kind"];
      for (const char* fixed : {"name", "namespace", "uid", "creationTimestamp", "generation"}) {
        if (before["metadata"].contains(fixed)) next["metadata"][fixed] = before["metadata"][fixed];
      }
      if (HasStatus(resource)) {
        next.erase("status");
        if (before.contains("status")) next["status"] = before["status"];
        if (next.value("spec", Json()) != before.value("spec", Json())) {
          next["metadata"]["generation"] = before["metadata"]["generation"].get<std::int64_t>() + 1;
        }
      }
      return Store(kube::WatchEvent::Type::kModified, it->first, std::move(next));
    });
  }

  base::Result<Json> MergePatch(const kube::Resource& resource, std::string_view ns, std::string_view name,
                                const Json& patch) override {
    return Guard<Json>({"MergePatch", resource, std::string(ns), std::string(name), patch},
                       [&]() -> base::Result<Json> {
                         const auto it = objects_.find(MakeId(resource, ns, name));
                         if (it == objects_.end()) return NotFound(name);
                         Json next = it->second;
                         next.merge_patch(patch);
                         if (next == it->second) return next;
                         return Store(kube::WatchEvent::Type::kModified, it->first, std::move(next));
                       });
  }

  base::Result<Json> PatchStatus(const kube::Resource& resource, std::string_view ns, std::string_view name,
                                 std::string_view uid, std::string_view resource_version, const Json& status) override {
    return PatchStatusWithin({}, resource, ns, name, uid, resource_version, status);
  }
  base::Result<Json> PatchStatusWithin(std::chrono::milliseconds limit, const kube::Resource& resource,
                                       std::string_view ns, std::string_view name, std::string_view uid,
                                       std::string_view resource_version, const Json& status) override {
    return Guard<Json>(
        {"PatchStatus", resource, std::string(ns), std::string(name), status, limit}, [&]() -> base::Result<Json> {
          if (resource_version.empty() || uid.empty()) {
            return base::MakeError(base::Code::kInvalidArgument, "BadRequest",
                                   "a status patch needs its preconditions");
          }
          const auto it = objects_.find(MakeId(resource, ns, name));
          if (it == objects_.end()) return NotFound(name);
          Json next = it->second;
          if (next["metadata"]["uid"] != uid || next["metadata"]["resourceVersion"] != resource_version) {
            return Conflict(name);
          }
          next.merge_patch({{"status", status}});
          if (next == it->second) return next;  // as on a real server: nothing changes, no event
          return Store(kube::WatchEvent::Type::kModified, it->first, std::move(next));
        });
  }

  base::Status Delete(const kube::Resource& resource, std::string_view ns, std::string_view name,
                      std::string_view uid) override {
    auto gone =
        Guard<Json>({"Delete", resource, std::string(ns), std::string(name), nullptr}, [&]() -> base::Result<Json> {
          const auto it = objects_.find(MakeId(resource, ns, name));
          if (it == objects_.end()) return NotFound(name);
          if (!uid.empty() && it->second["metadata"]["uid"] != uid) return Conflict(name);
          const auto id = it->first;
          Json last = std::move(it->second);
          objects_.erase(it);
          return Publish(kube::WatchEvent::Type::kDeleted, id, std::move(last));
        });
    if (!gone) return base::Error(gone.error());
    return {};
  }

  base::Result<Json> Review(const kube::Resource& resource, const Json& question) override {
    const auto fault = Ask({"Review", resource, "", "", question});
    std::function<base::Result<Json>(const Json&)> answer;
    {
      const std::lock_guard lock(mutex_);
      ++calls_["Review"];
      answer = review_;
    }
    if (fault) return fault->error;
    if (!answer) return base::MakeError(base::Code::kUnimplemented, "no review is scripted");
    return answer(question);
  }

  std::unique_ptr<kube::Watch> StartWatch(const kube::Resource& resource, std::string_view resource_version,
                                          kube::WatchSink sink) override {
    auto state = std::make_shared<WatchState>();
    state->resource = resource;
    state->sink = std::move(sink);
    const Call call{"StartWatch", resource, "", "", nullptr};
    const auto fault = Ask(call);
    {
      const std::lock_guard lock(mutex_);
      ++calls_["StartWatch"];
      const auto from = std::stoull(std::string(resource_version.empty() ? "0" : resource_version));
      if (fault) {
        deliveries_.push_back({state, {}, base::Status(fault->error)});
      } else if (from < compacted_) {
        deliveries_.push_back(
            {state, {}, base::Status(base::MakeError(base::Code::kAborted, "Expired", "too old resource version"))});
      } else {
        for (const auto& past : history_) {
          if (past.version > from && past.resource == resource) deliveries_.push_back({state, past.event, {}});
        }
        live_.push_back(state);
      }
    }
    wake_.notify_all();
    return std::make_unique<RunningWatch>(state);
  }

  [[nodiscard]] bool TrustsRequesters() const override { return trusts_requesters_; }
  base::Result<Json> ServerVersion() override {
    return Guard<Json>({"ServerVersion", {}, "", "", nullptr}, [&]() -> base::Result<Json> { return server_version_; });
  }
  void set_server_version(Json version) {
    const std::lock_guard lock(mutex_);
    server_version_ = std::move(version);
  }

 private:
  using Id = std::tuple<std::string, std::string, std::string, std::string>;  ///< group, plural, namespace, name
  struct WatchState {
    kube::Resource resource;
    kube::WatchSink sink;
    std::mutex gate;    ///< held while a callback runs
    bool dead = false;  ///< guarded by gate
  };
  struct Delivery {
    std::shared_ptr<WatchState> watch;
    kube::WatchEvent event;
    std::optional<base::Status> end;
  };
  struct Past {
    std::uint64_t version;
    kube::Resource resource;
    kube::WatchEvent event;
  };
  class RunningWatch final : public kube::Watch {
   public:
    explicit RunningWatch(std::shared_ptr<WatchState> state) : state_(std::move(state)) {}
    ~RunningWatch() override {
      const std::lock_guard lock(state_->gate);
      state_->dead = true;
    }

   private:
    std::shared_ptr<WatchState> state_;
  };

  static Id MakeId(const kube::Resource& resource, std::string_view ns, std::string_view name) {
    return {resource.group, resource.plural, std::string(ns), std::string(name)};
  }
  static bool IsOf(const Id& id, const kube::Resource& resource) {
    return std::get<0>(id) == resource.group && std::get<1>(id) == resource.plural;
  }
  static bool HasStatus(const kube::Resource& resource) {
    return !resource.group.empty() && resource.group != "coordination.k8s.io";
  }
  static base::Error NotFound(std::string_view name) {
    return base::MakeError(base::Code::kNotFound, "NotFound", std::string(name) + " not found");
  }
  static base::Error Conflict(std::string_view name) {
    return base::MakeError(base::Code::kAborted, "Conflict", std::string(name) + " has been modified");
  }

  std::optional<Fault> Ask(const Call& call) {
    FaultHook hook;
    {
      const std::lock_guard lock(mutex_);
      hook = fault_;
    }
    return hook ? hook(call) : std::nullopt;
  }

  /// Faults around `act`, which runs under the lock. The hook may call back into the store.
  template <class T, class Act>
  base::Result<T> Guard(const Call& call, Act act) {
    const auto fault = Ask(call);
    std::unique_lock lock(mutex_);
    ++calls_[call.verb];
    if (fault && !fault->applied) return fault->error;
    base::Result<T> result = act();
    lock.unlock();
    wake_.notify_all();
    if (fault) return fault->error;
    return result;
  }

  Json Store(kube::WatchEvent::Type type, const Id& id, Json object) {
    object["metadata"]["resourceVersion"] = std::to_string(version_ + 1);
    objects_[id] = object;
    return Publish(type, id, std::move(object));
  }

  Json Publish(kube::WatchEvent::Type type, const Id& id, Json object) {
    object["metadata"]["resourceVersion"] = std::to_string(++version_);
    revisions_.emplace_back(id, object);
    for (const auto& watch : TakeLive()) {
      if (!IsOf(id, watch->resource)) continue;
      deliveries_.push_back({watch, {type, object}, {}});
    }
    kube::Resource kind{std::get<0>(id), "", std::get<1>(id), object.value("kind", ""), !std::get<2>(id).empty()};
    const std::string api_version = object.value("apiVersion", "");
    kind.version = api_version.substr(api_version.find('/') + 1);
    history_.push_back({version_, kind, {type, object}});
    return object;
  }

  std::vector<std::shared_ptr<WatchState>> TakeLive() {
    std::vector<std::shared_ptr<WatchState>> out;
    for (const auto& weak : live_) {
      if (auto watch = weak.lock()) out.push_back(std::move(watch));
    }
    return out;
  }

  void Deliver() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return stopping_ || (!deliveries_.empty() && !held_); });
      if (stopping_) return;
      Delivery next = std::move(deliveries_.front());
      deliveries_.pop_front();
      delivering_ = true;
      lock.unlock();
      {
        const std::lock_guard gate(next.watch->gate);
        if (!next.watch->dead) {
          if (next.end) {
            next.watch->dead = true;
            next.watch->sink.on_end(*next.end);
          } else {
            next.watch->sink.on_event(std::move(next.event));
          }
        }
      }
      next.watch.reset();
      lock.lock();
      delivering_ = false;
      idle_.notify_all();
    }
  }

  const base::Clock& clock_;
  const bool trusts_requesters_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  // All below: guarded by mutex_.
  FaultHook fault_;
  std::function<base::Result<Json>(const Json&)> review_;
  std::map<Id, Json> objects_;
  Json server_version_ = {{"major", "1"}, {"minor", "29"}, {"gitVersion", "v1.29.0"}};
  std::vector<std::pair<Id, Json>> revisions_;
  std::vector<Past> history_;
  std::vector<std::weak_ptr<WatchState>> live_;
  std::deque<Delivery> deliveries_;
  std::map<std::string, std::size_t, std::less<>> calls_;
  std::uint64_t version_ = 0;
  std::uint64_t uids_ = 0;
  std::uint64_t compacted_ = 0;
  bool held_ = false;
  bool delivering_ = false;
  bool stopping_ = false;
  std::thread deliverer_;  ///< last: starts when all above is there
};

}  // namespace signet::testing
