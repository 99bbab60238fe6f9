#include "frontend/injection_annotations.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "api/injection_names.hpp"
#include "api/scalars.hpp"

namespace signet::frontend {
namespace {

using base::Result;
using base::Status;
using nlohmann::json;

constexpr std::size_t kMaxAnnotation = 4096;
constexpr std::size_t kMostContainers = 128;
constexpr std::uint16_t kLeastPort = 1024;  // the sidecar is not root

base::Error BadAnnotation(std::string_view member, std::string_view what) {
  return BadPod(fmt::format("annotation {}{}: {}", kAnnotationPrefix, member, what));
}

std::string NameOf(std::string_view member) {
  return fmt::format("annotation {}sidecar-{}", kAnnotationPrefix, member);
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

Status ReadPolicy(std::string_view text, InjectionChoices& out) {
  if (!api::IsDnsSubdomain(text)) return BadAnnotation("policy", "must be the name of a SigningPolicy");
  out.policy = text;
  return {};
}

Status ReadContainers(std::string_view text, InjectionChoices& out) {
  while (true) {
    const auto comma = text.find(',');
    const auto name = Trim(text.substr(0, comma));
    if (name == kSidecarName) return BadAnnotation("containers", "names the sidecar itself");
    if (!api::IsDnsLabel(name)) {
      return BadAnnotation("containers", "must be names of containers, with commas between them");
    }
    if (std::find(out.containers.begin(), out.containers.end(), name) == out.containers.end()) {
      out.containers.emplace_back(name);
    }
    if (out.containers.size() > kMostContainers) return BadAnnotation("containers", "names too many");
    if (comma == std::string_view::npos) return {};
    text.remove_prefix(comma + 1);
  }
}

Status ReadReadiness(std::string_view text, InjectionChoices& out) {
  if (text != "strict" && text != "sticky") return BadAnnotation("readiness", "must be strict or sticky");
  out.strict = text == "strict";
  return {};
}

Status ReadMetricsPort(std::string_view text, InjectionChoices& out) {
  if (text == "off") {
    out.metrics = false;
    return {};
  }
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port < kLeastPort) {
    return BadAnnotation("metrics-port", "must be a port from 1024 to 65535, or off");
  }
  out.metrics_port = port;
  return {};
}

template <std::string api::SidecarResources::*kMember>
Status ReadQuantity(std::string_view text, InjectionChoices& out) {
  out.resources.*kMember = text;
  return {};
}

/// What we write ourselves, or once wrote: there again when a pod comes a second time, or was copied.
Status Pass(std::string_view /*text*/, InjectionChoices& /*out*/) { return {}; }

Status RefuseInject(std::string_view /*text*/, InjectionChoices& /*out*/) {
  return BadAnnotation("inject", "is a label, not an annotation: webhooks are selected by labels");
}

struct Annotation {
  std::string_view member;
  Status (*read)(std::string_view text, InjectionChoices& out);
};

constexpr std::array<Annotation, 11> kAnnotations = {{
    {"policy", ReadPolicy},
    {"containers", ReadContainers},
    {"sidecar-cpu-request", ReadQuantity<&api::SidecarResources::cpu_request>},
    {"sidecar-cpu-limit", ReadQuantity<&api::SidecarResources::cpu_limit>},
    {"sidecar-memory-request", ReadQuantity<&api::SidecarResources::memory_request>},
    {"sidecar-memory-limit", ReadQuantity<&api::SidecarResources::memory_limit>},
    {"readiness", ReadReadiness},
    {"metrics-port", ReadMetricsPort},
    {"injected", Pass},
    {"gateway-ca", Pass},
    {"inject", RefuseInject},
}};

Status ReadAnnotation(std::string_view member, const json& value, InjectionChoices& out) {
  const auto* found = std::find_if(kAnnotations.begin(), kAnnotations.end(),
                                   [&](const Annotation& one) { return one.member == member; });
  if (found == kAnnotations.end()) {
    std::string known;
    for (const auto& one : kAnnotations) {
      if (one.read == Pass || one.read == RefuseInject) continue;
      known += std::string(known.empty() ? "" : ", ") + std::string(one.member);
    }
    return BadAnnotation(member, "is unknown: there are " + known);
  }
  if (!value.is_string()) return BadAnnotation(member, "must be a string");
  const auto& text = value.get_ref<const std::string&>();
  if (found->read == Pass) return {};
  if (text.empty()) return BadAnnotation(member, "is empty: leave it out");
  if (text.size() > kMaxAnnotation) return BadAnnotation(member, "is too long");
  return found->read(text, out);
}

Status ReadLabel(const json& labels, InjectionChoices& out) {
  const auto label = labels.find(api::kInjectLabel);
  if (label == labels.end()) return {};
  if (*label != "true" && *label != "false") return BadPod("label signet.dev/inject: must be \"true\" or \"false\"");
  out.opted_out = *label == "false";
  return {};
}

/// Absent and null are an empty one.
Result<const json*> Map(const json& metadata, const char* member) {
  static const json kNone = json::object();
  if (metadata.is_null()) return &kNone;
  if (!metadata.is_object()) return BadPod("metadata: must be an object");
  const auto found = metadata.find(member);
  if (found == metadata.end() || found->is_null()) return &kNone;
  if (!found->is_object()) return BadPod(fmt::format("metadata.{}: must be an object", member));
  return &*found;
}

}  // namespace

Result<InjectionChoices> ReadInjectionChoices(const json& metadata, const api::SidecarResources& defaults) {
  InjectionChoices out;
  out.resources = defaults;
  TRY(const json* labels, Map(metadata, "labels"));
  TRY_VOID(ReadLabel(*labels, out));
  if (out.opted_out) return out;
  TRY(const json* annotations, Map(metadata, "annotations"));
  for (const auto& [key, value] : annotations->items()) {
    if (key.starts_with(kAnnotationPrefix))
      TRY_VOID(ReadAnnotation(std::string_view(key).substr(kAnnotationPrefix.size()), value, out));
  }
  TRY_VOID(api::CheckSidecarResources(out.resources, NameOf));
  return out;
}

}  // namespace signet::frontend
