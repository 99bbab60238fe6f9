#include "reconcile/webhook_configurations.hpp"

#include <initializer_list>
#include <utility>

#include "api/injection_names.hpp"
#include "encoding/text.hpp"
#include "obs/log.hpp"

namespace signet::reconcile {
namespace {

using nlohmann::json;

constexpr int kTimeoutSeconds = 10;
constexpr int kPodTimeoutSeconds = 5;

/// A server that refuses a configuration may quote it.
base::Error Hide(base::Error error, const std::string& word) {
  for (auto at = word.empty() ? std::string::npos : error.message.find(word); at != std::string::npos;
       at = error.message.find(word)) {
    error.message.replace(at, word.size(), "...");
  }
  return error;
}

json Rule(std::initializer_list<const char*> operations, std::initializer_list<const char*> resources) {
  return {{"apiGroups", {"signet.dev"}},
          {"apiVersions", {"v1alpha1"}},
          {"operations", operations},
          {"resources", resources},
          {"scope", "*"}};
}

/// Every member is written out, so that a server's defaults add nothing.
json Webhook(const char* name, std::string_view path, const char* side_effects, json rules,
             const WebhookEndpoint& endpoint, std::string_view bundle_pem) {
  json client = {{"caBundle", encoding::ToBase64(base::AsBytes(bundle_pem))}};
  std::string whole(path);
  if (!endpoint.word.empty()) whole.append("/").append(endpoint.word);
  if (endpoint.url.empty()) {
    client["service"] = {{"namespace", endpoint.service_ns},
                         {"name", endpoint.service_name},
                         {"path", std::move(whole)},
                         {"port", endpoint.service_port}};
  } else {
    client["url"] = endpoint.url + whole;
  }
  return {{"name", name},
          {"clientConfig", std::move(client)},
          {"rules", std::move(rules)},
          {"failurePolicy", "Fail"},
          {"matchPolicy", "Equivalent"},
          {"namespaceSelector", json::object()},
          {"objectSelector", json::object()},
          {"sideEffects", side_effects},
          {"timeoutSeconds", kTimeoutSeconds},
          {"admissionReviewVersions", {"v1"}}};
}

json Requirement(std::string_view key, const char* op, json values = json()) {
  json out = {{"key", key}, {"operator", op}};
  if (values.is_array()) out["values"] = std::move(values);
  return out;
}

json PodRule(const char* operation, const char* resource) {
  return {{"apiGroups", {""}},
          {"apiVersions", {"v1"}},
          {"operations", {operation}},
          {"resources", {resource}},
          {"scope", "Namespaced"}};
}

/// Selectors see labels alone, so that no other pod waits for us, or fails with us. `pods` null: all of them.
json PodWebhook(const char* name, json rule, json namespaces, json pods, const InjectionScope& scope,
                const WebhookEndpoint& endpoint, std::string_view bundle_pem) {
  json webhook = Webhook(name, "/inject", "None", json::array({std::move(rule)}), endpoint, bundle_pem);
  json expressions = json::array({std::move(namespaces), Requirement(api::kControlPlaneLabel, "DoesNotExist")});
  if (!scope.excluded.empty()) {
    expressions.push_back(Requirement(api::kNamespaceNameLabel, "NotIn", scope.excluded));
  }
  webhook["namespaceSelector"] = {{"matchExpressions", std::move(expressions)}};
  if (!pods.is_null()) webhook["objectSelector"] = {{"matchExpressions", json::array({std::move(pods)})}};
  webhook["timeoutSeconds"] = kPodTimeoutSeconds;
  return webhook;
}

/// Who else writes a status is refused. Servers before 1.28 drop matchConditions and ask about every write.
json StatusWebhook(const WebhookEndpoint& endpoint, std::string_view bundle_pem) {
  json webhook = Webhook("status.validate.signet.dev", "/validate", "None",
                         json::array({Rule({"UPDATE"}, {"signingrequests/status", "signingpolicies/status"})}),
                         endpoint, bundle_pem);
  if (endpoint.status_writer.empty()) return webhook;
  // A string of JSON is one of CEL.
  const std::string name = json(endpoint.status_writer).dump(-1, ' ', false, json::error_handler_t::replace);
  webhook["matchConditions"] =
      json::array({{{"name", "not-the-operator"}, {"expression", "request.userInfo.username != " + name}}});
  return webhook;
}

json LabelledNamespaces() { return Requirement(api::kInjectLabel, "In", {"true"}); }
json OtherNamespaces() { return Requirement(api::kInjectLabel, "NotIn", {"true"}); }
json LabelledPods() { return Requirement(api::kInjectLabel, "In", {"true"}); }

/// Controllers update pods all the time (finalizers, owners): those do not wait for an operator that is away. A
/// debugging container does.
void AddPodUpdates(const InjectionScope& scope, const WebhookEndpoint& endpoint, std::string_view bundle_pem,
                   json& webhooks) {
  const auto add = [&](const char* name, const char* resource, json namespaces, json pods, const char* policy) {
    webhooks.push_back(PodWebhook(name, PodRule("UPDATE", resource), std::move(namespaces), std::move(pods), scope,
                                  endpoint, bundle_pem));
    webhooks.back()["failurePolicy"] = policy;
  };
  add("update.namespaces.inject.signet.dev", "pods", LabelledNamespaces(), nullptr, "Ignore");
  add("update.pods.inject.signet.dev", "pods", OtherNamespaces(), LabelledPods(), "Ignore");
  add("ephemeral.namespaces.inject.signet.dev", "pods/ephemeralcontainers", LabelledNamespaces(), nullptr, "Fail");
  add("ephemeral.pods.inject.signet.dev", "pods/ephemeralcontainers", OtherNamespaces(), LabelledPods(), "Fail");
}

json Configuration(const kube::Resource& resource, json webhooks) {
  return {{"apiVersion", resource.group + "/" + resource.version},
          {"kind", resource.kind},
          {"metadata",
           {{"name", kWebhookConfiguration}, {"labels", {{"app.kubernetes.io/managed-by", "signet-operator"}}}}},
          {"webhooks", std::move(webhooks)}};
}

}  // namespace

const kube::Resource& MutatingWebhookConfigurations() {
  static const kube::Resource kResource{"admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations",
                                        "MutatingWebhookConfiguration", false};
  return kResource;
}

const kube::Resource& ValidatingWebhookConfigurations() {
  static const kube::Resource kResource{"admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations",
                                        "ValidatingWebhookConfiguration", false};
  return kResource;
}

json MutatingConfiguration(const WebhookEndpoint& endpoint, std::string_view bundle_pem,
                           const std::optional<InjectionScope>& injection) {
  json webhook =
      Webhook("mutate.signet.dev", "/mutate", "None",
              json::array({Rule({"CREATE"}, {"signingrequests", "signingapprovals"})}), endpoint, bundle_pem);
  webhook["reinvocationPolicy"] = "Never";
  json webhooks = json::array({std::move(webhook)});
  if (injection) {
    // Two, since one webhook's selectors are joined by "and"; no pod is seen by both.
    const json create = PodRule("CREATE", "pods");
    webhooks.push_back(PodWebhook("namespaces.inject.signet.dev", create, LabelledNamespaces(),
                                  Requirement(api::kInjectLabel, "NotIn", {"false"}), *injection, endpoint,
                                  bundle_pem));
    webhooks.push_back(PodWebhook("pods.inject.signet.dev", create, OtherNamespaces(), LabelledPods(), *injection,
                                  endpoint, bundle_pem));
    for (std::size_t i = 1; i < webhooks.size(); ++i) webhooks[i]["reinvocationPolicy"] = "IfNeeded";
  }
  return Configuration(MutatingWebhookConfigurations(), std::move(webhooks));
}

json ValidatingConfiguration(const WebhookEndpoint& endpoint, std::string_view bundle_pem,
                             const std::optional<InjectionScope>& injection) {
  // A policy's change is recorded, and a dry run is not: NoneOnDryRun.
  json webhooks = json::array(
      {Webhook("validate.signet.dev", "/validate", "None",
               json::array({Rule({"CREATE", "UPDATE"}, {"signingrequests"}),
                            Rule({"CREATE", "UPDATE", "DELETE"}, {"signingapprovals"})}),
               endpoint, bundle_pem),
       Webhook("policies.validate.signet.dev", "/validate", "NoneOnDryRun",
               json::array({Rule({"CREATE", "UPDATE", "DELETE"}, {"signingpolicies"})}), endpoint, bundle_pem),
       StatusWebhook(endpoint, bundle_pem)});
  if (injection) AddPodUpdates(*injection, endpoint, bundle_pem, webhooks);
  return Configuration(ValidatingWebhookConfigurations(), std::move(webhooks));
}

base::Status WebhookConfigurations::EnsureOne(const kube::Resource& resource, const json& wanted, json& accepted) {
  auto live = store_.Get(resource, "", kWebhookConfiguration);
  if (live) {
    const json webhooks = live->value("webhooks", json());
    if (webhooks == wanted["webhooks"]) return {};
    // `accepted` is the answer to a write of exactly this.
    if (accepted.is_object() && accepted["wanted"] == wanted["webhooks"] && webhooks == accepted["webhooks"]) return {};
    json changed = std::move(*live);
    changed["webhooks"] = wanted["webhooks"];
    changed["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "signet-operator";
    TRY(const json written, store_.Update(resource, "", kWebhookConfiguration, changed));
    accepted = {{"wanted", wanted["webhooks"]}, {"webhooks", written.value("webhooks", json())}};
    obs::Info("webhook configuration updated", {{"kind", resource.kind}});
    return {};
  }
  if (live.error().code != base::Code::kNotFound) return base::Error(live.error());
  TRY(const json made, store_.Create(resource, "", wanted));
  accepted = {{"wanted", wanted["webhooks"]}, {"webhooks", made.value("webhooks", json())}};
  obs::Info("webhook configuration created", {{"kind", resource.kind}});
  return {};
}

base::Status WebhookConfigurations::Ensure(std::string_view bundle_pem, std::string word) {
  endpoint_.word = std::move(word);
  // First the one that refuses: without it, an object of the time between would be stamped and not checked.
  const auto validating = EnsureOne(ValidatingWebhookConfigurations(),
                                    ValidatingConfiguration(endpoint_, bundle_pem, injection_), accepted_validating_);
  const auto mutating = EnsureOne(MutatingWebhookConfigurations(),
                                  MutatingConfiguration(endpoint_, bundle_pem, injection_), accepted_mutating_);
  if (!validating) return Hide(validating.error(), endpoint_.word);
  if (!mutating) return Hide(mutating.error(), endpoint_.word);
  return {};
}

base::Result<std::string> WebhookConfigurations::LiveWord() {
  const auto live = store_.Get(ValidatingWebhookConfigurations(), "", kWebhookConfiguration);
  if (!live && live.error().code == base::Code::kNotFound) return std::string();
  if (!live) return base::Error(live.error());
  for (const char* path : {"/webhooks/0/clientConfig/url", "/webhooks/0/clientConfig/service/path"}) {
    const json::json_pointer at(path);
    if (!live->contains(at) || !live->at(at).is_string()) continue;
    const auto& text = live->at(at).get_ref<const std::string&>();
    return text.substr(text.rfind('/') + 1);
  }
  return std::string();
}

}  // namespace signet::reconcile
