#include "frontend/injection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "encoding/json.hpp"
#include "frontend/injection_annotations.hpp"
#include "frontend/injection_mesh.hpp"
#include "frontend/injection_sidecar.hpp"

namespace signet::frontend {
namespace {

using base::Result;
using base::Status;
using encoding::At;
using nlohmann::json;

constexpr std::string_view kOptOut = "label the pod signet.dev/inject: \"false\" to run it without Signet";

base::Error Foreign(std::string message) { return base::MakeError(base::Code::kPermissionDenied, std::move(message)); }

/// A list; null and absent are an empty one.
Result<const json*> List(const json& parent, const char* member, const std::string& path) {
  static const json kNone = json::array();
  const json& found = At(parent, member);
  if (found.is_null()) return &kNone;
  if (!found.is_array()) return BadPod(fmt::format("{}.{}: must be a list", path, member));
  return &found;
}

struct Container {
  const json* value = nullptr;
  const json* mounts = nullptr;  ///< a list of objects
  const json* env = nullptr;     ///< a list of objects
  std::string name;
  std::string path;     ///< "spec.containers[0]"
  std::string pointer;  ///< "/spec/containers/0"
  std::size_t index = 0;
  bool init = false;
};

struct Pod {
  const json* metadata = nullptr;
  const json* spec = nullptr;
  const json* volumes = nullptr;      ///< a list of objects
  std::vector<Container> containers;  ///< without the sidecar
  std::optional<Container> sidecar;
  bool has_init = false;
};

Status ObjectsOnly(const json& list, const std::string& path) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (!list[i].is_object()) return BadPod(fmt::format("{}[{}]: must be an object", path, i));
  }
  return {};
}

Status ReadContainers(const json& spec, const char* member, Pod& pod) {
  TRY(const json* list, List(spec, member, "spec"));
  for (std::size_t i = 0; i < list->size(); ++i) {
    Container one;
    one.value = &(*list)[i];
    one.index = i;
    one.path = fmt::format("spec.{}[{}]", member, i);
    one.pointer = fmt::format("/spec/{}/{}", member, i);
    one.init = std::string_view(member) == "initContainers";
    const json& name = At(*one.value, "name");
    if (!name.is_string()) return BadPod(one.path + ".name: is missing");
    one.name = name.get<std::string>();
    TRY(one.mounts, List(*one.value, "volumeMounts", one.path));
    TRY_VOID(ObjectsOnly(*one.mounts, one.path + ".volumeMounts"));
    TRY(one.env, List(*one.value, "env", one.path));
    TRY_VOID(ObjectsOnly(*one.env, one.path + ".env"));
    if (one.init) pod.has_init = true;
    if (one.name != kSidecarName) {
      pod.containers.push_back(std::move(one));
    } else if (pod.sidecar) {
      return BadPod(fmt::format("{}.name: there are two containers {}", one.path, kSidecarName));
    } else {
      pod.sidecar = std::move(one);
    }
  }
  return {};
}

Result<Pod> ReadPod(const json& object) {
  Pod pod;
  pod.metadata = &At(object, "metadata");
  pod.spec = &At(object, "spec");
  if (!pod.spec->is_object()) return BadPod("spec: is missing");
  TRY_VOID(ReadContainers(*pod.spec, "containers", pod));
  if (pod.containers.empty()) return BadPod("spec.containers: has none besides the sidecar");
  TRY_VOID(ReadContainers(*pod.spec, "initContainers", pod));
  TRY(pod.volumes, List(*pod.spec, "volumes", "spec"));
  TRY_VOID(ObjectsOnly(*pod.volumes, "spec.volumes"));
  return pod;
}

bool IsSet(const json& spec, const char* member) { return At(spec, member) == true; }

/// Pods in which the sidecar could not run, or not keep its token to itself.
Status CheckSurroundings(const json& spec) {
  const bool windows =
      At(At(spec, "os"), "name") == "windows" || At(At(spec, "nodeSelector"), "kubernetes.io/os") == "windows";
  if (windows) return BadPod(fmt::format("spec: the sidecar does not run on Windows; {}", kOptOut));
  for (const char* shared : {"shareProcessNamespace", "hostPID"}) {
    if (!IsSet(spec, shared)) continue;
    return BadPod(
        fmt::format("spec.{}: other containers could read the sidecar's token through /proc; leave it out, or {}",
                    shared, kOptOut));
  }
  return {};
}

/// An absolute path without "//", "/." and a slash at its end; /var/run is /run.
std::string Normal(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const auto slash = path.find('/');
    const auto segment = path.substr(0, slash);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
    if (segment.empty() || segment == ".") continue;
    if (segment == "..") {
      out.resize(out.empty() ? 0 : out.rfind('/'));
      continue;
    }
    out += '/';
    out += segment;
  }
  if (out == "/var/run" || out.starts_with("/var/run/")) out.erase(0, 4);
  return out;
}

