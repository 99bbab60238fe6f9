// api/texts.hpp - texts of an object that kubectl prints as they are.
//
// `kubectl get` and `kubectl describe` send the texts of an object to the terminal. A character that a terminal obeys
// or does not show (base/printable.hpp) could make a reader see another user, comment or artifact than there is. So no
// text of a spec may have one. Some texts may have several lines: description, comment, signature and the values of an
// artifact's annotations.
//
// PolicyFromJson includes this check. RequestFromJson and ApprovalFromJson do not: a signed request stays readable, and
// a "no" counts whatever its comment. The webhook and the reconcilers make the check.
//
// Errors: kInvalidArgument, reason "Invalid", message "spec.comment: character 7 is U+001B, ...".
// Thread-safety: pure functions.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/result.hpp"

namespace signet::api {

/// Checks every string and every key of a map in the spec of `object`, which one of the readers has accepted.
base::Status CheckTexts(const nlohmann::json& object);

}  // namespace signet::api
