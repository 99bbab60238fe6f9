#include "operator/probes.hpp"

#include <chrono>
#include <utility>

#include "frontend/metrics_endpoint.hpp"
#include "frontend/problem.hpp"

namespace signet::app {

base::Result<std::unique_ptr<Probes>> Probes::Listen(base::Reactor& reactor, const std::vector<std::string>& addresses,
                                                     const frontend::Readiness& readiness) {
  auto probes = std::make_unique<Probes>();
  for (const auto& address : addresses) {
    if (address.empty()) continue;
    http::Server::Options options;
    options.tcp = address;
    options.allow_remote = true;  // the kubelet and Prometheus ask from elsewhere; nothing here is secret or signs
    options.limits.connections = 64;
    options.limits.idle_time = std::chrono::seconds(60);
    options.limits.body_bytes = 1024;
    TRY(auto server, http::Server::Listen(reactor, std::move(options), frontend::MetricsEndpoint(readiness),
                                          frontend::RefuseWithProblem));
    probes->servers_.push_back(std::move(server));
  }
  return probes;
}

}  // namespace signet::app
