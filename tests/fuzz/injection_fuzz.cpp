// Pods as POST /inject gets them, in both forms.
#include <nlohmann/json.hpp>

#include "encoding/json.hpp"
#include "frontend/injection.hpp"
#include "fuzz/fuzz.hpp"

using namespace signet;
using nlohmann::json;

namespace {

/// Containers other than the sidecar that mount its token.
std::size_t Thieves(const json& pod) {
  std::size_t count = 0;
  for (const char* list : {"containers", "initContainers"}) {
    if (!pod["spec"].contains(list) || !pod["spec"][list].is_array()) continue;
    for (const json& container : pod["spec"][list]) {
      if (container["name"] == "signet-sidecar" || !container.contains("volumeMounts")) continue;
      for (const json& mount : container["volumeMounts"]) count += mount.value("name", json()) == "signet-identity";
    }
  }
  return count;
}

void Inject(const json& pod, frontend::SidecarForm form) {
  frontend::InjectionOptions options;
  options.image = "registry.example.com/signet:1";
  options.gateway_url = "https://signet-gateway.signet-system.svc:443";
  options.gateway_ca = "PEM";
  options.form = form;
  options.version = "1";
  const auto injection = frontend::InjectSidecar(pod, options);
  if (!injection) {
    HOLDS(!injection.error().message.empty());
    return;
  }
  if (injection->patch.is_null()) return;
  HOLDS(injection->patch.is_array() && !injection->patch.empty());
  const json made = pod.patch(injection->patch);
  HOLDS(Thieves(made) == 0);
  const auto again = frontend::InjectSidecar(made, options);
  HOLDS(again.has_value() && again->patch.is_null());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto pod = encoding::ParseJson(fuzz::AsInput(data, size));
  if (!pod) return 0;
  Inject(*pod, frontend::SidecarForm::kNative);
  Inject(*pod, frontend::SidecarForm::kContainer);
  return 0;
}
