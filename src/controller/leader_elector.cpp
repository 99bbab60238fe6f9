#include "controller/leader_elector.hpp"

#include <exception>
#include <utility>

#include "encoding/json.hpp"
#include "obs/log.hpp"
#include "obs/metrics.hpp"

namespace signet::controller {
namespace {

using encoding::TextAt;
using nlohmann::json;

const kube::Resource& Leases() {
  static const kube::Resource kResource{"coordination.k8s.io", "v1", "leases", "Lease", true};
  return kResource;
}

std::int64_t Number(const json& object, const char* member) {
  if (!object.is_object()) return 0;
  const auto it = object.find(member);
  return it != object.end() && it->is_number_integer() ? it->get<std::int64_t>() : 0;
}

}  // namespace

base::Status Validate(const LeaseOptions& options) {
  const auto refuse = [](std::string message) {
    return base::MakeError(base::Code::kInvalidArgument, "ConfigInvalid", std::move(message));
  };
  if (options.ns.empty() || options.name.empty()) return refuse("the lease needs a namespace and a name");
  if (options.identity.empty()) return refuse("the lease needs an identity of this replica");
  if (options.retry_period <= std::chrono::milliseconds::zero()) return refuse("retryPeriod must be above zero");
  if (options.renew_deadline <= options.retry_period) return refuse("renewDeadline must be above retryPeriod");
  if (options.lease_duration <= options.renew_deadline) return refuse("leaseDuration must be above renewDeadline");
  return {};
}

LeaseLock::LeaseLock(kube::ObjectStore& store, LeaseOptions options, const base::Clock& clock)
    : store_(store), options_(std::move(options)), clock_(clock) {}

void LeaseLock::Observe(const json& spec) {
  if (spec != observed_) {
    observed_ = spec;
    observed_at_ = clock_.Steady();
  }
  holder_ = TextAt(observed_, "holderIdentity");
}

base::Status LeaseLock::TryAcquireOrRenew() {
  const std::string now = base::FormatTime(clock_.Now());
  json spec = {
      {"holderIdentity", options_.identity},
      {"leaseDurationSeconds", std::chrono::ceil<std::chrono::seconds>(options_.lease_duration).count()},
      {"acquireTime", now},
      {"renewTime", now},
      {"leaseTransitions", 0},
  };
  auto found = store_.Get(Leases(), options_.ns, options_.name);
  if (!found && found.error().code == base::Code::kNotFound) {
    TRY(const json created, store_.Create(Leases(), options_.ns,
                                          {{"apiVersion", "coordination.k8s.io/v1"},
                                           {"kind", "Lease"},
                                           {"metadata", {{"name", options_.name}, {"namespace", options_.ns}}},
                                           {"spec", spec}}));
    Observe(created.value("spec", json::object()));
    return {};
  }
  if (!found) return base::Error(found.error());

  json lease = *std::move(found);
  const json before = lease.value("spec", json::object());
  Observe(before);
  const bool ours = holder_ == options_.identity;
  if (!holder_.empty() && !ours && clock_.Steady() < observed_at_ + options_.lease_duration) {
    return base::MakeError(base::Code::kFailedPrecondition, "HeldByOther", "the lease is held by " + holder_);
  }
  spec["leaseTransitions"] = Number(before, "leaseTransitions") + (ours ? 0 : 1);
  if (ours && before.contains("acquireTime")) spec["acquireTime"] = before["acquireTime"];
  lease["spec"] = std::move(spec);
  TRY(const json updated, store_.Update(Leases(), options_.ns, options_.name, lease));
  Observe(updated.value("spec", json::object()));
  return {};
}

base::Status LeaseLock::Release() {
  TRY(json lease, store_.Get(Leases(), options_.ns, options_.name));
  Observe(lease.value("spec", json::object()));
  if (holder_ != options_.identity) return {};
  const std::string now = base::FormatTime(clock_.Now());
  lease["spec"] = {{"holderIdentity", ""},
                   {"leaseDurationSeconds", 1},
                   {"acquireTime", now},
                   {"renewTime", now},
                   {"leaseTransitions", Number(lease["spec"], "leaseTransitions")}};
  TRY(const json updated, store_.Update(Leases(), options_.ns, options_.name, lease));
  Observe(updated.value("spec", json::object()));
  return {};
}

LeaderElector::LeaderElector(kube::ObjectStore& store, LeaseOptions options, Callbacks callbacks,
                             const base::Clock& clock)
    : options_(options),
      callbacks_(std::move(callbacks)),
      clock_(clock),
      lock_(store, std::move(options), clock),
      random_(std::random_device{}()) {}

LeaderElector::~LeaderElector() { Stop(); }

void LeaderElector::Start() {
  attempts_ = std::thread([this] { RunAttempts(); });
  callbacks_thread_ = std::thread([this] { RunCallbacks(); });
}

void LeaderElector::Stop() {
  if (!attempts_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  attempts_.join();
  {
    const std::lock_guard lock(mutex_);
    stopping_callbacks_ = true;
  }
  changed_.notify_all();
  callbacks_thread_.join();
  if (lock_.holder() != options_.identity) return;
  if (auto released = lock_.Release(); !released) {
    obs::Warn("lease not released; it will expire", {{"error", base::Describe(released.error())}});
  }
}

bool LeaderElector::IsFreshLocked(base::SteadyPoint now) const {
  return leading_ && now - renewed_at_ < options_.renew_deadline;
}

bool LeaderElector::IsLeader() const {
  const std::lock_guard lock(mutex_);
  return !stopping_ && IsFreshLocked(clock_.Steady());
}

void LeaderElector::RunAttempts() {
  std::uniform_real_distribution<double> spread(1.0, 2.2);  // client-go's JitterFactor of 1.2
  for (;;) {
    // The lease counts from before the request: when the answer comes, part of it may be over.
    const auto asked = clock_.Steady();
    auto held = [this]() -> base::Status {
      try {
        return lock_.TryAcquireOrRenew();
      } catch (const std::exception& error) {
        return base::MakeError(base::Code::kInternal, error.what());
      }
    }();
    std::unique_lock lock(mutex_);
    if (held && clock_.Steady() - asked < options_.renew_deadline) {
      renewed_at_ = asked;
      if (!leading_) {
        leading_ = true;
        ++term_;
      }
    } else if (!held && held.error().reason == "HeldByOther") {
      leading_ = false;
    } else if (!held) {
      obs::Warn("lease not renewed", {{"leading", leading_}, {"error", base::Describe(held.error())}});
    }
    changed_.notify_all();
    const auto pause = leading_ ? std::chrono::duration<double, std::milli>(options_.retry_period)
                                : options_.retry_period * spread(random_);
    if (changed_.wait_for(lock, pause, [this] { return stopping_; })) return;
  }
}

void LeaderElector::RunCallbacks() {
  auto& gauge = obs::GetGauge("signet_leader", "1 while this replica leads", {{"lease", options_.name}});
  bool told = false;
  std::uint64_t told_term = 0;
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto now = clock_.Steady();
    if (leading_ && !IsFreshLocked(now)) {
      leading_ = false;
      obs::Err("leadership lost: the lease could not be renewed in time", {{"lease", options_.name}});
    }
    const bool lead = leading_ && !stopping_callbacks_;
    // Lost and won again while a callback ran is a loss too: others may have led in between.
    const bool stop = told && (!lead || told_term != term_);
    if (stop || (lead && !told)) {
      told = !stop;
      told_term = term_;
      gauge.Set(told ? 1 : 0);
      lock.unlock();
      obs::Info(told ? "leading" : "not leading any more", {{"identity", options_.identity}});
      const auto& callback = told ? callbacks_.on_started : callbacks_.on_stopped;
      if (callback) callback();
      lock.lock();
      continue;
    }
    if (stopping_callbacks_) return;
    if (leading_) {
      changed_.wait_for(lock, renewed_at_ + options_.renew_deadline - now);
    } else {
      changed_.wait(lock);
    }
  }
}

}  // namespace signet::controller
