// base/kill_point.hpp - named places where tests end the process with SIGKILL.
//
// Crash safety is proved by killing the real binaries at the worst instants. A
// main() arms one point (from SIGNET_KILL_POINT, "name" or "name:N" for the Nth
// passage); unarmed, a passage is one load and one branch.
#pragma once

#include <string_view>

namespace signet::base {

inline constexpr std::string_view kKillAfterIntent = "after-intent";
inline constexpr std::string_view kKillAfterSign = "after-sign";
inline constexpr std::string_view kKillAfterOutcome = "after-outcome";
inline constexpr std::string_view kKillBeforePatch = "before-patch";
inline constexpr std::string_view kKillAfterPatch = "after-patch";

/// Call once, before threads start. An empty `spec` arms nothing.
void ArmKillPoint(std::string_view spec);
/// Ends the process by SIGKILL when `name` is armed and its count is reached.
void KillPoint(std::string_view name);

}  // namespace signet::base
