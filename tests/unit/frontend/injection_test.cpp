#include "frontend/injection.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "fakes/fake_clock.hpp"
#include "frontend/injector.hpp"
#include "support/matchers.hpp"

namespace signet::testing {
namespace {

using base::Code;
using frontend::AdmissionReview;
using frontend::Injection;
using frontend::InjectionOptions;
using frontend::SidecarForm;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

InjectionOptions Options(SidecarForm form = SidecarForm::kNative) {
  InjectionOptions options;
  options.image = "registry.example.com/signet:1";
  options.gateway_url = "https://signet-gateway.signet-system.svc:443";
  options.gateway_ca = "PEM";
  options.form = form;
  options.version = "1";
  return options;
}

json Pod() {
  return {{"metadata", {{"name", "p"}}},
          {"spec", {{"containers", json::array({{{"name", "app"}, {"image", "i"}}})}, {"restartPolicy", "Always"}}}};
}

json Patched(const json& pod, const InjectionOptions& options = Options()) {
  const auto injection = InjectSidecar(pod, options);
  EXPECT_THAT(injection, IsOk());
  if (!injection || injection->patch.is_null()) return pod;
  return pod.patch(injection->patch);
}

std::string Refusal(const json& pod, const InjectionOptions& options = Options()) {
  const auto injection = InjectSidecar(pod, options);
  EXPECT_FALSE(injection.has_value()) << injection->patch;
  return injection ? "" : injection.error().message;
}

json& Sidecar(json& pod) {
  for (const char* list : {"initContainers", "containers"}) {
    if (!pod["spec"].contains(list)) continue;
    for (json& one : pod["spec"][list]) {
      if (one.value("name", "") == "signet-sidecar") return one;
    }
  }
  ADD_FAILURE() << "no sidecar";
  return pod;
}

// ---- a pod that comes again ----

TEST(InjectionTest, AContainerThatAnotherWebhookAddedGetsTheSocketToo) {
  json pod = Patched(Pod());
  pod["spec"]["containers"].push_back({{"name", "proxy"}, {"image", "p"}});
  const auto again = InjectSidecar(pod, Options());
  ASSERT_THAT(again, IsOk());
  ASSERT_EQ(again->patch.size(), 2U) << again->patch;
  EXPECT_EQ(again->patch[0]["path"], "/spec/containers/1/volumeMounts");
  EXPECT_EQ(again->patch[1]["path"], "/spec/containers/1/env");
}

TEST(InjectionTest, TheSidecarMayBeChangedByOthersInWhatIsNotItsNature) {
  for (const auto form : {SidecarForm::kNative, SidecarForm::kContainer}) {
    json pod = Patched(Pod(), Options(form));
    json& sidecar = Sidecar(pod);
    sidecar["image"] = "mirror.example.net:5000/cache/signet@sha256:00";
    sidecar["env"] = json::array({{{"name", "HTTP_PROXY"}, {"value", "x"}}});
    sidecar["volumeMounts"].push_back({{"name", "kube-api-access"}, {"mountPath", "/var/run/secrets/x"}});
    sidecar["resources"]["limits"]["cpu"] = "2";
    sidecar["imagePullPolicy"] = "Always";
    sidecar["securityContext"]["seLinuxOptions"] = {{"level", "s0"}};
    // The other form now: a replica that has seen another API server answers the second call.
    const auto again = InjectSidecar(pod, Options());
    ASSERT_THAT(again, IsOk());
    EXPECT_TRUE(again->patch.is_null()) << again->patch;
  }
}

TEST(InjectionTest, ASidecarThatIsNotOursIsRefusedByWhatIsForeign) {
  const json whole = Patched(Pod());
  const auto with = [&](const char* pointer, const json& value) {
    json pod = whole;
    Sidecar(pod)[json::json_pointer(pointer)] = value;
    return Refusal(pod);
  };
  EXPECT_THAT(with("/image", "evil.example.com/tool:1"), HasSubstr("its image is not as Signet makes it"));
  EXPECT_THAT(with("/image", 7), HasSubstr("its image"));
  EXPECT_THAT(with("/command", json::array({"/bin/sh"})), HasSubstr("its command"));
  EXPECT_THAT(with("/args/3", "0777"), HasSubstr("its args"));
  EXPECT_THAT(with("/restartPolicy", nullptr), HasSubstr("its restartPolicy"));
  EXPECT_THAT(with("/securityContext/runAsUser", 0), HasSubstr("its securityContext"));
  EXPECT_THAT(with("/securityContext/privileged", true), HasSubstr("its securityContext"));
  EXPECT_THAT(with("/securityContext/capabilities/add", json::array({"SYS_PTRACE"})), HasSubstr("capabilities.add"));
  EXPECT_THAT(with("/volumeMounts/1/name", "mine"), HasSubstr("its volumeMounts"));
  json twice = whole;
  twice["spec"]["containers"].push_back(whole["spec"]["initContainers"][0]);
  EXPECT_THAT(Refusal(twice), HasSubstr("two containers signet-sidecar"));
}

TEST(InjectionTest, ANewCaLeavesASidecarThatIsThereAlone) {
  const json pod = Patched(Pod());
  auto options = Options();
  options.gateway_ca = "NEW";
  options.version = "2";
  EXPECT_EQ(Patched(pod, options), pod) << "who made the sidecar stays, and what it believes";
}

TEST(InjectionTest, NothingThatTheSidecarBelievesCanBePatchedInAPod) {
  const json pod = Patched(Pod());
  // Arguments of a pod that exists cannot be changed; annotations, labels and ConfigMaps can.
  const json& args = pod["spec"]["initContainers"][0]["args"];
  const auto flag = std::find(args.begin(), args.end(), "--gateway-ca-pem");
  ASSERT_NE(flag, args.end());
  EXPECT_EQ(*(flag + 1), "PEM");
  for (const json& volume : pod["spec"]["volumes"]) {
    for (const char* live : {"downwardAPI", "configMap", "secret"}) {
      EXPECT_EQ(volume.dump().find(live), std::string::npos) << volume;
    }
  }
  for (const json& one : pod["spec"]["initContainers"][0].value("env", json::array())) {
    EXPECT_FALSE(one.contains("valueFrom")) << one;
  }
}

TEST(InjectionTest, AStaleStatusAnnotationIsNoSidecar) {
  json pod = Pod();
  pod["metadata"]["annotations"] = {{"signet.dev/injected", "0/container"}, {"signet.dev/gateway-ca", "OLD"}};
  json made = Patched(pod);
  EXPECT_EQ(made["metadata"]["annotations"]["signet.dev/injected"], "1/native");
  EXPECT_EQ(Sidecar(made)["restartPolicy"], "Always");
}

// ---- who mounts the socket ----

json WithMount(const json& mount, const char* list = "containers") {
  json pod = Pod();
  pod["metadata"]["annotations"] = {{"signet.dev/containers", "app"}};
  if (std::string_view(list) == "initContainers") pod["spec"][list] = json::array({{{"name", "init"}, {"image", "i"}}});
  pod["spec"]["containers"].push_back({{"name", "other"}, {"image", "i"}});
  pod["spec"][list].back()["volumeMounts"] = json::array({mount});
  return pod;
}

TEST(InjectionTest, AContainerThatWasNotChosenCannotMountTheSocket) {
  for (const char* list : {"containers", "initContainers"}) {
    for (const char* path : {"/run/signet", "/mnt", "/var/run/signet/"}) {
      for (const bool read_only : {true, false}) {
        const json mount = {{"name", "signet-socket"}, {"mountPath", path}, {"readOnly", read_only}};
        EXPECT_THAT(Refusal(WithMount(mount, list)),
                    HasSubstr("mounts signet-socket, which is for the containers that"));
      }
    }
    const json token = {{"name", "signet-identity"}, {"mountPath", "/t"}, {"readOnly", true}};
    EXPECT_THAT(Refusal(WithMount(token, list)), HasSubstr("mounts signet-identity"));
  }
}

TEST(InjectionTest, AChosenContainerHasTheSocketReadOnlyAtItsPlaceAlone) {
  const json good = {{"name", "signet-socket"}, {"mountPath", "/var/run/signet/"}, {"readOnly", true}};
  const auto with = [&](const char* member, const json& value) {
    json mount = good;
    mount[member] = value;
    if (value.is_null()) mount.erase(member);
    json pod = Pod();
    pod["spec"]["containers"][0]["volumeMounts"] = json::array({mount});
    return pod;
  };
  EXPECT_THAT(InjectSidecar(with("readOnly", true), Options()), IsOk());
  for (const auto& pod : {with("readOnly", false), with("readOnly", nullptr), with("readOnly", "true"),
                          with("mountPath", "/mnt"), with("mountPath", "/run/signet/x"), with("subPath", "signet.sock"),
                          with("subPathExpr", "$(X)"), with("mountPath", nullptr)}) {
    EXPECT_THAT(Refusal(pod), HasSubstr("mounts signet-socket, which is mounted read-only at /run/signet")) << pod;
  }
  json twice = with("readOnly", true);
  twice["spec"]["containers"][0]["volumeMounts"].push_back({{"name", "signet-socket"}, {"mountPath", "/w"}});
  EXPECT_THAT(Refusal(twice), HasSubstr("mounts signet-socket"));
}

TEST(InjectionTest, OurVolumesAreNoDevices) {
  for (const char* name : {"signet-socket", "signet-identity"}) {
    json pod = Pod();
    pod["spec"]["containers"][0]["volumeDevices"] = json::array({{{"name", name}, {"devicePath", "/dev/x"}}});
    EXPECT_THAT(Refusal(pod), HasSubstr(std::string("mounts ") + name));
  }
}

TEST(InjectionTest, AMountThatAnotherWebhookOpensIsRefused) {
  json pod = Patched(Pod());
  pod["spec"]["containers"][0]["volumeMounts"][0]["readOnly"] = false;
  EXPECT_THAT(Refusal(pod), HasSubstr("mounts signet-socket"));
}

// ---- service meshes, pod-level resources ----

json NativeProxy(const char* name = "istio-proxy") {
  return {{"name", name}, {"image", "p"}, {"restartPolicy", "Always"}};
}
std::vector<std::string> Names(const json& list) {
  std::vector<std::string> out;
  for (const json& one : list) out.push_back(one["name"]);
  return out;
}

TEST(InjectionTest, GoesBehindTheNativeProxyOfAMesh) {
  for (const char* proxy : {"istio-proxy", "linkerd-proxy"}) {
    json pod = Pod();
    pod["spec"]["initContainers"] = json::array(
        {{{"name", "istio-validation"}, {"image", "p"}}, NativeProxy(proxy), {{"name", "mine"}, {"image", "i"}}});
    const json made = Patched(pod);
    EXPECT_THAT(Names(made["spec"]["initContainers"]),
                ElementsAre("istio-validation", proxy, "signet-sidecar", "mine"));
    EXPECT_EQ(Patched(made), made);
  }
}

TEST(InjectionTest, MovesBehindAProxyThatCameLater) {
  json pod = Patched(Pod());
  pod["spec"]["initContainers"].push_back({{"name", "istio-validation"}, {"image", "p"}});
  pod["spec"]["initContainers"].push_back(NativeProxy());
  pod["spec"]["initContainers"].push_back({{"name", "mine"}, {"image", "i"}});
  const json made = Patched(pod);
  EXPECT_THAT(Names(made["spec"]["initContainers"]),
              ElementsAre("istio-validation", "istio-proxy", "signet-sidecar", "mine"));
  EXPECT_EQ(Patched(made), made);
}

TEST(InjectionTest, IsAnOrdinaryContainerBesideAnOrdinaryProxy) {
  json pod = Pod();
  pod["spec"]["containers"].push_back({{"name", "istio-proxy"}, {"image", "p"}});
  pod["spec"]["initContainers"] = json::array({{{"name", "istio-validation"}, {"image", "p"}}});
  const json made = Patched(pod);
  EXPECT_THAT(Names(made["spec"]["containers"]), ElementsAre("app", "istio-proxy", "signet-sidecar"));
  // Unless the gateway's port is none of the mesh's business.
  for (const char* ports : {"443", "15020, 443", "400-500"}) {
    pod["metadata"]["annotations"] = {{"traffic.sidecar.istio.io/excludeOutboundPorts", ports}};
    EXPECT_EQ(Names(Patched(pod)["spec"]["initContainers"]).front(), "signet-sidecar") << ports;
  }
  for (const char* ports : {"", "4430", "44", "x", "443x", "-443", "444-500"}) {
    pod["metadata"]["annotations"] = {{"traffic.sidecar.istio.io/excludeOutboundPorts", ports}};
    EXPECT_EQ(Names(Patched(pod)["spec"]["containers"]).back(), "signet-sidecar") << ports;
  }
}

TEST(InjectionTest, WarnsOfAnOrdinaryProxyThatCameLater) {
  json pod = Patched(Pod());
  pod["spec"]["containers"].push_back({{"name", "linkerd-proxy"}, {"image", "p"}});
  const auto again = InjectSidecar(pod, Options());
  ASSERT_THAT(again, IsOk());
  ASSERT_EQ(again->warnings.size(), 1U);
  EXPECT_THAT(again->warnings[0], HasSubstr("exclude the gateway's port"));
}

TEST(InjectionTest, LeavesToThePodWhatItsOwnBudgetNames) {
  auto options = Options();
  json pod = Pod();
  pod["spec"]["resources"] = {{"requests", {{"memory", "1Gi"}}}, {"limits", {{"memory", "2Gi"}}}};
  json plain = Patched(Pod(), options);
  EXPECT_EQ(Sidecar(plain)["resources"]["requests"], json::object({{"cpu", "10m"}, {"memory", "32Mi"}}));
  json made = Patched(pod, options);
  EXPECT_EQ(Sidecar(made)["resources"], json({{"requests", {{"cpu", "10m"}}}}));
  pod["spec"]["resources"]["limits"]["cpu"] = "2";
  made = Patched(pod, options);
  EXPECT_EQ(Sidecar(made)["resources"], json::object());
  for (const json& odd : {json("x"), json(nullptr), json::object(), json({{"limits", 7}})}) {
    pod["spec"]["resources"] = odd;
    made = Patched(pod, options);
    EXPECT_EQ(Sidecar(made)["resources"]["requests"]["cpu"], "10m") << odd;
  }
}

// ---- a pod that changes ----

AdmissionReview Update(const json& before, const json& after, const char* sub = "") {
  AdmissionReview review;
  review.kind = "Pod";
  review.ns = "ci";
  review.operation = AdmissionReview::Operation::kUpdate;
  review.sub_resource = sub;
  review.old_object = before;
  review.object = after;
  return review;
}

TEST(InjectionTest, WhatASidecarIsToldCannotBeChangedInAPod) {
  const FakeClock clock;
  const frontend::Injector injector(clock, {"kube-system"});
  const json pod = Patched(Pod());
  const auto judge = [&](const char* pointer, const json& value, const json& from) {
    json after = from;
    after[json::json_pointer(pointer)] = value;
    return injector.Judge(Update(from, after));
  };
  EXPECT_TRUE(judge("/metadata/annotations/other", "x", pod).allowed);
  EXPECT_TRUE(judge("/metadata/finalizers", json::array(), pod).allowed);
  EXPECT_TRUE(judge("/spec/initContainers/0/image", "registry.example.com/signet:2", pod).allowed);
  EXPECT_TRUE(judge("/metadata/annotations/signet.dev~1policy", "x", Pod()).allowed) << "no sidecar";
  for (const char* pointer :
       {"/metadata/annotations/signet.dev~1injected", "/metadata/annotations/signet.dev~1gateway-ca",
        "/metadata/annotations/signet.dev~1containers", "/metadata/labels/signet.dev~1inject"}) {
    const auto verdict = judge(pointer, "x", pod);
    EXPECT_FALSE(verdict.allowed) << pointer;
    EXPECT_THAT(verdict.message, HasSubstr("cannot be changed: make the pod anew"));
  }
  json without = pod;
  without["metadata"]["annotations"].erase("signet.dev/injected");
  EXPECT_FALSE(injector.Judge(Update(pod, without)).allowed);
  for (const char* image : {"evil.example.com/signet:1", "registry.example.com/other:1", "signet", ""}) {
    EXPECT_THAT(judge("/spec/initContainers/0/image", image, pod).message, HasSubstr("only its tag or digest"))
        << image;
  }
}

TEST(InjectionTest, EphemeralContainersGetNeitherSocketNorToken) {
  const FakeClock clock;
  const frontend::Injector injector(clock, {"kube-system"});
  const json pod = Patched(Pod());
  const auto judge = [&](const json& container) {
    json after = pod;
    after["spec"]["ephemeralContainers"] = json::array({container});
    AdmissionReview old = Update({{"ephemeralContainers", json::array()}},
                                 {{"ephemeralContainers", json::array({container})}}, "ephemeralcontainers");
    old.kind = "EphemeralContainers";  // before 1.22
    const auto verdict = injector.Judge(Update(pod, after, "ephemeralcontainers"));
    EXPECT_EQ(injector.Judge(old).allowed, verdict.allowed);
    EXPECT_TRUE(injector.Judge(Update(after, after, "ephemeralcontainers")).allowed) << "was there already";
    return verdict;
  };
  EXPECT_TRUE(judge({{"name", "d"}, {"targetContainerName", "app"}}).allowed);
  EXPECT_TRUE(judge({{"name", "d"}, {"volumeMounts", json::array({{{"name", "mine"}, {"mountPath", "/m"}}})}}).allowed);
  for (const char* volume : {"signet-socket", "signet-identity"}) {
    for (const char* member : {"volumeMounts", "volumeDevices"}) {
      const json mount = {{"name", volume}, {"mountPath", "/run/signet"}, {"readOnly", true}};
      EXPECT_THAT(judge({{"name", "d"}, {member, json::array({mount})}}).message, HasSubstr("leave it out"));
    }
  }
  EXPECT_THAT(judge({{"name", "d"}, {"targetContainerName", "signet-sidecar"}}).message,
              HasSubstr("choose another target"));
}

TEST(InjectionTest, AVolumeThatDiffersInOneMemberIsNotOurs) {
  const json whole = Patched(Pod());
  json pod = whole;
  pod["spec"]["volumes"][1]["projected"]["sources"][0]["serviceAccountToken"]["audience"] = "other";
  EXPECT_THAT(Refusal(pod), HasSubstr("signet-identity is Signet's"));
  pod = whole;
  pod["spec"]["volumes"][1]["projected"]["sources"].push_back({{"secret", {{"name", "s"}}}});
  EXPECT_THAT(Refusal(pod), HasSubstr("signet-identity is Signet's"));
}

// ---- who gets the socket ----

TEST(InjectionTest, WorkloadsMountTheSocketReadOnlyAndNoToken) {
  const json pod = Patched(Pod());
  EXPECT_EQ(pod["spec"]["containers"][0]["volumeMounts"],
            json::array({{{"name", "signet-socket"}, {"mountPath", "/run/signet"}, {"readOnly", true}}}));
}

TEST(InjectionTest, AMountOfTheSocketThatIsThereStays) {
  json pod = Pod();
  pod["spec"]["containers"][0]["volumeMounts"] =
      json::array({{{"name", "signet-socket"}, {"mountPath", "/var/run/signet/"}, {"readOnly", true}}});
  EXPECT_EQ(Patched(pod)["spec"]["containers"][0]["volumeMounts"].size(), 1U);
}

TEST(InjectionTest, PathsThatWouldHideTheSocketAreRefused) {
  for (const char* path : {"/run/signet", "/run/signet/", "//run/./signet", "/run/signet/signet.sock",
                           "/var/run/signet", "/etc/../run/signet"}) {
    json pod = Pod();
    pod["spec"]["containers"][0]["volumeMounts"] = json::array({{{"name", "v"}, {"mountPath", path}}});
    EXPECT_THAT(Refusal(pod), HasSubstr("mounts another volume at")) << path;
  }
  for (const char* path : {"/run", "/", "/run/signets", "/data/run/signet"}) {
    json pod = Pod();
    pod["spec"]["containers"][0]["volumeMounts"] = json::array({{{"name", "v"}, {"mountPath", path}}});
    EXPECT_EQ(Patched(pod)["spec"]["containers"][0]["volumeMounts"].size(), 2U) << path;
  }
  json pod = Pod();
  pod["spec"]["containers"][0]["volumeMounts"] =
      json::array({{{"name", "signet-socket"}, {"mountPath", "/run/signet"}, {"subPath", "x"}}});
  EXPECT_THAT(Refusal(pod), HasSubstr("mounts signet-socket"));
}

TEST(InjectionTest, AContainerThatDoesNotSignKeepsItsPath) {
  json pod = Pod();
  pod["spec"]["containers"].push_back(
      {{"name", "other"}, {"volumeMounts", json::array({{{"name", "v"}, {"mountPath", "/run/signet"}}})}});
  pod["metadata"]["annotations"] = {{"signet.dev/containers", "app"}};
  const json made = Patched(pod);
  EXPECT_EQ(made["spec"]["containers"][1], pod["spec"]["containers"][1]);
}

TEST(InjectionTest, RestartPoliciesDecideWhoEndsTheSidecar) {
  const auto ends = [](const char* policy, SidecarForm form) {
    json pod = Pod();
    pod["spec"]["restartPolicy"] = policy;
    json made = Patched(pod, Options(form));
    const json args = Sidecar(made)["args"];
    return std::find(args.begin(), args.end(), "--end-with-pod") != args.end();
  };
  EXPECT_FALSE(ends("Always", SidecarForm::kContainer));
  EXPECT_TRUE(ends("OnFailure", SidecarForm::kContainer));
  EXPECT_TRUE(ends("Never", SidecarForm::kContainer));
  EXPECT_FALSE(ends("Never", SidecarForm::kNative)) << "the kubelet does";
}

// ---- pods that are none ----

TEST(InjectionTest, WrongTypesAreRefusedByPath) {
  const auto with = [](const char* pointer, json value) {
    json pod = Pod();
    pod[json::json_pointer(pointer)] = std::move(value);
    return Refusal(pod);
  };
  EXPECT_EQ(with("/metadata", 1), "metadata: is missing");
  EXPECT_EQ(with("/metadata/labels", 1), "metadata.labels: must be an object");
  EXPECT_EQ(with("/metadata/annotations", "x"), "metadata.annotations: must be an object");
  EXPECT_EQ(with("/metadata/annotations", {{"signet.dev/policy", 1}}),
            "annotation signet.dev/policy: must be a string");
  EXPECT_EQ(with("/spec", nullptr), "spec: is missing");
  EXPECT_EQ(with("/spec/containers", json::object()), "spec.containers: must be a list");
  EXPECT_EQ(with("/spec/containers", json::array()), "spec.containers: has none besides the sidecar");
  EXPECT_EQ(with("/spec/containers/0", "x"), "spec.containers[0].name: is missing");
  EXPECT_EQ(with("/spec/containers/0/volumeMounts", 1), "spec.containers[0].volumeMounts: must be a list");
  EXPECT_EQ(with("/spec/containers/0/env", json::array({1})), "spec.containers[0].env[0]: must be an object");
  EXPECT_EQ(with("/spec/volumes", json::array({1})), "spec.volumes[0]: must be an object");
}

// ---- the endpoint ----

AdmissionReview Review(json pod) {
  AdmissionReview review;
  review.uid = "u";
  review.version = "v1";
  review.kind = "Pod";
  review.resource = "pods";
  review.ns = "ci";
  review.object = std::move(pod);
  return review;
}

TEST(InjectorTest, RefusesUntilItKnowsWhatSidecarsNeed) {
  const FakeClock clock;
  frontend::Injector injector(clock, {});
  const auto early = injector.Judge(Review(Pod()));
  EXPECT_FALSE(early.allowed);
  EXPECT_EQ(early.code, 503);
  EXPECT_THAT(early.message, HasSubstr("the operator is starting"));
  injector.Set(base::MakeError(Code::kUnavailable, "GatewayUnavailable", "no CA is there"));
  EXPECT_THAT(injector.Judge(Review(Pod())).message, HasSubstr("cannot get its Signet sidecar yet: no CA is there"));
  json out = Pod();
  out["metadata"]["labels"] = {{"signet.dev/inject", "false"}};
  EXPECT_TRUE(injector.Judge(Review(out)).allowed) << "who opts out does not wait";
  injector.Set(Options());
  EXPECT_TRUE(injector.Judge(Review(Pod())).patch.is_array());
}

TEST(InjectorTest, LooksAtNothingButNewPodsElsewhere) {
  const FakeClock clock;
  frontend::Injector injector(clock, {"kube-system"});
  const auto untouched = [&](const AdmissionReview& review) {
    const auto verdict = injector.Judge(review);
    return verdict.allowed && verdict.patch.is_null();
  };
  auto review = Review(Pod());
  review.ns = "kube-system";
  EXPECT_TRUE(untouched(review));
  review = Review(Pod());
  review.operation = AdmissionReview::Operation::kUpdate;
  EXPECT_TRUE(untouched(review));
  review = Review(Pod());
  review.sub_resource = "ephemeralcontainers";
  EXPECT_TRUE(untouched(review));
  review = Review(Pod());
  review.group = "apps";
  review.kind = "Deployment";
  EXPECT_TRUE(untouched(review));
}

TEST(InjectorTest, ErrorsBecomeRefusalsThatKubectlShows) {
  const FakeClock clock;
  frontend::Injector injector(clock, {});
  injector.Set(Options());
  json pod = Pod();
  pod["spec"]["volumes"] = json::array({{{"name", "signet-socket"}, {"hostPath", {{"path", "/"}}}}});
  auto verdict = injector.Judge(Review(pod));
  EXPECT_EQ(verdict.code, 403);
  EXPECT_THAT(verdict.message, HasSubstr("the name signet-socket is Signet's"));
  pod = Pod();
  pod["metadata"]["annotations"] = {{"signet.dev/readiness", "lax"}};
  verdict = injector.Judge(Review(pod));
  EXPECT_EQ(verdict.code, 422);
  EXPECT_EQ(verdict.message, "annotation signet.dev/readiness: must be strict or sticky");
}

}  // namespace
}  // namespace signet::testing
