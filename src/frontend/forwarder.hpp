// frontend/forwarder.hpp - the signing API of a sidecar without keys: the socket's requests become the gateway's.
//
// The paths, limits and problems are those of frontend/routes.hpp. Sizes, media type and the form of an Idempotency-Key
// are refused here, as they would be there; what a body says is the gateway's to judge. A POST without Idempotency-Key
// gets a random one, the same over all its attempts.
//
// Ownership:     borrows client and clock; requests under way keep what they need.
// Thread-safety: reactor thread.
// Blocking:      never.
// Limits:        Options::held_bytes for everything that waits for the gateway; beyond: 503 Busy.
#pragma once

#include <cstddef>
#include <memory>

#include "base/clock.hpp"
#include "frontend/gateway_client.hpp"
#include "frontend/readiness.hpp"
#include "http/server.hpp"

namespace signet::frontend {

class Forwarder {
 public:
  struct Options {
    std::size_t sign_body_bytes = 256 * 1024;
    std::size_t batch_body_bytes = 1024 * 1024;
    std::size_t held_bytes = 64 * 1024 * 1024;
    std::size_t in_flight = 4096;
  };
  struct Dependencies {
    GatewayClient* client = nullptr;
    const base::Clock* clock = nullptr;
    Readiness readiness;
  };

  Forwarder(Options options, Dependencies dependencies);
  ~Forwarder();
  Forwarder(const Forwarder&) = delete;
  Forwarder& operator=(const Forwarder&) = delete;

  /// For http::Server::Listen; may outlive this object.
  [[nodiscard]] http::Handler handler() const;
  [[nodiscard]] std::size_t in_flight() const;
  [[nodiscard]] std::size_t held_bytes() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace signet::frontend
