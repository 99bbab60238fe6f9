#include "base/kill_point.hpp"

#include <atomic>
#include <charconv>
#include <csignal>
#include <string>

namespace signet::base {
namespace {
std::atomic<bool> armed{false};
std::atomic<long> remaining{1};
std::string& Point() {
  static std::string point;
  return point;
}
}  // namespace

void ArmKillPoint(std::string_view spec) {
  if (spec.empty()) return;
  const auto colon = spec.find(':');
  Point() = std::string(spec.substr(0, colon));
  if (colon != std::string_view::npos) {
    long count = 1;
    const auto digits = spec.substr(colon + 1);
    std::from_chars(digits.data(), digits.data() + digits.size(), count);
    remaining = count;
  }
  armed = true;
}

void KillPoint(std::string_view name) {
  if (!armed.load(std::memory_order_relaxed) || name != Point()) return;
  if (remaining.fetch_sub(1) == 1) ::raise(SIGKILL);
}

}  // namespace signet::base
