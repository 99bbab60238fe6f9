// frontend/metrics_endpoint.hpp - GET /metrics, /healthz and /readyz on a port of their own.
//
// For Prometheus and for probes, which cannot reach a Unix socket. Nothing here is secret and nothing
// here signs.
#pragma once

#include <functional>

#include "frontend/readiness.hpp"
#include "http/server.hpp"

namespace signet::frontend {

/// `before_scrape` (may be empty) sets the gauges that are cheaper to read than to keep.
http::Handler MetricsEndpoint(Readiness readiness, std::function<void()> before_scrape = {});

}  // namespace signet::frontend
