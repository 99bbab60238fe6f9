// config/operator_config.hpp - what signet-operator can be told: examples/operator.yaml explains each key.
//
// Thread-safety: values.
// Errors:        kInvalidArgument, reason "ConfigInvalid", message names key and flag.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "config/gateway_options.hpp"
#include "config/hardening_options.hpp"
#include "config/injection_options.hpp"
#include "config/options.hpp"
#include "config/webhook_options.hpp"

namespace signet::config {

struct LeaderElectionOptions {
  bool enabled = true;  ///< API server only; the directory store has its lock
  std::string ns;       ///< empty: the namespace of kubeconfig or pod
  std::string name = "signet-operator";
  std::string identity;  ///< empty: host name and a random part
  std::chrono::milliseconds lease_duration{15'000};
  std::chrono::milliseconds renew_deadline{10'000};
  std::chrono::milliseconds retry_period{2'000};
};

struct OperatorConfig {
  std::string kubeconfig;      ///< empty, and no store: in-cluster
  std::string context;         ///< empty: the kubeconfig's current one
  std::string store;           ///< "dir:PATH"; empty: an API server
  bool once = false;           ///< directory store: handle what is there, then end
  std::string username;        ///< ours, as the API server knows it; empty: from our own credentials
  WebhookOptions webhook;      ///< API server only
  GatewayOptions gateway;      ///< API server only
  InjectionOptions injection;  ///< likewise; of sidecars into pods
  HsmOptions hsm;
  AuditOptions audit;
  std::string approval_roots;      ///< file; empty: none
  std::string metrics;             ///< HOST:PORT of /metrics, /healthz and /readyz; empty: none
  std::string metrics_token_file;  ///< bearer token that a scrape has to show; empty: none
  LeaderElectionOptions leader_election;
  std::uint32_t policy_workers = 2;
  std::uint32_t request_workers = 16;
  std::chrono::milliseconds policy_max_age{120'000};
  std::chrono::milliseconds policy_refresh{5'000};  ///< live GET of each used policy
  std::chrono::milliseconds drain_timeout{30'000};
  HardeningOptions hardening;
  LogOptions log;

  /// The folder of `store`; empty when it is an API server.
  [[nodiscard]] std::string StoreFolder() const;
};

/// Members that the file does not name keep their defaults; unknown ones are refused.
base::Result<OperatorConfig> LoadOperatorConfig(const std::string& file);

/// Checks what needs no file system: required members, members that exclude each other, orders of times.
base::Status Validate(const OperatorConfig& config);

}  // namespace signet::config
