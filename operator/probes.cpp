#include "operator/probes.hpp"

#include <chrono>
#include <utility>

#include "frontend/metrics_endpoint.hpp"
#include "frontend/problem.hpp"

namespace signet::app {

base::Result<std::unique_ptr<Probes>> Probes::Listen(base::Reactor& reactor, const base::Clock& clock,
                                                     const Addresses& addresses, const frontend::Readiness& readiness) {
  auto probes = std::make_unique<Probes>();
  std::shared_ptr<frontend::ScrapeToken> token;
  if (!addresses.metrics_token_file.empty()) {
    token = std::make_shared<frontend::ScrapeToken>(addresses.metrics_token_file, clock);
  }
  const std::pair<const std::string&, http::Handler> ports[] = {
      {addresses.metrics, frontend::MetricsEndpoint(readiness, {}, token)},
      {addresses.health, frontend::HealthEndpoint(readiness)}};
  for (const auto& [address, handler] : ports) {
    if (address.empty()) continue;
    http::Server::Options options;
    options.tcp = address;
    options.allow_remote = true;  // the kubelet and Prometheus ask from elsewhere; nothing here signs
    options.wanted_headers = {"authorization"};
    options.limits.connections = 64;
    options.limits.idle_time = std::chrono::seconds(60);
    options.limits.body_bytes = 1024;
    TRY(auto server, http::Server::Listen(reactor, std::move(options), handler, frontend::RefuseWithProblem));
    probes->servers_.push_back(std::move(server));
  }
  return probes;
}

}  // namespace signet::app