bool IsAtOrBelow(const std::string& path, std::string_view folder) {
  return path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/');
}

bool IsOurs(const json& volume_name) { return volume_name == kIdentityVolume || volume_name == kSocketVolume; }

/// Where and how a chosen container has the socket: whoever may write there can put another socket in its place.
bool IsSocketMount(const json& mount) {
  const json& path = At(mount, "mountPath");
  return At(mount, "name") == kSocketVolume && path.is_string() &&
         Normal(path.get_ref<const std::string&>()) == kSocketFolder && At(mount, "readOnly") == true &&
         At(mount, "subPath").is_null() && At(mount, "subPathExpr").is_null();
}

/// The token is for the sidecar alone, the socket for the chosen containers, who only connect to it.
Status CheckMounts(const Container& container, bool chosen) {
  const auto refuse = [&](const char* member, const json& name, std::string_view what) {
    return Foreign(fmt::format("{}.{}: container {} mounts {}, which {}: leave it out", container.path, member,
                               container.name, name.get_ref<const std::string&>(), what));
  };
  for (const json& mount : *container.mounts) {
    const json& name = At(mount, "name");
    if (name == kIdentityVolume) return refuse("volumeMounts", name, "is for the sidecar alone");
    if (name != kSocketVolume) continue;
    if (!chosen) return refuse("volumeMounts", name, "is for the containers that signet.dev/containers chooses");
    if (!IsSocketMount(mount)) {
      return refuse("volumeMounts", name, "is mounted read-only at /run/signet and nowhere else; Signet does it");
    }
  }
  TRY(const json* devices, List(*container.value, "volumeDevices", container.path));
  for (const json& device : *devices) {
    const json& name = At(device, "name");
    if (IsOurs(name)) return refuse("volumeDevices", name, "is no device");
  }
  return {};
}

Status CheckAllMounts(const Pod& pod, const std::vector<const Container*>& chosen) {
  for (const auto& container : pod.containers) {
    const bool is_chosen = std::find(chosen.begin(), chosen.end(), &container) != chosen.end();
    TRY_VOID(CheckMounts(container, is_chosen));
  }
  return {};
}

/// Adds what is missing.
Status PlaceVolume(const Pod& pod, const json& wanted, json& patch) {
  const json& name = wanted["name"];
  for (std::size_t i = 0; i < pod.volumes->size(); ++i) {
    const json& volume = (*pod.volumes)[i];
    if (At(volume, "name") != name) continue;
    if (volume == wanted) return {};
    return Foreign(fmt::format("spec.volumes[{}]: the name {} is Signet's, and this is another volume: rename it", i,
                               name.get<std::string>()));
  }
  patch.push_back({{"op", "add"}, {"path", "/spec/volumes/-"}, {"value", wanted}});
  return {};
}

Status PlaceVolumes(const Pod& pod, const InjectionOptions& options, json& patch) {
  json adds = json::array();
  TRY_VOID(PlaceVolume(pod, SocketVolume(), adds));
  TRY_VOID(PlaceVolume(pod, IdentityVolume(options.audience), adds));
  if (adds.size() == 2 && pod.volumes->empty()) {
    adds = json::array({{{"op", "add"}, {"path", "/spec/volumes"}, {"value", {adds[0]["value"], adds[1]["value"]}}}});
  }
  patch.insert(patch.end(), adds.begin(), adds.end());
  return {};
}

/// Is the socket's folder mounted? Refused: something else is there.
Result<bool> HasSocket(const Container& container) {
  bool found = false;
  for (const json& mount : *container.mounts) {
    const json& path = At(mount, "mountPath");
    if (!path.is_string()) continue;  // the API server says so
    const auto normal = Normal(path.get_ref<const std::string&>());
    if (!IsAtOrBelow(normal, kSocketFolder)) continue;
    if (!IsSocketMount(mount)) {
      return Foreign(
          fmt::format("{}.volumeMounts: container {} mounts another volume at {}, where Signet's socket goes: "
                      "move it, or name the containers that sign in signet.dev/containers",
                      container.path, container.name, path.get<std::string>()));
    }
    found = true;
  }
  return found;
}

void Append(const Container& container, const char* member, const json& present, json items, json& patch) {
  if (items.empty()) return;
  if (present.empty()) {
    patch.push_back({{"op", "add"}, {"path", container.pointer + "/" + member}, {"value", std::move(items)}});
    return;
  }
  for (json& item : items) {
    patch.push_back(
        {{"op", "add"}, {"path", fmt::format("{}/{}/-", container.pointer, member)}, {"value", std::move(item)}});
  }
}

