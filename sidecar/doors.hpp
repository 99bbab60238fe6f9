// sidecar/doors.hpp - where the sidecar is asked: the socket, the loopback port, the metrics port; opened, drained.
//
// Ownership:     borrows configuration and reactor; owns the servers.
// Thread-safety: the loop's thread.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "config/sidecar_config.hpp"
#include "frontend/readiness.hpp"
#include "http/asio_reactor.hpp"
#include "http/server.hpp"

namespace signet::app {

class Doors {
 public:
  Doors(const config::SidecarConfig& config, http::AsioReactor& reactor) : config_(config), reactor_(reactor) {}

  /// `before_scrape` as in frontend/metrics_endpoint.hpp.
  base::Status Open(const http::Handler& api, const frontend::Readiness& readiness,
                    const std::function<void()>& before_scrape = {});
  /// No new requests. `drained` when those in work are answered, or `late` when the drain timeout has passed.
  void Drain(std::function<void()> drained, std::function<void()> late);
  [[nodiscard]] bool draining() const { return draining_; }
  void Close() { doors_.clear(); }

 private:
  base::Status Serve(http::Server::Options options, http::Handler handler);

  const config::SidecarConfig& config_;
  http::AsioReactor& reactor_;
  std::vector<std::unique_ptr<http::Server>> doors_;
  std::unique_ptr<http::Server> metrics_;
  bool draining_ = false;
  std::size_t undrained_ = 0;
};

}  // namespace signet::app
