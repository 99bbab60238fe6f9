#include "api/sidecar_resources.hpp"

#include <fmt/format.h>

#include <array>

#include "api/quantity.hpp"

namespace signet::api {
namespace {

constexpr double kMebi = 1048576;
constexpr double kLeastMemoryRequest = kMebi;
constexpr double kLeastMemoryLimit = 16 * kMebi;
constexpr double kMostMemory = 1024 * 1024 * kMebi;
constexpr double kMostCpu = 1024;
constexpr const char* kCpuRange = "from 1m to 1024 cores";

struct Entry {
  const char* member;
  const std::string* text;
  double least, most;
  const char* range;
  double value = 0;
};

}  // namespace

base::Status CheckSidecarResources(const SidecarResources& resources,
                                   const std::function<std::string(std::string_view member)>& name) {
  const auto refuse = [](std::string message) {
    return base::MakeError(base::Code::kInvalidArgument, std::move(message));
  };
  std::array<Entry, 4> entries = {
      {{"cpu-request", &resources.cpu_request, 0.001, kMostCpu, kCpuRange},
       {"cpu-limit", &resources.cpu_limit, 0.001, kMostCpu, kCpuRange},
       {"memory-request", &resources.memory_request, kLeastMemoryRequest, kMostMemory, "from 1Mi to 1Ti"},
       {"memory-limit", &resources.memory_limit, kLeastMemoryLimit, kMostMemory, "from 16Mi to 1Ti"}}};
  for (auto& entry : entries) {
    if (entry.text->empty()) continue;
    const auto value = ParseQuantity(*entry.text);
    if (!value) {
      return refuse(fmt::format("{}: \"{}\" is not a quantity, such as 100m or 64Mi", name(entry.member), *entry.text));
    }
    if (*value < entry.least || *value > entry.most) {
      return refuse(fmt::format("{}: {} is out of range: {}", name(entry.member), *entry.text, entry.range));
    }
    entry.value = *value;
  }
  for (std::size_t i = 0; i < entries.size(); i += 2) {
    const auto& request = entries[i];
    const auto& limit = entries[i + 1];
    if (!request.text->empty() && !limit.text->empty() && request.value > limit.value) {
      return refuse(fmt::format("{}: {} is more than the limit {}: set {} too", name(request.member), *request.text,
                                *limit.text, name(limit.member)));
    }
  }
  return {};
}

}  // namespace signet::api
