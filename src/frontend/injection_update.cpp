#include "frontend/injection_update.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "api/injection_names.hpp"
#include "frontend/injection.hpp"

namespace signet::frontend {
namespace {

using base::Status;
using nlohmann::json;

constexpr std::string_view kPrefix = "signet.dev/";

base::Error Forbidden(std::string message) {
  return base::MakeError(base::Code::kPermissionDenied, std::move(message));
}

const json& Member(const json& object, std::string_view name) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(name);
  return found == object.end() ? kNull : *found;
}

/// The container `name` of a list; null: none.
const json& Named(const json& list, const json& name) {
  static const json kNull;
  if (!list.is_array()) return kNull;
  const auto found =
      std::find_if(list.begin(), list.end(), [&](const json& one) { return Member(one, "name") == name; });
  return found == list.end() ? kNull : *found;
}

const json& Sidecar(const json& pod) {
  const json& spec = Member(pod, "spec");
  const json& native = Named(Member(spec, "initContainers"), kSidecarName);
  return native.is_null() ? Named(Member(spec, "containers"), kSidecarName) : native;
}

/// Without tag and digest.
std::string_view ImageName(const json& container) {
  const json& image = Member(container, "image");
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
    if (!name.starts_with(prefix) || Member(other, name) == value) continue;
    return Forbidden(
        fmt::format("{} {} of a pod that has its Signet sidecar cannot be changed: make the pod anew", kind, name));
  }
  return {};
}

}  // namespace

Status CheckPodUpdate(const json& before, const json& after) {
  const json& sidecar = Sidecar(before);
  if (sidecar.is_null()) return {};
  const json& old_metadata = Member(before, "metadata");
  const json& new_metadata = Member(after, "metadata");
  for (const auto& [kind, member, prefix] :
       {std::tuple{"annotation", "annotations", kPrefix}, std::tuple{"label", "labels", api::kInjectLabel}}) {
    TRY_VOID(CheckSame(kind, prefix, Member(old_metadata, member), Member(new_metadata, member)));
    TRY_VOID(CheckSame(kind, prefix, Member(new_metadata, member), Member(old_metadata, member)));
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
    const json& spec = Member(object, "spec");
    return Member(spec.is_object() ? spec : object, "ephemeralContainers");
  };
  const json& added = list(after);
  if (!added.is_array()) return {};
  for (const json& container : added) {
    const json& name = Member(container, "name");
    if (Named(list(before), name) == container) continue;
    const std::string shown = name.is_string() ? name.get<std::string>() : "";
    if (Member(container, "targetContainerName") == kSidecarName) {
      return Forbidden(
          fmt::format("ephemeral container {} shares processes with {} and could read its token: choose another target",
                      shown, kSidecarName));
    }
    for (const char* member : {"volumeMounts", "volumeDevices"}) {
      const json& mounts = Member(container, member);
      if (!mounts.is_array()) continue;
      for (const json& mount : mounts) {
        const json& volume = Member(mount, "name");
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
