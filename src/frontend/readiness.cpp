#include "frontend/readiness.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include "encoding/text.hpp"
#include "frontend/problem.hpp"

namespace signet::frontend {
namespace {

Check CheckPolicies(const ReadinessSources& sources) {
  const auto all = sources.policies->All();
  if (all.empty()) return {"policies", false, "NoPolicies", "no policy is loaded: add a SigningPolicy"};
  const auto oldest = sources.clock->Steady() - sources.policy_max_age;
  std::vector<std::string> stale;
  for (const auto& policy : all) {
    if (policy->confirmed_at < oldest) stale.push_back(policy->compiled->policy().metadata.name);
  }
  return CheckStale(stale);
}

Check CheckKeys(const ReadinessSources& sources) {
  const auto all = sources.policies->All();
  const bool tokens_there = sources.hsm->State().reason.empty();
  const auto pending = [tokens_there](const auto& policy) {
    const std::string_view reason = policy->not_ready_reason;
    return !policy->key && (reason.empty() || reason == "KeyNotReady" || (tokens_there && reason == "HSMUnavailable"));
  };
  if (std::any_of(all.begin(), all.end(), pending)) {
    return {"keys", false, "KeyNotReady", "keys are being looked for in the HSM"};
  }
  if (std::none_of(all.begin(), all.end(), [](const auto& policy) { return policy->key.has_value(); })) {
    return {"keys", false, "KeyNotFound", "no policy has a key that can be used: GET /v1/keys says why"};
  }
  return {"keys", true, {}, {}};
}

void AppendChecks(const std::vector<Check>& checks, std::string& out) {
  out += R"("checks":[)";
  for (std::size_t i = 0; i < checks.size(); ++i) {
    const Check& check = checks[i];
    if (i > 0) out += ',';
    out += R"({"name":)";
    encoding::AppendJsonString(out, check.name);
    out += check.ok ? R"(,"ok":true)" : R"(,"ok":false)";
    if (!check.reason.empty()) {
      out += R"(,"reason":)";
      encoding::AppendJsonString(out, check.reason);
    }
    if (!check.message.empty()) {
      out += R"(,"message":)";
      encoding::AppendJsonString(out, check.message);
    }
    out += '}';
  }
  out += ']';
}

}  // namespace

Check CheckStale(const std::vector<std::string>& policies) {
  if (policies.empty()) return {"policies", true, {}, {}};
  constexpr std::size_t kMaxNames = 5;
  std::string names;
  for (std::size_t i = 0; i < std::min(policies.size(), kMaxNames); ++i) names += (i > 0 ? ", " : "") + policies[i];
  if (policies.size() > kMaxNames) names += " and " + std::to_string(policies.size() - kMaxNames) + " more";
  return {
      "policies", false, "PolicyStale",
      "could not be confirmed lately: " + names + ": see to where the policies come from (API server, folder, file)"};
}

Check CheckHsm(const token::Hsm& hsm) {
  auto state = hsm.State();
  return {"hsm", state.ready, std::move(state.reason), std::move(state.message)};
}

Check CheckJournal(const audit::Journal& journal) {
  if (journal.available()) return {"audit", true, {}, {}};
  return {"audit", false, "AuditUnavailable", "the audit record cannot be written: see to its disk and folder"};
}

Readiness StandardReadiness(ReadinessSources sources) {
  return [sources]() -> std::vector<Check> {
    return {CheckHsm(*sources.hsm), CheckJournal(*sources.journal), CheckPolicies(sources), CheckKeys(sources)};
  };
}

http::Response ReadinessResponse(const std::vector<Check>& checks) {
  const auto failed = std::find_if(checks.begin(), checks.end(), [](const Check& check) { return !check.ok; });
  http::Response response;
  if (failed == checks.end()) {
    response.body = R"({"status":"ready",)";
  } else {
    response = ToResponse(MakeProblem("NotReady", failed->name + ": " + failed->message));
    response.body.back() = ',';  // a problem may carry members of its own (RFC 9457 section 3.2)
  }
  AppendChecks(checks, response.body);
  response.body += '}';
  return response;
}

}  // namespace signet::frontend
