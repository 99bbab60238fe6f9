#include "frontend/injection_update.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "api/injection_names.hpp"
#include "encoding/json.hpp"
#include "frontend/injection.hpp"
#include "frontend/injection_annotations.hpp"

namespace signet::frontend {
namespace {

using base::Status;
using encoding::At;
using nlohmann::json;

base::Error Forbidden(std::string message) {
  return base::MakeError(base::Code::kPermissionDenied, std::move(message));
}

/// The container `name` of a list; null: none.
const json& Named(const json& list, const json& name) {
  static const json kNull;
  if (!list.is_array()) return kNull;
  const auto found = std::find_if(list.begin(), list.end(), [&](const json& one) { return At(one, "name") == name; });
  return found == list.end() ? kNull : *found;
}

const json& Sidecar(const json& pod) {
  const json& spec = At(pod, "spec");
  const json& native = Named(At(spec, "initContainers"), kSidecarName);
  return native.is_null() ? Named(At(spec, "containers"), kSidecarName) : native;
}

/// Without tag and digest.
std::string_view ImageName(const json& container) {
  const json& image = At(container, "image");
  if (!image.is_string()) return {};
  std::string_view name = image.get_ref<const std::string&>();
  name = name.substr(0, name.find('@'));
  const auto slash = name.rfind('/');
  const auto colon = name.find(':', slash == std::string_view::npos ? 0 : slash);
  return name.substr(0, colon);
}

/// Every entry of `one` whose name begins with `prefix` is the same in `other`.
Status CheckSame(const char* kind, std::string_view prefix, const json& one, const json& other) {
  if (!one.is_object()) return {};
  for (const auto& [name, value] : one.items()) {
    if (!name.starts_with(prefix) || At(other, name) == value) continue;
    return Forbidden(
        fmt::format("{} {} of a pod that has its Signet sidecar cannot be changed: make the pod anew", kind, name));
  }
  return {};
}

}  // namespace

Status CheckPodUpdate(const json& before, const json& after) {
  const json& sidecar = Sidecar(before);
  if (sidecar.is_null()) return {};
  const json& old_metadata = At(before, "metadata");
  const json& new_metadata = At(after, "metadata");
  for (const auto& [kind, member, prefix] :
       {std::tuple{"annotation", "annotations", kAnnotationPrefix}, std::tuple{"label", "labels", api::kInjectLabel}}) {
    TRY_VOID(CheckSame(kind, prefix, At(old_metadata, member), At(new_metadata, member)));
    TRY_VOID(CheckSame(kind, prefix, At(new_metadata, member), At(old_metadata, member)));
  }
  if (ImageName(Sidecar(after)) != ImageName(sidecar)) {
    return Forbidden(fmt::format(
        "the image of container {} holds the pod's token for Signet: only its tag or digest can be changed, from {}",
        kSidecarName, ImageName(sidecar)));
  }
  return {};
}

Status CheckEphemeralContainers(const json& before, const json& after) {
  const auto list = [](const json& object) -> const json& {
    const json& spec = At(object, "spec");
    return At(spec.is_object() ? spec : object, "ephemeralContainers");
  };
  const json& added = list(after);
  if (!added.is_array()) return {};
  for (const json& container : added) {
    const json& name = At(container, "name");
    if (Named(list(before), name) == container) continue;
    const std::string shown = name.is_string() ? name.get<std::string>() : "";
    if (At(container, "targetContainerName") == kSidecarName) {
      return Forbidden(
          fmt::format("ephemeral container {} shares processes with {} and could read its token: choose another target",
                      shown, kSidecarName));
    }
    for (const char* member : {"volumeMounts", "volumeDevices"}) {
      const json& mounts = At(container, member);
      if (!mounts.is_array()) continue;
      for (const json& mount : mounts) {
        const json& volume = At(mount, "name");
        if (volume != kIdentityVolume && volume != kSocketVolume) continue;
        return Forbidden(
            fmt::format("ephemeral container {} mounts {}, which is for the containers that the pod was made "
                        "with: leave it out",
                        shown, volume.get<std::string>()));
      }
    }
  }
  return {};
}

}  // namespace signet::frontend
