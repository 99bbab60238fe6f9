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
  std::string audience = "signet.dev";  ///< of the sidecars' tokens: the gateway's
  InjectionOptions::Form form = InjectionOptions::Form::kAuto;
  api::SidecarResources resources;
};

/// Nothing: no injection.
/// @param webhook  the admission webhook is on
/// @param gateway_url  https://HOST[:PORT], as pods reach it; empty: there is no gateway
base::Result<std::optional<InjectionPlan>> PlanInjection(const InjectionOptions& options, bool webhook,
                                                         const std::string& gateway_url);

}  // namespace signet::config
