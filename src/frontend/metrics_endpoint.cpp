#include "frontend/metrics_endpoint.hpp"

#include <utility>

#include "frontend/problem.hpp"
#include "obs/metrics.hpp"

namespace signet::frontend {

http::Handler MetricsEndpoint(Readiness readiness, std::function<void()> before_scrape) {
  return [readiness = std::move(readiness), before_scrape = std::move(before_scrape)](const http::Request& request,
                                                                                      const http::Responder& respond) {
    const bool known = request.target == "/metrics" || request.target == "/healthz" || request.target == "/readyz";
    if (!known) return respond(ToResponse(MakeProblem("NotFound", "try /metrics, /healthz or /readyz")));
    if (request.method != "GET" && request.method != "HEAD") {
      auto refused = ToResponse(MakeProblem("MethodNotAllowed"));
      refused.headers.emplace_back("Allow", "GET, HEAD");
      return respond(std::move(refused));
    }
    if (request.target == "/readyz") return respond(ReadinessResponse(readiness()));
    http::Response response;
    if (request.target == "/metrics") {
      if (before_scrape) before_scrape();
      response.content_type = "text/plain; version=0.0.4; charset=utf-8";
      response.body = obs::RenderMetrics();
    } else {
      response.body = R"({"status":"ok"})";
    }
    respond(std::move(response));
  };
}

}  // namespace signet::frontend
