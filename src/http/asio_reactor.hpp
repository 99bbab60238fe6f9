// http/asio_reactor.hpp - the event loop: base::Reactor over Boost.Asio.
//
// Thread-safety: Run() on one thread; Stop() and Post() from any.
#pragma once

#include <functional>
#include <memory>

#include "base/reactor.hpp"

namespace signet::http {

class AsioReactor : public base::Reactor {
 public:
  static std::unique_ptr<AsioReactor> Create();
  /// Runs handlers on this thread until Stop(). A handler that throws ends the process with a message.
  virtual void Run() = 0;
  virtual void Stop() = 0;
  /// SIGTERM and SIGINT call `handler` on the loop (a second signal ends the process at once).
  virtual void OnTerminate(std::function<void()> handler) = 0;
};

}  // namespace signet::http
