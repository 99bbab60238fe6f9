#include "frontend/metrics_endpoint.hpp"

#include <optional>
#include <string_view>
#include <utility>

#include "frontend/problem.hpp"
#include "obs/metrics.hpp"

namespace signet::frontend {
namespace {

std::string_view Authorization(const http::Request& request) {
  for (const auto& [name, value] : request.headers) {
    if (name == "authorization") return value;
  }
  return {};
}

http::Response Unauthenticated() {
  return ToResponse(MakeProblem(
      "Unauthenticated", "send Authorization: Bearer TOKEN with the token in the operator's --metrics-token-file"));
}

http::Response Metrics(const std::function<void()>& before_scrape) {
  if (before_scrape) before_scrape();
  http::Response response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = obs::RenderMetrics();
  return response;
}

http::Response Health(const http::Request& request, const Readiness& readiness) {
  if (request.target == "/readyz") return ReadinessResponse(readiness());
  http::Response response;
  response.body = R"({"status":"ok"})";
  return response;
}

/// 405, or nothing.
std::optional<http::Response> RefuseMethod(const http::Request& request) {
  if (request.method == "GET" || request.method == "HEAD") return std::nullopt;
  auto refused = ToResponse(MakeProblem("MethodNotAllowed"));
  refused.headers.emplace_back("Allow", "GET, HEAD");
  return refused;
}

bool IsHealth(const http::Request& request) { return request.target == "/healthz" || request.target == "/readyz"; }

}  // namespace

http::Handler MetricsEndpoint(Readiness readiness, std::function<void()> before_scrape,
                              std::shared_ptr<ScrapeToken> token) {
  return [readiness = std::move(readiness), before_scrape = std::move(before_scrape), token = std::move(token)](
             const http::Request& request, const http::Responder& respond) {
    const bool scrape = request.target == "/metrics";
    if (!scrape && !IsHealth(request)) {
      return respond(ToResponse(MakeProblem("NotFound", "try /metrics, /healthz or /readyz")));
    }
    if (auto refused = RefuseMethod(request)) return respond(std::move(*refused));
    if (!scrape) return respond(Health(request, readiness));
    if (token && !token->Allows(Authorization(request))) return respond(Unauthenticated());
    respond(Metrics(before_scrape));
  };
}

http::Handler HealthEndpoint(Readiness readiness) {
  return [readiness = std::move(readiness)](const http::Request& request, const http::Responder& respond) {
    if (!IsHealth(request)) return respond(ToResponse(MakeProblem("NotFound", "try /healthz or /readyz")));
    if (auto refused = RefuseMethod(request)) return respond(std::move(*refused));
    respond(Health(request, readiness));
  };
}

}  // namespace signet::frontend