Status PlaceSocket(const Container& container, const InjectionChoices& choices, json& patch) {
  TRY(const bool mounted, HasSocket(container));
  json mounts = json::array();
  if (!mounted) {
    // Connecting works through a read-only mount; putting another socket there does not.
    mounts.push_back({{"name", kSocketVolume}, {"mountPath", kSocketFolder}, {"readOnly", true}});
  }
  Append(container, "volumeMounts", *container.mounts, std::move(mounts), patch);

  const auto find = [&](std::string_view name) -> const json* {
    const auto found = std::find_if(container.env->begin(), container.env->end(),
                                    [&](const json& one) { return At(one, "name") == name; });
    return found == container.env->end() ? nullptr : &*found;
  };
  json variables = json::array();
  const json* socket = find("SIGNET_SOCKET");
  if (socket != nullptr && At(*socket, "value") != kSocketPath) {
    return BadPod(fmt::format("{}.env: SIGNET_SOCKET of container {} is set to something else than {}: leave it out",
                              container.path, container.name, kSocketPath));
  }
  if (socket == nullptr) variables.push_back({{"name", "SIGNET_SOCKET"}, {"value", kSocketPath}});
  // One that the pod has chosen stays: a container may sign under a policy of its own.
  if (!choices.policy.empty() && find("SIGNET_POLICY") == nullptr) {
    variables.push_back({{"name", "SIGNET_POLICY"}, {"value", choices.policy}});
  }
  Append(container, "env", *container.env, std::move(variables), patch);
  return {};
}

/// The containers that get the socket.
Result<std::vector<const Container*>> Chosen(const Pod& pod, const InjectionChoices& choices, SidecarForm form) {
  std::vector<const Container*> out;
  const bool native = form == SidecarForm::kNative;
  if (choices.containers.empty()) {
    for (const auto& container : pod.containers) {
      if (native || !container.init) out.push_back(&container);
    }
    return out;
  }
  for (const auto& name : choices.containers) {
    const auto found = std::find_if(pod.containers.begin(), pod.containers.end(),
                                    [&](const Container& container) { return container.name == name; });
    if (found == pod.containers.end()) {
      std::string known;
      for (const auto& container : pod.containers) known += (known.empty() ? "" : ", ") + container.name;
      return BadPod(
          fmt::format("annotation signet.dev/containers: the pod has no container {}: it has {}", name, known));
    }
    if (found->init && !native) {
      return BadPod(
          fmt::format("annotation signet.dev/containers: {} is an init container and would run before the socket "
                      "is there: that needs native sidecars (Kubernetes 1.29)",
                      name));
    }
    out.push_back(&*found);
  }
  return out;
}

/// The port of the sidecar's metrics, 0 for none. Other containers share the network.
Result<std::uint16_t> MetricsPort(const Pod& pod, const InjectionChoices& choices, Injection& out) {
  if (!choices.metrics) return 0;
  if (IsSet(*pod.spec, "hostNetwork") && !choices.metrics_port) return 0;  // the node's own port, one pod a node
  const std::uint16_t port = choices.metrics_port.value_or(kSidecarMetricsPort);
  for (const auto& container : pod.containers) {
    TRY(const json* ports, List(*container.value, "ports", container.path));
    for (const json& one : *ports) {
      if (At(one, "containerPort") != port || At(one, "protocol") == "UDP") continue;
      if (choices.metrics_port) {
        return BadPod(
            fmt::format("annotation signet.dev/metrics-port: container {} uses port {}", container.name, port));
      }
      out.warnings.push_back(
          fmt::format("signet: container {} uses port {}: the sidecar serves no metrics; choose a port with "
                      "signet.dev/metrics-port",
                      container.name, port));
      return 0;
    }
  }
  return port;
}

void WarnOfNames(const json& spec, const std::string& url, Injection& out) {
  const json& policy = At(spec, "dnsPolicy");
  const bool cluster_name = url.find(".svc") != std::string::npos;
  if (!IsSet(spec, "hostNetwork") || !cluster_name || policy == "ClusterFirstWithHostNet" || policy == "None") return;
  out.warnings.emplace_back(
      "signet: a pod on the host's network finds the gateway's Service only with dnsPolicy: ClusterFirstWithHostNet");
}

/// The pod's own budget (Kubernetes 1.32) bounds the sum of its containers: what it names, the sidecar leaves to it.
void LeaveToPod(const json& pod_resources, api::SidecarResources& wanted) {
  const auto names = [&](const char* resource) {
    return !At(At(pod_resources, "requests"), resource).is_null() ||
           !At(At(pod_resources, "limits"), resource).is_null();
  };
  if (names("cpu")) wanted.cpu_request = wanted.cpu_limit = "";
  if (names("memory")) wanted.memory_request = wanted.memory_limit = "";
}

