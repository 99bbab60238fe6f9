#include "sidecar/gateway_mode.hpp"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "frontend/forwarder.hpp"
#include "frontend/gateway_client.hpp"
#include "frontend/gateway_credentials.hpp"
#include "frontend/gateway_watch.hpp"
#include "http/asio_reactor.hpp"
#include "http/resolver.hpp"
#include "http/upstream.hpp"
#include "obs/log.hpp"
#include "obs/metrics.hpp"
#include "sidecar/doors.hpp"

namespace signet::app {
namespace {

/// Members are in the order in which they depend on each other. Everything runs on the loop's thread,
/// which is the main one.
class GatewaySidecar {
 public:
  explicit GatewaySidecar(const config::SidecarConfig& config) : config_(config) {}

  Ending Run();

 private:
  std::optional<Ending> Open();
  [[nodiscard]] http::Upstream::Options UpstreamOptions();
  [[nodiscard]] std::vector<frontend::Check> Checks() const;
  void Terminate(const char* why);

  const config::SidecarConfig& config_;
  const base::Clock& clock_ = base::SystemClock();
  std::unique_ptr<http::AsioReactor> reactor_ = http::AsioReactor::Create();
  frontend::GatewayCredentials credentials_{config_.gateway.token_file, config_.gateway.ca_file, clock_};
  std::unique_ptr<http::Resolver> resolver_ = http::Resolver::System(*reactor_);
  std::unique_ptr<http::Upstream> upstream_;
  std::unique_ptr<frontend::GatewayClient> client_;
  std::unique_ptr<frontend::GatewayContact> contact_;
  std::unique_ptr<frontend::PodWatch> pod_;
  std::unique_ptr<frontend::AuthorityWatch> authorities_;
  std::unique_ptr<frontend::Forwarder> forwarder_;
  Doors doors_{config_, *reactor_};
  Ending ending_;
};

http::Upstream::Options GatewaySidecar::UpstreamOptions() {
  http::Upstream::Options options;
  for (const std::string& url : config_.gateway.urls) options.targets.push_back(*config::ParseGatewayUrl(url));
  options.server_name = config_.gateway.server_name;
  options.trust = [this] { return credentials_.Trust(); };
  return options;
}

std::optional<Ending> GatewaySidecar::Open() {
  if (!config_.gateway.ca_pem.empty()) {
    const auto pinned = credentials_.Pin(config_.gateway.ca_pem, config_.RememberedCa());
    if (!pinned) return Fail(ExitCode::kConfiguration, pinned.error());
  }
  upstream_ = http::Upstream::Create(*reactor_, clock_, *resolver_, UpstreamOptions());
  client_ = std::make_unique<frontend::GatewayClient>(
      frontend::GatewayClient::Options{config_.gateway.attempt_timeout, config_.gateway.max_wait},
      frontend::GatewayClient::Dependencies{reactor_.get(), &clock_, upstream_.get(), &credentials_});
  contact_ = std::make_unique<frontend::GatewayContact>(*client_, *reactor_, config_.gateway.strict);
  if (!config_.gateway.ca_pem.empty()) {
    authorities_ = std::make_unique<frontend::AuthorityWatch>(*client_, *reactor_, credentials_);
  }
  if (!config_.gateway.end_with_pod.empty()) {
    pod_ = std::make_unique<frontend::PodWatch>(*client_, *reactor_, config_.gateway.end_with_pod,
                                                [this] { Terminate("all other containers of the pod have ended"); });
  }
  frontend::Forwarder::Options options;
  options.in_flight = config_.max_in_flight;
  forwarder_ = std::make_unique<frontend::Forwarder>(
      options, frontend::Forwarder::Dependencies{client_.get(), &clock_, [this] { return Checks(); }});
  auto& endpoints = obs::GetGauge("signet_upstream_endpoints", "Addresses of the gateway.");
  auto& connections = obs::GetGauge("signet_upstream_connections", "Connections to the gateway.");
  const auto opened = doors_.Open(
      forwarder_->handler(), [this] { return Checks(); },
      [this, &endpoints, &connections] {
        endpoints.Set(static_cast<double>(upstream_->endpoints()));
        connections.Set(static_cast<double>(upstream_->connections()));
      });
  if (!opened) return Fail(ExitCode::kConfiguration, opened.error());
  return std::nullopt;
}

std::vector<frontend::Check> GatewaySidecar::Checks() const {
  std::vector<frontend::Check> checks = {contact_->State()};
  if (doors_.draining()) checks.push_back({"process", false, "Draining", "the sidecar is ending"});
  return checks;
}

void GatewaySidecar::Terminate(const char* why) {
  if (doors_.draining()) return;
  obs::Info("ending: no new requests", {{"why", why}, {"in_work", forwarder_->in_flight()}});
  doors_.Drain([this] { reactor_->Stop(); },
               [this] {
                 ending_ = {ExitCode::kOther, "requests were still in work after the drain timeout"};
                 reactor_->Stop();
               });
}

Ending GatewaySidecar::Run() {
  reactor_->OnTerminate([this] { Terminate("told to"); });  // before there is a socket to remove
  if (auto ending = Open()) return *ending;
  obs::Info("serving", {{"socket", config_.socket_path}, {"gateway", config_.gateway.urls.front()}});
  reactor_->Run();
  doors_.Close();
  return ending_;
}

}  // namespace

Ending RunGatewayMode(const config::SidecarConfig& config) { return GatewaySidecar(config).Run(); }

}  // namespace signet::app
