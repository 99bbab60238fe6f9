// reconcile/outcome.hpp - what a reconcile call wants next: exactly one of three.
//
// Thread-safety: values; Adapter from any thread.
#pragma once

#include <chrono>
#include <functional>
#include <utility>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "controller/controller.hpp"
#include "obs/log.hpp"

namespace signet::reconcile {

/// The cache is behind. Its next event usually comes first.
inline constexpr base::Duration kRetrySoon = std::chrono::milliseconds(100);

struct Outcome {
  enum class Kind : std::uint8_t {
    kDone,   ///< nothing until the object changes
    kAfter,  ///< once more after `after`
    kRetry,  ///< `error` stood in the way: once more, after a backoff that grows
  };
  Kind kind = Kind::kDone;
  base::Duration after{0};
  base::Error error;

  static Outcome Done() { return {}; }
  static Outcome After(base::Duration delay) { return {Kind::kAfter, delay, {}}; }
  static Outcome Retry(base::Error error) { return {Kind::kRetry, base::Duration{0}, std::move(error)}; }
};

/// A reconcile function as controller::Controller wants it.
class Adapter final : public controller::Reconciler {
 public:
  using Function = std::function<Outcome(const controller::Key&)>;
  explicit Adapter(Function function) : function_(std::move(function)) {}

  base::Result<controller::Outcome> Reconcile(const controller::Key& key) override {
    Outcome outcome = function_(key);
    if (outcome.kind == Outcome::Kind::kDone) return controller::Outcome::Done();
    if (outcome.kind == Outcome::Kind::kAfter) return controller::Outcome::After(outcome.after);
    if (controller::ShouldRetry(outcome.error.code)) return outcome.error;
    // The controller would give up on these. A request that was accepted must still reach an end, and
    // what a server refuses today (a role, a schema) can be put right without touching the object.
    obs::Warn("reconcile failed", {{"key", controller::Describe(key)}, {"error", base::Describe(outcome.error)}});
    return controller::Outcome::After(kFinalErrorDelay);
  }

 private:
  static constexpr base::Duration kFinalErrorDelay = std::chrono::seconds(30);
  const Function function_;
};

}  // namespace signet::reconcile
