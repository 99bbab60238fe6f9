// operator/probes.hpp - /healthz, /readyz and /metrics over HTTP.
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
#include "http/server.hpp"

namespace signet::app {

class Probes {
 public:
  /// `metrics` serves all three paths, `health` the first two; empty: no such listener.
  static base::Result<std::unique_ptr<Probes>> Listen(base::Reactor& reactor, const std::string& metrics,
                                                      const std::string& health,
                                                      const std::function<base::Status()>& ready);

 private:
  std::vector<std::unique_ptr<http::Server>> servers_;
};

}  // namespace signet::app
