// operator/injection_feed.hpp - what injected sidecars need, read and kept fresh: the gateway's CA, the server's
// version.
//
// The CA comes from the ConfigMap signet-gateway-ca of the operator's namespace, where the gateway publishes it. Until
// both are there, pods are refused with the reason.
//
// Ownership:     owns the Injector. Borrows store and clock.
// Thread-safety: Step on one thread (the webhooks' keeper); injector() as its header says.
// Blocking:      Step: a few store calls.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "config/injection_options.hpp"
#include "frontend/injector.hpp"
#include "kube/object_store.hpp"
#include "reconcile/webhook_configurations.hpp"

namespace signet::app {

class InjectionFeed {
 public:
  /// @param ns       the operator's namespace
  /// @param version  ours, for the pods' status annotation
  InjectionFeed(config::InjectionPlan plan, std::string ns, std::string version, kube::ObjectStore& store,
                const base::Clock& clock);

  /// Reads what is due, and labels namespaces while leading. Not ok: what pods, or the labels, wait for.
  base::Status Step(bool leads);
  [[nodiscard]] const frontend::Injector& injector() const { return injector_; }
  [[nodiscard]] reconcile::InjectionScope scope() const { return {excluded_}; }

 private:
  base::Status Read();
  base::Status ReadCa();
  base::Status ReadForm();
  void Publish(base::Status read);

  const config::InjectionPlan plan_;
  const std::string ns_;
  const std::string version_;
  const std::vector<std::string> excluded_;
  kube::ObjectStore& store_;
  const base::Clock& clock_;
  frontend::Injector injector_;
  std::string ca_;  ///< PEM; empty: not yet
  std::optional<frontend::SidecarForm> form_;
  base::SteadyPoint ca_due_{}, form_due_{}, labels_due_{};
};

/// Native where the server that answered GET /version has native sidecars on: 1.29 and later. "29+" is 29.
base::Result<frontend::SidecarForm> FormFor(const nlohmann::json& version);

}  // namespace signet::app
