#include "frontend/injection_sidecar.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "encoding/json.hpp"

namespace signet::frontend {
namespace {

using encoding::At;
using nlohmann::json;

constexpr const char* kProgram = "/usr/bin/signet-sidecar";
constexpr int kTokenSeconds = 3600;
constexpr int kUser = 65532;
constexpr int kProjectedMode = 0644;   // the mount is the sidecar's alone; the kubelet narrows it under an fsGroup
constexpr int kStartupFailures = 300;  // seconds until a sidecar that has not reached the gateway is started anew
constexpr const char* kSocketBudget = "1Mi";
/// In the arguments, which nobody can change in a pod that exists: an annotation can be patched by whoever may patch
/// pods.
constexpr const char* kCaFlag = "--gateway-ca-pem";

json Args(const InjectionOptions& options, const InjectionChoices& choices, const SidecarPlan& plan) {
  json args = {
      "--socket",          kSocketPath, "--socket-mode",    "0666",         "--gateway",
      options.gateway_url, kCaFlag,     options.gateway_ca, "--token-file", std::string(kIdentityFolder) + "/token"};
  const auto add = [&](const char* flag, std::string value) {
    args.push_back(flag);
    args.push_back(std::move(value));
  };
  if (plan.metrics_port != 0) add("--metrics", fmt::format("0.0.0.0:{}", plan.metrics_port));
  if (choices.strict) add("--readiness", "strict");
  if (plan.end_with_pod) add("--end-with-pod", std::string(kSidecarName));
  return args;
}

json Resources(const api::SidecarResources& wanted) {
  json out = json::object();
  const auto put = [&](const char* kind, const char* resource, const std::string& value) {
    if (!value.empty()) out[kind][resource] = value;
  };
  put("requests", "cpu", wanted.cpu_request);
  put("requests", "memory", wanted.memory_request);
  put("limits", "cpu", wanted.cpu_limit);
  put("limits", "memory", wanted.memory_limit);
  return out;
}

json Probe(int period, int failures) {
  return {{"exec", {{"command", {kProgram, "probe", "--socket", kSocketPath}}}},
          {"periodSeconds", period},
          {"timeoutSeconds", 5},
          {"failureThreshold", failures}};
}

json SecurityContext() {
  return {{"allowPrivilegeEscalation", false},
          {"capabilities", {{"drop", {"ALL"}}}},
          {"privileged", false},
          {"readOnlyRootFilesystem", true},
          {"runAsGroup", kUser},
          {"runAsNonRoot", true},
          {"runAsUser", kUser},
          {"seccompProfile", {{"type", "RuntimeDefault"}}}};
}

/// The last segment of an image's name: "registry.example.com/a/signet:1@sha256:..." is "signet".
std::string_view Repository(std::string_view image) {
  image = image.substr(0, image.find('@'));
  const auto slash = image.rfind('/');
  if (slash != std::string_view::npos) image.remove_prefix(slash + 1);
  return image.substr(0, image.find(':'));
}

/// Without the place of the metrics, which depends on the other containers, and the CA, of which a replica that made
/// the container may have known another one.
json Comparable(const json& args) {
  json out = json::array();
  if (!args.is_array()) return args;
  for (std::size_t i = 0; i < args.size(); ++i) {
    if (args[i] == "--metrics" || args[i] == kCaFlag) {
      ++i;
    } else {
      out.push_back(args[i]);
    }
  }
  return out;
}

/// Every member of `wanted` is in `found`.
bool Holds(const json& found, const json& wanted) {
  if (!wanted.is_object()) return found == wanted;
  for (const auto& [key, value] : wanted.items()) {
    if (!Holds(At(found, key.c_str()), value)) return false;
  }
  return true;
}

bool HasMounts(const json& found, const json& wanted) {
  if (!found.is_array()) return false;
  return std::all_of(wanted.begin(), wanted.end(), [&](const json& mount) {
    return std::any_of(found.begin(), found.end(), [&](const json& one) { return Holds(one, mount); });
  });
}

}  // namespace

std::string_view Name(SidecarForm form) { return form == SidecarForm::kNative ? "native" : "container"; }

json SidecarContainer(const InjectionOptions& options, const InjectionChoices& choices, const SidecarPlan& plan) {
  json out = {{"name", kSidecarName},
              {"image", options.image},
              {"command", {kProgram}},
              {"args", Args(options, choices, plan)},
              {"resources", Resources(choices.resources)},
              {"volumeMounts",
               {{{"name", kSocketVolume}, {"mountPath", kSocketFolder}},
                {{"name", kIdentityVolume}, {"mountPath", kIdentityFolder}, {"readOnly", true}}}},
              {"readinessProbe", Probe(10, 3)},
              {"securityContext", SecurityContext()},
              {"terminationMessagePolicy", "FallbackToLogsOnError"}};
  if (plan.metrics_port != 0) {
    out["ports"] =
        json::array({{{"name", "signet-metrics"}, {"containerPort", plan.metrics_port}, {"protocol", "TCP"}}});
  }
  if (plan.form == SidecarForm::kNative) {
    out["restartPolicy"] = "Always";
    out["startupProbe"] = Probe(1, kStartupFailures);
  }
  return out;
}

json SocketVolume() {
  // In memory: autoscalers do not take a node with local volumes away. Only the sidecar may write.
  return {{"name", kSocketVolume}, {"emptyDir", {{"medium", "Memory"}, {"sizeLimit", kSocketBudget}}}};
}

json IdentityVolume(const std::string& audience) {
  const json token = {
      {"serviceAccountToken", {{"audience", audience}, {"expirationSeconds", kTokenSeconds}, {"path", "token"}}}};
  return {{"name", kIdentityVolume},
          {"projected", {{"defaultMode", kProjectedMode}, {"sources", json::array({token})}}}};
}

std::string ForeignMember(const json& found, const json& wanted) {
  const json& image = At(found, "image");
  if (!image.is_string() ||
      Repository(image.get_ref<const std::string&>()) != Repository(wanted["image"].get_ref<const std::string&>())) {
    return "image";
  }
  if (At(found, "command") != wanted["command"]) return "command";
  if (Comparable(At(found, "args")) != Comparable(wanted["args"])) return "args";
  if (At(found, "restartPolicy") != At(wanted, "restartPolicy")) return "restartPolicy";
  const json& context = At(found, "securityContext");
  if (!Holds(context, wanted["securityContext"])) return "securityContext";
  if (!At(At(context, "capabilities"), "add").is_null()) return "securityContext.capabilities.add";
  if (!HasMounts(At(found, "volumeMounts"), wanted["volumeMounts"])) return "volumeMounts";
  return "";
}

}  // namespace signet::frontend
