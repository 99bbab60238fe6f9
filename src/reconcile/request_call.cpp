#include "reconcile/request_call.hpp"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace signet::reconcile {

base::Result<signing::Caller> CallerOf(const kube::ObjectStore& store, const Stamped& stamped,
                                       const nlohmann::json& object, const api::SigningRequestSpec& spec) {
  const auto unknown = [](std::string message) {
    return base::MakeError(base::Code::kUnauthenticated, "RequesterUnknown", std::move(message));
  };
  signing::Caller caller;
  caller.door = signing::Door::kController;
  if (!store.TrustsRequesters()) {
    if (!stamped) return unknown("nobody vouches for spec.requester: this operator runs without its admission webhook");
    if (auto judged = stamped(object); !judged) return unknown(judged.error().message);
  }
  if (!spec.requester) return unknown("spec.requester is missing: nobody to decide about");
  const auto& who = *spec.requester;
  caller.principal = {who.username, who.uid, who.groups, who.extra,
                      store.TrustsRequesters() ? identity::Proof::kAsserted : identity::Proof::kAdmission};
  return caller;
}

signing::SignCall CallOf(const api::ObjectMeta& meta, const api::SigningRequestSpec& spec) {
  signing::SignCall call;
  call.policy = spec.policy_name;
  call.digest = spec.digest;
  call.message = spec.message;
  call.algorithm = spec.algorithm;
  call.artifact = spec.artifact;
  call.request_namespace = meta.ns;
  call.request_name = meta.name;
  call.request_uid = meta.uid;
  return call;
}

}  // namespace signet::reconcile
