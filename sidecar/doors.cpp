#include "sidecar/doors.hpp"

#include <utility>

#include "frontend/metrics_endpoint.hpp"
#include "frontend/problem.hpp"
#include "obs/log.hpp"

namespace signet::app {

base::Status Doors::Serve(http::Server::Options options, http::Handler handler) {
  TRY(auto server, http::Server::Listen(reactor_, std::move(options), std::move(handler), frontend::RefuseWithProblem));
  doors_.push_back(std::move(server));
  return {};
}

base::Status Doors::Open(const http::Handler& api, const frontend::Readiness& readiness,
                         const std::function<void()>& before_scrape) {
  http::Server::Options unix_door;
  unix_door.unix_path = config_.socket_path;
  unix_door.unix_mode = config_.socket_mode;
  unix_door.allowed_uids = config_.allowed_uids;
  unix_door.limits = config_.limits;
  TRY_VOID(Serve(std::move(unix_door), api));
  if (!config_.listen.empty()) {
    http::Server::Options port;
    port.tcp = config_.listen;
    port.require_loopback_host = true;
    port.limits = config_.limits;
    TRY_VOID(Serve(std::move(port), api));
    obs::Info("listening", {{"address", "127.0.0.1"}, {"port", doors_.back()->port()}});
  }
  if (!config_.metrics.empty()) {
    http::Server::Options port;
    port.tcp = config_.metrics;
    port.allow_remote = true;  // Prometheus asks from elsewhere; nothing here signs
    port.limits.connections = 64;
    port.limits.body_bytes = 1024;
    TRY(metrics_, http::Server::Listen(reactor_, std::move(port), frontend::MetricsEndpoint(readiness, before_scrape),
                                       frontend::RefuseWithProblem));
    obs::Info("metrics", {{"port", metrics_->port()}});
  }
  return {};
}

void Doors::Drain(std::function<void()> drained, std::function<void()> late) {
  draining_ = true;
  undrained_ = doors_.size();
  for (const auto& door : doors_) {
    door->Drain([this, drained] {
      if (--undrained_ == 0) drained();
    });
  }
  reactor_.After(config_.drain_timeout, [this, late = std::move(late)] {
    if (undrained_ > 0) late();
  });
}

}  // namespace signet::app
