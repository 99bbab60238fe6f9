#include "operator/probes.hpp"

#include <nlohmann/json.hpp>
#include <utility>

#include "obs/metrics.hpp"

namespace signet::app {
namespace {

http::Response Problem(int status, std::string_view code, std::string_view detail) {
  http::Response response;
  response.status = status;
  response.content_type = "application/problem+json";
  response.body =
      nlohmann::json{{"type", "about:blank"}, {"status", status}, {"code", code}, {"detail", detail}}.dump();
  return response;
}

http::Response Text(std::string body, std::string content_type = "text/plain; charset=utf-8") {
  http::Response response;
  response.content_type = std::move(content_type);
  response.body = std::move(body);
  return response;
}

http::Response Answer(const http::Request& request, bool metrics, const std::function<base::Status()>& ready) {
  if (request.method != "GET") {
    auto refused = Problem(405, "MethodNotAllowed", "only GET is answered here");
    refused.headers.emplace_back("Allow", "GET");
    return refused;
  }
  if (request.target == "/healthz") return Text("ok\n");
  if (request.target == "/readyz") {
    const auto status = ready();
    return status ? Text("ok\n") : Problem(503, status.error().reason, status.error().message);
  }
  if (metrics && request.target == "/metrics") return Text(obs::RenderMetrics(), "text/plain; version=0.0.4");
  return Problem(404, "NotFound", metrics ? "try /metrics, /healthz or /readyz" : "try /healthz or /readyz");
}

}  // namespace

base::Result<std::unique_ptr<Probes>> Probes::Listen(base::Reactor& reactor, const std::string& metrics,
                                                     const std::string& health,
                                                     const std::function<base::Status()>& ready) {
  auto probes = std::make_unique<Probes>();
  for (const bool with_metrics : {true, false}) {
    const std::string& address = with_metrics ? metrics : health;
    if (address.empty()) continue;
    http::Server::Options options;
    options.tcp = address;
    options.allow_remote = true;  // the kubelet and Prometheus ask from elsewhere; nothing here is secret
    options.limits.connections = 64;
    options.limits.body_bytes = 1024;
    TRY(auto server, http::Server::Listen(
                         reactor, std::move(options),
                         [with_metrics, ready](const http::Request& request, const http::Responder& respond) {
                           respond(Answer(request, with_metrics, ready));
                         },
                         Problem));
    probes->servers_.push_back(std::move(server));
  }
  return probes;
}

}  // namespace signet::app
