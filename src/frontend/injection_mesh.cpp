#include "frontend/injection_mesh.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "encoding/json.hpp"

namespace signet::frontend {
namespace {

using encoding::At;
using nlohmann::json;

constexpr std::array<std::string_view, 4> kProxies = {"istio-proxy", "linkerd-proxy", "kuma-sidecar",
                                                      "consul-dataplane"};
constexpr std::array<const char*, 3> kExclusions = {"traffic.sidecar.istio.io/excludeOutboundPorts",
                                                    "config.linkerd.io/skip-outbound-ports",
                                                    "traffic.kuma.io/exclude-outbound-ports"};
constexpr unsigned kHttps = 443;

bool ParsePort(std::string_view text, unsigned& port) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size();
}

unsigned PortOf(std::string_view url) {
  const auto colon = url.rfind(':');
  unsigned port = kHttps;
  if (colon == std::string_view::npos || !ParsePort(url.substr(colon + 1), port)) return kHttps;
  return port;
}

/// "443", "8000-9000, 443".
bool Lists(std::string_view text, unsigned port) {
  for (;;) {
    const auto comma = text.find(',');
    const auto item = text.substr(0, comma);
    const auto dash = item.find('-');
    unsigned first = 0;
    unsigned last = 0;
    if (ParsePort(item.substr(0, dash), first)) {
      last = first;
      const bool ends = dash == std::string_view::npos || ParsePort(item.substr(dash + 1), last);
      if (ends && first <= port && port <= last) return true;
    }
    if (comma == std::string_view::npos) return false;
    text.remove_prefix(comma + 1);
  }
}

bool IsExcluded(const json& pod, unsigned port) {
  const json& annotations = At(At(pod, "metadata"), "annotations");
  return std::any_of(kExclusions.begin(), kExclusions.end(), [&](const char* name) {
    const json& ports = At(annotations, name);
    return ports.is_string() && Lists(ports.get_ref<const std::string&>(), port);
  });
}

bool IsProxy(const json& container) {
  const json& name = At(container, "name");
  return name.is_string() &&
         std::find(kProxies.begin(), kProxies.end(), name.get_ref<const std::string&>()) != kProxies.end();
}

}  // namespace

MeshPlace PlaceInMesh(const json& pod, std::string_view gateway) {
  MeshPlace place;
  if (IsExcluded(pod, PortOf(gateway))) return place;
  const json& init = At(At(pod, "spec"), "initContainers");
  for (std::size_t i = 0; init.is_array() && i < init.size(); ++i) {
    if (IsProxy(init[i]) && At(init[i], "restartPolicy") == "Always") place.behind = i + 1;
  }
  const json& containers = At(At(pod, "spec"), "containers");
  place.proxy_is_late =
      place.behind == 0 && containers.is_array() && std::any_of(containers.begin(), containers.end(), IsProxy);
  return place;
}

}  // namespace signet::frontend
