// reconcile/control_plane_label.hpp - namespaces whose pods are never looked at: the label signet.dev/control-plane.
//
// A webhook that could stop kube-system's pods, or the operator's own, would be a trap. Only the leader calls it.
//
// Thread-safety: one thread.
// Blocking:      one or two store calls a namespace.
// Errors:        those of the store, message names the namespace.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"
#include "kube/object_store.hpp"

namespace signet::reconcile {

/// Labels those that lack it, whatever its value; the ones that are not there are passed by. The first error, after all
/// have been tried.
base::Status EnsureControlPlaneLabels(kube::ObjectStore& store, const std::vector<std::string>& namespaces);

}  // namespace signet::reconcile
