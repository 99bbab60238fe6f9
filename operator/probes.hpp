// operator/probes.hpp - the listeners of /healthz, /readyz and /metrics.
//
// Ownership:     owns its listeners. Borrows the reactor.
// Thread-safety: create before the loop runs or on its thread; destroy there. Borrows the clock too.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/reactor.hpp"
#include "base/result.hpp"
#include "frontend/readiness.hpp"
#include "http/server.hpp"

namespace signet::app {

class Probes {
 public:
  struct Addresses {
    std::string metrics;             ///< /metrics, /healthz and /readyz; empty: none
    std::string health;              ///< /healthz and /readyz; empty: none
    std::string metrics_token_file;  ///< what a scrape has to show; empty: nothing
  };
  static base::Result<std::unique_ptr<Probes>> Listen(base::Reactor& reactor, const base::Clock& clock,
                                                      const Addresses& addresses, const frontend::Readiness& readiness);

 private:
  std::vector<std::unique_ptr<http::Server>> servers_;
};

}  // namespace signet::app
