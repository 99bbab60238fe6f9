#include "config/injection_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "config/options.hpp"
#include "config/reader.hpp"

namespace signet::config {
namespace {

constexpr std::size_t kMostImage = 512;
constexpr std::array<std::string_view, 3> kForms = {"auto", "native", "container"};  // as InjectionOptions::Form

bool IsImage(std::string_view image) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("._/:@-").find(c) != std::string_view::npos;
  };
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); };
  return !image.empty() && image.size() <= kMostImage && std::all_of(image.begin(), image.end(), fits) &&
         plain(image.front()) && plain(image.back());
}

}  // namespace

std::optional<InjectionOptions::Form> ParseSidecarForm(std::string_view text) {
  for (std::size_t i = 0; i < kForms.size(); ++i) {
    if (kForms[i] == text) return static_cast<InjectionOptions::Form>(i);
  }
  return std::nullopt;
}

void ReadInjection(Reader section, InjectionOptions& out) {
  section.Text("sidecarImage", out.sidecar_image);
  auto form = static_cast<std::size_t>(out.form);
  section.Choice("form", form, {kForms.begin(), kForms.end()});
  out.form = static_cast<InjectionOptions::Form>(form);
  section.Text("cpuRequest", out.resources.cpu_request);
  section.Text("cpuLimit", out.resources.cpu_limit);
  section.Text("memoryRequest", out.resources.memory_request);
  section.Text("memoryLimit", out.resources.memory_limit);
}

base::Status Validate(const InjectionOptions& options) {
  if (!options.sidecar_image.empty() && !IsImage(options.sidecar_image)) {
    return ConfigError(fmt::format("--sidecar-image \"{}\": must be the name of an image", options.sidecar_image));
  }
  const auto name = [](std::string_view member) {
    const bool cpu = member.starts_with("cpu");
    const auto dash = member.find('-');
    return fmt::format("injection.{}{}", cpu ? "cpu" : "memory",
                       member.substr(dash + 1) == "request" ? "Request" : "Limit");
  };
  if (auto fits = api::CheckSidecarResources(options.resources, name); !fits) {
    return ConfigError(fits.error().message);
  }
  return {};
}

base::Result<std::optional<InjectionPlan>> PlanInjection(const InjectionOptions& options, bool webhook,
                                                         const std::string& gateway_url) {
  TRY_VOID(Validate(options));
  if (options.sidecar_image.empty()) return std::optional<InjectionPlan>();
  if (!webhook) return ConfigError("--sidecar-image needs the admission webhook: give --webhook, or leave it out");
  InjectionPlan plan;
  plan.image = options.sidecar_image;
  if (gateway_url.empty()) return ConfigError("--sidecar-image needs the gateway, which sidecars ask: give --gateway");
  plan.gateway_url = gateway_url;
  plan.form = options.form;
  plan.resources = options.resources;
  return std::optional(std::move(plan));
}

}  // namespace signet::config
