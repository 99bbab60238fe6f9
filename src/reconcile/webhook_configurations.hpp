// reconcile/webhook_configurations.hpp - the webhook configurations signet.dev: ours, written, and written back.
//
// One MutatingWebhookConfiguration and one ValidatingWebhookConfiguration say what the running binary serves, where,
// and with which certificates. Whoever deletes or edits them finds them as they were at the next Ensure(). Only the
// leader calls it.
//
// Ownership:     borrows the store.
// Thread-safety: one thread.
// Blocking:      two to four store calls.
// Errors:        those of the store.
// Sources:       Kubernetes "Dynamic Admission Control" (admissionregistration.k8s.io/v1).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "kube/object_store.hpp"

namespace signet::reconcile {

const kube::Resource& MutatingWebhookConfigurations();
const kube::Resource& ValidatingWebhookConfigurations();

/// Where API servers reach the webhook: a URL, or a Service.
struct WebhookEndpoint {
  std::string url;  ///< https://host:port, no path; empty: the service
  std::string service_ns, service_name;
  std::uint16_t service_port = 443;
  std::string word;  ///< last segment of every path (authn::PathTokens)
  /// The operator's own username: servers from 1.28 on do not ask about its status writes, since the answer is known.
  /// Empty: they ask about all.
  std::string status_writer;
};

inline constexpr std::string_view kWebhookConfiguration = "signet.dev";

/// Which pods are asked about: those labelled signet.dev/inject, themselves or by their namespace.
struct InjectionScope {
  std::vector<std::string> excluded;  ///< namespaces by name, where the server labels them with it (since 1.21)
};

/// @param injection  nothing: pods are none of our business
nlohmann::json MutatingConfiguration(const WebhookEndpoint& endpoint, std::string_view bundle_pem,
                                     const std::optional<InjectionScope>& injection = std::nullopt);
nlohmann::json ValidatingConfiguration(const WebhookEndpoint& endpoint, std::string_view bundle_pem,
                                       const std::optional<InjectionScope>& injection = std::nullopt);

class WebhookConfigurations {
 public:
  WebhookConfigurations(kube::ObjectStore& store, WebhookEndpoint endpoint,
                        std::optional<InjectionScope> injection = std::nullopt)
      : store_(store), endpoint_(std::move(endpoint)), injection_(std::move(injection)) {}

  /// Ok: both are there, as they should be, trust `bundle_pem` and know `word`.
  /// Errors do not show `word`, whatever the server's text says.
  base::Status Ensure(std::string_view bundle_pem, std::string word);
  /// The last segment of the first path that the ValidatingWebhookConfiguration names now; empty: none.
  base::Result<std::string> LiveWord();

 private:
  base::Status EnsureOne(const kube::Resource& resource, const nlohmann::json& wanted, nlohmann::json& accepted);

  kube::ObjectStore& store_;
  WebhookEndpoint endpoint_;
  const std::optional<InjectionScope> injection_;
  /// What the server made of our last writes: later servers add members of their own, with defaults.
  nlohmann::json accepted_mutating_, accepted_validating_;
};

}  // namespace signet::reconcile
