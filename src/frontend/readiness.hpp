// frontend/readiness.hpp - can a request be served now? The checks behind /readyz.
//
// Thread-safety: reactor thread.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "audit/journal.hpp"
#include "base/clock.hpp"
#include "http/server.hpp"
#include "signing/service.hpp"
#include "token/hsm.hpp"

namespace signet::frontend {

struct Check {
  std::string name;  ///< "hsm", "audit", "policies", "keys"
  bool ok = false;
  std::string reason;   ///< CamelCase when not ok (or a warning)
  std::string message;  ///< what to do
};
using Readiness = std::function<std::vector<Check>()>;

/// A token ready. One that is away while another is there is a warning: what is not ok takes the replica out of its
/// Services, and replicas share their tokens.
Check CheckHsm(const token::Hsm& hsm);
Check CheckJournal(const audit::Journal& journal);
/// Not ok, and names the policies, when there are any.
Check CheckStale(const std::vector<std::string>& policies);

struct ReadinessSources {
  const token::Hsm* hsm = nullptr;
  const audit::Journal* journal = nullptr;
  const signing::PolicySource* policies = nullptr;
  const base::Clock* clock = nullptr;
  std::chrono::seconds policy_max_age{120};
};
/// A token ready; record writable; policies loaded and fresh; every key looked for and at least one found. A policy
/// whose key is missing for good does not hold up the others: GET /v1/keys tells. Nor do keys of a token that is away.
Readiness StandardReadiness(ReadinessSources sources);

/// 200 {"status":"ready","checks":[...]}, or a 503 problem NotReady with the checks.
http::Response ReadinessResponse(const std::vector<Check>& checks);

}  // namespace signet::frontend