/// A mesh's webhook that ran after us may have put its proxy behind the sidecar.
void PlaceFoundSidecar(const Pod& pod, const MeshPlace& mesh, Injection& out) {
  const Container& found = *pod.sidecar;
  if (found.init && found.index < mesh.behind) {
    out.patch.push_back(
        {{"op", "move"}, {"from", found.pointer}, {"path", fmt::format("/spec/initContainers/{}", mesh.behind - 1)}});
  }
  if (!found.init || !mesh.proxy_is_late) return;
  out.warnings.emplace_back(
      "signet: the mesh's proxy starts after the sidecar, which waits for the gateway: exclude the gateway's port from "
      "the mesh (for Istio: traffic.sidecar.istio.io/excludeOutboundPorts), or let the mesh inject native sidecars");
}

Status PlaceSidecar(const Pod& pod, const InjectionOptions& options, InjectionChoices choices, SidecarForm form,
                    const MeshPlace& mesh, Injection& out) {
  SidecarPlan plan;
  plan.form = form;
  LeaveToPod(At(*pod.spec, "resources"), choices.resources);
  const json& restart = At(*pod.spec, "restartPolicy");
  plan.end_with_pod = form == SidecarForm::kContainer && !restart.is_null() && restart != "Always";
  TRY(plan.metrics_port, MetricsPort(pod, choices, out));
  json wanted = SidecarContainer(options, choices, plan);
  if (pod.sidecar) {
    const auto foreign = ForeignMember(*pod.sidecar->value, wanted);
    if (foreign.empty()) {
      PlaceFoundSidecar(pod, mesh, out);
      return {};
    }
    return Foreign(
        fmt::format("{}: a container {} is there and its {} is not as Signet makes it: rename it, or leave it "
                    "out of a copied pod",
                    pod.sidecar->path, kSidecarName, foreign));
  }
  if (form == SidecarForm::kContainer) {
    out.patch.push_back({{"op", "add"}, {"path", "/spec/containers/-"}, {"value", std::move(wanted)}});
  } else if (pod.has_init) {
    out.patch.push_back(
        {{"op", "add"}, {"path", fmt::format("/spec/initContainers/{}", mesh.behind)}, {"value", std::move(wanted)}});
  } else {
    out.patch.push_back({{"op", "add"}, {"path", "/spec/initContainers"}, {"value", json::array({std::move(wanted)})}});
  }
  return {};
}

void Annotate(const Pod& pod, const InjectionOptions& options, SidecarForm form, json& patch) {
  const json& present = At(*pod.metadata, "annotations");
  // What an earlier call wrote stays: a replica of another version may have made it.
  const std::string status = fmt::format("{}/{}", options.version, Name(form));
  const bool injected = pod.sidecar && At(present, kInjectedAnnotation).is_string();
  if (!present.is_object()) {
    patch.push_back({{"op", "add"}, {"path", "/metadata/annotations"}, {"value", {{kInjectedAnnotation, status}}}});
    return;
  }
  if (injected) return;
  patch.push_back({{"op", "add"}, {"path", "/metadata/annotations/signet.dev~1injected"}, {"value", status}});
}

/// The kubelet's picture of a static pod, which nobody can change.
bool IsMirror(const json& metadata) {
  return !At(At(metadata, "annotations"), "kubernetes.io/config.mirror").is_null();
}

}  // namespace

Result<Injection> InjectSidecar(const json& object, const InjectionOptions& options) {
  Injection out;
  const json& metadata = At(object, "metadata");
  if (!metadata.is_object()) return BadPod("metadata: is missing");
  if (IsMirror(metadata)) return out;
  TRY(const auto choices, ReadInjectionChoices(metadata, options.resources));
  if (choices.opted_out) return out;
  TRY(const Pod pod, ReadPod(object));
  TRY_VOID(CheckSurroundings(*pod.spec));
  const MeshPlace mesh = PlaceInMesh(object, options.gateway_url);
  SidecarForm form = mesh.proxy_is_late ? SidecarForm::kContainer : options.form;
  if (pod.sidecar) form = pod.sidecar->init ? SidecarForm::kNative : SidecarForm::kContainer;
  TRY(const auto chosen, Chosen(pod, choices, form));
  TRY_VOID(CheckAllMounts(pod, chosen));

  out.patch = json::array();
  Annotate(pod, options, form, out.patch);
  TRY_VOID(PlaceVolumes(pod, options, out.patch));
  for (const auto* container : chosen) TRY_VOID(PlaceSocket(*container, choices, out.patch));
  // Last: it moves the init containers.
  TRY_VOID(PlaceSidecar(pod, options, choices, form, mesh, out));
  WarnOfNames(*pod.spec, options.gateway_url, out);
  if (out.patch.empty()) out.patch = nullptr;
  return out;
}

}  // namespace signet::frontend
