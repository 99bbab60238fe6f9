// reconcile/request_call.hpp - a SigningRequest as the signing service wants it asked.
//
// Thread-safety: pure, as far as the hook is.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>

#include "api/types.hpp"
#include "base/result.hpp"
#include "kube/object_store.hpp"
#include "signing/service.hpp"

namespace signet::reconcile {

/// Was this object stamped when it was made (authn::StampJudge)?
using Stamped = std::function<base::Status(const nlohmann::json& object)>;

/// Who asks, and who says so: the stamp, or the owner of the store.
/// @return kUnauthenticated, reason RequesterUnknown: nobody vouches for spec.requester
base::Result<signing::Caller> CallerOf(const kube::ObjectStore& store, const Stamped& stamped,
                                       const nlohmann::json& object, const api::SigningRequestSpec& spec);

signing::SignCall CallOf(const api::ObjectMeta& meta, const api::SigningRequestSpec& spec);

}  // namespace signet::reconcile
