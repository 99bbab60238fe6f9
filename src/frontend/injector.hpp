// frontend/injector.hpp - POST /inject: pods as they are made, and the sidecar they get (injection.hpp); and changes of
// pods that have it (injection_update.hpp).
//
// Ownership:     borrows the clock.
// Thread-safety: Handle and Judge on the reactor thread; Set from any thread.
// Blocking:      never.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "frontend/admission_review.hpp"
#include "frontend/injection.hpp"
#include "http/server.hpp"

namespace signet::frontend {

class Injector {
 public:
  /// @param excluded  namespaces whose pods are let through as they are, whatever selectors say
  Injector(const base::Clock& clock, std::vector<std::string> excluded);

  /// What pods get from now on, or why they cannot have it yet: they are refused with its message.
  void Set(base::Result<InjectionOptions> options);

  void Handle(const http::Request& request, http::Responder respond) const;
  [[nodiscard]] AdmissionVerdict Judge(const AdmissionReview& review) const;

 private:
  const base::Clock& clock_;
  const std::vector<std::string> excluded_;
  mutable std::mutex mutex_;
  std::shared_ptr<const base::Result<InjectionOptions>> options_;  ///< guarded by mutex_
};

}  // namespace signet::frontend
