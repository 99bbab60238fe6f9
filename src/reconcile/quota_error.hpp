// reconcile/quota_error.hpp - for this module's own .cpp files.
#pragma once

#include <string>
#include <utility>

#include "base/result.hpp"

namespace signet::reconcile {

/// kUnavailable, reason "QuotaUnavailable": the budget of a policy cannot be read or written now.
inline base::Error QuotaUnavailable(std::string message) {
  return base::MakeError(base::Code::kUnavailable, "QuotaUnavailable", std::move(message));
}

}  // namespace signet::reconcile
