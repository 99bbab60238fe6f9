// frontend/metrics_endpoint.hpp - GET /metrics, /healthz and /readyz on a port of their own.
//
// For Prometheus and for probes, which cannot reach a Unix socket. Nothing here signs. Metrics name policies: a
// ScrapeToken keeps them from whoever does not show it.
#pragma once

#include <functional>
#include <memory>

#include "frontend/readiness.hpp"
#include "frontend/scrape_token.hpp"
#include "http/server.hpp"

namespace signet::frontend {

/// `before_scrape` (may be empty) sets the gauges that are cheaper to read than to keep. With `token`, the server must
/// hand over the Authorization field (http::Server::Options::wanted_headers).
http::Handler MetricsEndpoint(Readiness readiness, std::function<void()> before_scrape = {},
                              std::shared_ptr<ScrapeToken> token = nullptr);

/// /healthz and /readyz alone.
http::Handler HealthEndpoint(Readiness readiness);

}  // namespace signet::frontend
