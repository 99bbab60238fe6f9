// operator/probes.hpp - the listeners of /healthz, /readyz and /metrics.
//
// Ownership:     owns its listeners. Borrows the reactor.
// Thread-safety: create before the loop runs or on its thread; destroy there.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/reactor.hpp"
#include "base/result.hpp"
#include "frontend/readiness.hpp"
#include "http/server.hpp"

namespace signet::app {

class Probes {
 public:
  /// One listener per address that is not empty.
  static base::Result<std::unique_ptr<Probes>> Listen(base::Reactor& reactor, const std::vector<std::string>& addresses,
                                                      const frontend::Readiness& readiness);

 private:
  std::vector<std::unique_ptr<http::Server>> servers_;
};

}  // namespace signet::app
