// kube/impersonation.hpp - the API server's impersonation headers.
//
// Thread-safety: no shared state.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "kube/cluster_config.hpp"

namespace signet::kube {

/// Names and values for an HTTP library that keeps one value for each name. Where the API wants a header repeated
/// (groups, extra fields), the value holds "\r\nNAME: " before the second and each later one: joined by commas, as
/// libraries do, several groups would be one of a strange name. `wanted` has passed Validate, so that no value holds a
/// line end of its own.
std::vector<std::pair<std::string, std::string>> ImpersonationHeaders(const Impersonation& wanted);

}  // namespace signet::kube
