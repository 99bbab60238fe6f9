// The pipeline's rule of age: what a decision rests on is younger than policy_max_age, or nothing is signed.
#include <fmt/format.h>

#include "signing/pipeline.hpp"

namespace signet::signing {
namespace {

using base::Code;

Refused Stale(std::string message) {
  return {base::MakeError(Code::kUnavailable, "PolicyStale", std::move(message)), std::chrono::seconds(1)};
}

}  // namespace

bool Pipeline::IsYoung(std::optional<base::SteadyPoint> confirmed) const {
  return confirmed && deps_.clock->Steady() - *confirmed <= options_.policy_max_age;
}

std::optional<Refused> Pipeline::CheckFresh(const ActivePolicy& active) const {
  if (IsYoung(active.confirmed_at)) return std::nullopt;
  return Stale(fmt::format("the policy could not be confirmed for more than {} s, so nothing is signed under it",
                           options_.policy_max_age.count()));
}

std::optional<Refused> Pipeline::CheckNamespaces() const {
  if (stale_namespace_.empty()) return std::nullopt;
  return Stale(
      fmt::format("the labels of namespace {} could not be confirmed for more than {} s, so nothing is signed "
                  "by them",
                  stale_namespace_, options_.policy_max_age.count()));
}

std::optional<Refused> Pipeline::CheckApprovals(const SignCall& call, policy::Decision& decision) const {
  if (!decision.approvals || IsYoung(call.approvals_read)) return std::nullopt;
  auto stale = Stale("the approvals of this request could not be read, so nothing is signed: a no may be among them");
  stale.approvals = std::move(decision.approvals->approvals);
  stale.wants_approvals = true;
  return stale;
}

}  // namespace signet::signing
