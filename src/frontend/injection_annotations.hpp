// frontend/injection_annotations.hpp - what a pod says about its sidecar: labels and annotations under signet.dev/.
//
// Unknown ones are refused, since a misspelt option that does nothing is found out too late.
//
// Thread-safety: pure function.
// Errors:        kInvalidArgument, message "annotation NAME: what".
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "frontend/injection.hpp"

namespace signet::frontend {

inline constexpr std::string_view kAnnotationPrefix = "signet.dev/";
inline constexpr const char* kInjectedAnnotation = "signet.dev/injected";  ///< out: VERSION/FORM

/// kInvalidArgument: what the pod says about its sidecar, or itself, is wrong.
inline base::Error BadPod(std::string message) {
  return base::MakeError(base::Code::kInvalidArgument, std::move(message));
}

struct InjectionChoices {
  bool opted_out = false;               ///< label signet.dev/inject: "false"
  std::string policy;                   ///< empty: none
  std::vector<std::string> containers;  ///< empty: all
  api::SidecarResources resources;
  bool strict = false;  ///< readiness
  bool metrics = true;
  std::optional<std::uint16_t> metrics_port;  ///< as chosen
};

/// @param metadata  of the pod; members of a wrong type are refused
/// @param defaults  resources that no annotation names
base::Result<InjectionChoices> ReadInjectionChoices(const nlohmann::json& metadata,
                                                    const api::SidecarResources& defaults);

}  // namespace signet::frontend
