// config/injection_options.hpp - whether pods get sidecars, which, and where these find the gateway.
//
// Thread-safety: values.
// Errors:        kInvalidArgument, reason "ConfigInvalid", message names the flag or the key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "api/sidecar_resources.hpp"
#include "base/result.hpp"

namespace signet::config {

class Reader;

struct InjectionOptions {
  enum class Form : std::uint8_t { kAuto, kNative, kContainer };
  std::string sidecar_image;  ///< empty: no injection
  Form form = Form::kAuto;    ///< auto: native where the server is 1.29 or later
  api::SidecarResources resources;
};

/// "auto", "native", "container".
std::optional<InjectionOptions::Form> ParseSidecarForm(std::string_view text);
void ReadInjection(Reader section, InjectionOptions& out);
base::Status Validate(const InjectionOptions& options);

/// What the options come to.
struct InjectionPlan {
  std::string image;
  std::string gateway_url;
  InjectionOptions::Form form = InjectionOptions::Form::kAuto;
  api::SidecarResources resources;
};

/// Nothing: no injection.
/// @param webhook      the admission webhook is on
/// @param gateway_url  as pods reach the gateway; empty: nobody knows
base::Result<std::optional<InjectionPlan>> PlanInjection(const InjectionOptions& options, bool webhook,
                                                         std::string gateway_url);

}  // namespace signet::config
