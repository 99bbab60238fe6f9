#include "sidecar/wiring.hpp"

#include "config/options.hpp"
#include "sidecar/direct_mode.hpp"
#include "sidecar/gateway_mode.hpp"

namespace signet::app {

Ending Run(const config::SidecarConfig& config) {
  config::Apply(config.log);
  return config.gateway_mode() ? RunGatewayMode(config) : RunDirectMode(config);
}

}  // namespace signet::app
