// api/sidecar_resources.hpp - what an injected sidecar asks the node for.
//
// Thread-safety: values, pure functions.
// Errors:        kInvalidArgument, message "NAME: what".
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace signet::api {

/// Quantities; an empty one is left out of the container.
struct SidecarResources {
  std::string cpu_request = "10m";
  std::string cpu_limit;
  std::string memory_request = "32Mi";
  std::string memory_limit = "64Mi";

  friend bool operator==(const SidecarResources&, const SidecarResources&) = default;
};

/// Quantities that a sidecar can live on, requests at most the limits.
/// @param name  what the user calls a member: "cpu-request", "cpu-limit", "memory-request", "memory-limit"
base::Status CheckSidecarResources(const SidecarResources& resources,
                                   const std::function<std::string(std::string_view member)>& name);

}  // namespace signet::api
